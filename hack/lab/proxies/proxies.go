// Package proxies is the lab's stand-in for Linkerd's proxies: it measures the
// mesh. For each meshed pod there is a virtual proxy with the anchors that the
// pod's process got when it started and a leaf from identity, and all the time
// random pairs of them complete real mutual TLS 1.3 handshakes, or fail to.
//
// A proxy behaves as Linkerd's does (linkerd2-proxy, meshtls and identity-client):
//
//   - Its anchors are those of the container's start: the literal of the pod's
//     spec, or what the kubelet of references resolved. They never change until
//     the container starts again.
//   - It asks for a leaf when its container runs, and again when 70 % of what is
//     left of its leaf have passed.
//   - A leaf that its own anchors do not verify is rejected. When it gets none, it
//     keeps the one it has, and presents it even when it has expired.
//   - A peer's chain must verify against its own anchors, at the time of the
//     handshake. That an anchor has itself expired does not matter.
//
// A proxy is live, and takes part, once it has had a leaf, while its pod is Ready.
// Terminating pods take part until they are gone, as long as they are Ready. A
// pod that is Ready without ever having had a leaf does not: in a cluster it would
// not be Ready. Templates changed by [identity.Hold] make that so here: their pods
// become Ready when their proxy has got its leaf.
//
// A container that starts again is a new process, whose pod is Ready all the
// while, since kwok does not take that back: if it gets no leaf, handshakes with
// it fail with NoLeaf.
//
// Not modelled: the handshake in which a proxy asks identity for its leaf. A real
// one also fails when the leaf of identity's own proxy does not verify against the
// asking one's anchors.
//
// It imports nothing of the packages it is the measure of.
package proxies

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/reanchor/reanchor/hack/lab/identity"
	"github.com/reanchor/reanchor/hack/lab/kubelet"
)

const (
	// DefaultRate is that of the handshakes, per second. One takes about 1.2 ms
	// of a core.
	DefaultRate = 60
	// DefaultMinRefresh is Linkerd's minute, in a lab whose days last minutes.
	DefaultMinRefresh = 500 * time.Millisecond

	controlPlaneLabel = "linkerd.io/control-plane-ns"
	proxyContainer    = "linkerd-proxy"
	anchorsVariable   = "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"
	interval          = 50 * time.Millisecond
)

// Signer gives out leaves: an *identity.Identity.
type Signer interface {
	Sign(identity.Request) (identity.Leaf, error)
}

// Resolver knows what containers got from their references: a *kubelet.Kubelet.
type Resolver interface {
	Resolved(pod types.UID, container string) (kubelet.Resolved, bool)
}

// Options of the proxies. Identity must be set.
type Options struct {
	// ControlPlane is the namespace of the control plane whose mesh this is;
	// identity.DefaultControlPlane when empty.
	ControlPlane string
	// Identity signs the leaves.
	Identity Signer
	// Kubelet tells the anchors of pods that refer to them, as those of the
	// control plane do. Without it such pods never get a leaf.
	Kubelet Resolver
	// Rate is how many handshakes there are in a second while two proxies are
	// live, as long as the machine can; 0 means DefaultRate.
	Rate int
	// MinRefresh is the shortest wait before a proxy asks for a leaf again; 0
	// means DefaultMinRefresh.
	MinRefresh time.Duration
	// Clock is the wall clock by default.
	Clock clock.PassiveClock
}

func (o Options) withDefaults() (Options, error) {
	if o.Identity == nil {
		return o, errors.New("the proxies have no identity to ask: set Options.Identity")
	}
	if o.ControlPlane == "" {
		o.ControlPlane = identity.DefaultControlPlane
	}
	if o.Rate <= 0 {
		o.Rate = DefaultRate
	}
	if o.MinRefresh <= 0 {
		o.MinRefresh = DefaultMinRefresh
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	return o, nil
}

// Proxies are running ones.
type Proxies struct {
	options    Options
	client     kubernetes.Interface
	population *population
	score      *score
	factory    informers.SharedInformerFactory
	stop       context.CancelFunc
	running    sync.WaitGroup
}

// Start returns when the pods that there are have been seen; they get their
// leaves a moment later. ctx bounds that only; Stop ends the proxies.
func Start(ctx context.Context, config *rest.Config, o Options) (*Proxies, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("building the proxies' client: %w", err)
	}
	runCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	p := &Proxies{
		options: o, client: client, population: newPopulation(o), score: newScore(), stop: stop,
		factory: informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(slim),
			informers.WithTweakListOptions(func(l *metav1.ListOptions) { l.LabelSelector = controlPlaneLabel + "=" + o.ControlPlane })),
	}
	if err := p.watch(ctx, runCtx); err != nil {
		p.Stop()
		return nil, err
	}
	p.run(runCtx)
	return p, nil
}

func (p *Proxies) watch(ctx, runCtx context.Context) error {
	registration, err := p.factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    p.population.observe,
		UpdateFunc: func(_, obj any) { p.population.observe(obj) },
		DeleteFunc: p.population.forget,
	})
	if err != nil {
		return fmt.Errorf("watching the meshed pods: %w", err)
	}
	p.factory.StartWithContext(runCtx)
	if !cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		return fmt.Errorf("waiting for the proxies to see their pods: %w", context.Cause(ctx))
	}
	return nil
}

// slim drops what is most of a pod in memory and nobody asks for.
func slim(obj any) (any, error) {
	if accessor, err := meta.Accessor(obj); err == nil {
		accessor.SetManagedFields(nil)
	}
	if pod, ok := obj.(*corev1.Pod); ok {
		pod.Spec.Volumes = nil
	}
	return obj, nil
}

// run starts what goes on until ctx ends.
func (p *Proxies) run(ctx context.Context) {
	p.running.Go(func() { every(ctx, interval, p.population.refresh) })
	p.running.Go(func() { every(ctx, interval, func() { p.release(ctx) }) })
	p.running.Go(func() { p.handshakes(ctx) })
}

func every(ctx context.Context, interval time.Duration, do func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		do()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// release lets the held pods become Ready whose proxies have their leaf.
func (p *Proxies) release(ctx context.Context) {
	for _, pod := range p.population.releasable() {
		// What fails is tried again the next time, while the pod is there.
		_ = identity.Release(ctx, p.client, pod)
	}
}

// Stop ends the handshakes and the watches. What was counted can still be read.
func (p *Proxies) Stop() {
	p.stop()
	p.running.Wait()
	p.factory.Shutdown()
}

// Stats returns what was counted so far.
func (p *Proxies) Stats() Stats {
	s := p.score.stats()
	p.population.count(&s)
	return s
}

// Failures returns the first and the last failed handshakes, at most twenty, in
// the order in which they happened.
func (p *Proxies) Failures() []Failure { return p.score.list() }

// Peers returns the live proxies as they are now, by namespace and name.
func (p *Proxies) Peers() []Peer { return p.population.peers() }
