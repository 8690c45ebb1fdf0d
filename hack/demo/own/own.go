// Package own shows Reanchor's controller on a cluster that somebody has. It
// takes no risk with it: nothing is done before --yes, everything is in two
// namespaces of its own but for the CRDs and one ClusterRole, which may write no
// workload of anybody else, and all of it is removed at the end. Nodes, pods and
// kubelets are the cluster's own, and the mesh is of the profile Generic, which
// needs nothing that the cluster may not have.
//
// The controller runs on this machine. The webhook does not run at all: API
// servers would have to reach it, so stamping and denying are left to a lab or
// to an installation.
package own

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/local"
)

// Options choose the cluster.
type Options struct {
	Kubeconfig string `help:"Show the controller on the cluster of this kubeconfig, not on a lab." placeholder:"FILE"`
	Context    string `help:"Context in that kubeconfig." placeholder:"NAME"`
	Yes        bool   `help:"Create on that cluster what is listed without this flag, and remove it at the end."`
	Remove     bool   `help:"Only remove what an interrupted run left on that cluster."`
	Image      string `help:"What the pods run; it only has to stay." default:"registry.k8s.io/pause:3.10"`
	// Root is the folder of the project.
	Root string `kong:"-"`
}

// Validate is called by the parser.
func (o *Options) Validate() error {
	if o.Kubeconfig == "" && (o.Context != "" || o.Yes || o.Remove) {
		return errors.New("--context, --yes and --remove are for --kubeconfig")
	}
	return nil
}

// ErrNotAsked is returned when there is a plan and nobody agreed to it.
var ErrNotAsked = errors.New("nothing was created: run it again with --yes")

// world is the cluster, and what was seen in it.
type world struct {
	options Options
	out     io.Writer
	config  *rest.Config
	client  client.WithWatch
	kube    kubernetes.Interface
}

// Run says what it is going to create, and with --yes does it, shows the roll,
// and removes everything, however that ends.
func Run(ctx context.Context, o Options, out io.Writer) error {
	w := &world{options: o, out: out}
	if err := w.connect(); err != nil {
		return err
	}
	if o.Remove {
		return w.remove(ctx)
	}
	if err := w.vacant(ctx); err != nil {
		return err
	}
	w.plan()
	if !o.Yes {
		return ErrNotAsked
	}
	return w.show(ctx)
}

// show plays the demo between creating and removing.
func (w *world) show(ctx context.Context) (err error) {
	dir, removeDir, err := local.TempDir()
	if err != nil {
		return err
	}
	defer removeDir()
	defer func() {
		// Also after Ctrl-C: what was created is not left behind.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Minute)
		defer cancel()
		err = errors.Join(err, w.remove(clean))
	}()
	if err := w.create(ctx); err != nil {
		return err
	}
	controller, err := w.startController(ctx, dir)
	if err != nil {
		return err
	}
	defer controller.Stop()
	if err := w.play(ctx); err != nil {
		return fmt.Errorf("%w\nthe controller's log ends:\n%s", err, controller.Tail(20))
	}
	return nil
}

func (w *world) connect() error {
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: w.options.Kubeconfig}
	loaded := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: w.options.Context})
	var err error
	if w.config, err = loaded.ClientConfig(); err != nil {
		return fmt.Errorf("loading the kubeconfig: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return fmt.Errorf("registering types: %w", err)
	}
	if w.client, err = client.NewWithWatch(w.config, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("reaching the cluster: %w", err)
	}
	if w.kube, err = kubernetes.NewForConfig(w.config); err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	return nil
}

// plan says what --yes means.
func (w *world) plan() {
	fmt.Fprintf(w.out, `
On the cluster at %s this creates, and removes again at the end:
  the CRDs meshtrusts.reanchor.dev and anchorrotations.reanchor.dev
  the namespaces %s and %s
  the ClusterRole and the ClusterRoleBinding %s: it reads pods, workloads, nodes and
    namespaces everywhere, and writes no workload outside %s
  a MeshTrust of profile Generic, and %d Deployments of %d pods of %s
The controller runs on this machine, for about two minutes. Stamping and denying are not shown: for
them the API server calls the webhook, which has to run where it can be reached (docs/install.md).
`, w.config.Host, systemNamespace, appNamespace, controllerName, appNamespace, deployments, replicas, w.options.Image)
}

func (w *world) heading(text string) { fmt.Fprintf(w.out, "\n%s\n", text) }

func (w *world) step(text string) { fmt.Fprintf(w.out, "  %s\n", text) }

// await looks until what is wanted is there.
func (w *world) await(ctx context.Context, within time.Duration, what string, done func() (bool, error)) error {
	deadline := time.Now().Add(within)
	for {
		ok, err := done()
		switch {
		case err != nil:
			return fmt.Errorf("waiting for %s: %w", what, err)
		case ok:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("waiting for %s: not there after %s", what, within)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case <-time.After(500 * time.Millisecond):
		}
	}
}
