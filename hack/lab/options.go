package lab

import (
	"fmt"
	"io"
	"os"
	"slices"
)

// Annotations that a test sets on a pod, or on a pod template, to choose the
// life that the lab gives the pod. Durations are in Go's notation, "1500ms";
// a change of the pod starts the wait anew.
const (
	// ReadyDelayAnnotation is how long the pod runs before it is Ready.
	ReadyDelayAnnotation = "lab.reanchor.dev/ready-delay"
	// NeverReadyAnnotation, when "true", makes a pod that runs and is never
	// Ready. It outranks ReadyDelayAnnotation.
	NeverReadyAnnotation = "lab.reanchor.dev/never-ready"
	// TerminateDelayAnnotation is how long a deleted pod stays Terminating.
	TerminateDelayAnnotation = "lab.reanchor.dev/terminate-delay"
	// CompleteAfterAnnotation is how long the pod runs before it has Succeeded.
	// Without it the pod of a Job runs for ever.
	CompleteAfterAnnotation = "lab.reanchor.dev/complete-after"
)

// Component is one process of a lab.
type Component string

// The components, in the order in which they are started.
const (
	Etcd              Component = "etcd"
	APIServer         Component = "kube-apiserver"
	ControllerManager Component = "kube-controller-manager"
	Scheduler         Component = "kube-scheduler"
	Kwok              Component = "kwok"
	CertManager       Component = "cert-manager"
	TrustManager      Component = "trust-manager"
)

// DefaultNodes is the number of nodes when Options says nothing.
const DefaultNodes = 6

// Options say what lab to start. The zero value is a control plane with
// DefaultNodes nodes and neither cert-manager nor trust-manager.
type Options struct {
	// Nodes is the number of fake nodes, each good for 2000 pods. 0 means
	// DefaultNodes, a negative number none.
	Nodes int
	// CertManager and TrustManager add the CRDs and the controllers of each.
	// Neither runs its webhook, so what only their webhooks refuse is accepted;
	// a Certificate of 90 s works, for one.
	CertManager, TrustManager bool
	// Assets is a folder of ready-made binaries, used for the components whose
	// names it holds (the first five; the managers are always the lab's own).
	// Default: $KUBEBUILDER_ASSETS.
	Assets string
	// Dir is where the lab keeps its files; it is created. Default: a new
	// folder below the cache, of which the logs are kept for a day.
	Dir string
	// ExtraArgs are appended to the flags of a component.
	ExtraArgs map[Component][]string
	// Progress gets a line at a time while the program is being built and the
	// lab starts. Default: nothing is written.
	Progress io.Writer

	// record makes the components outlive the process that started them, and is
	// told of each; see Up.
	record func(c Component, pid int) error
}

func (o Options) withDefaults() Options {
	switch {
	case o.Nodes == 0:
		o.Nodes = DefaultNodes
	case o.Nodes < 0:
		o.Nodes = 0
	}
	if o.Assets == "" {
		o.Assets = os.Getenv("KUBEBUILDER_ASSETS")
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return o
}

// components are the ones that a lab with these options runs, in starting order.
func (o Options) components() []Component {
	names := []Component{Etcd, APIServer, ControllerManager, Scheduler, Kwok}
	if o.CertManager {
		names = append(names, CertManager)
	}
	if o.TrustManager {
		names = append(names, TrustManager)
	}
	return names
}

func (o Options) validate() error {
	for name := range o.ExtraArgs {
		if !slices.Contains(o.components(), name) {
			return fmt.Errorf("extra arguments for %q: this lab has no such component", name)
		}
	}
	return nil
}
