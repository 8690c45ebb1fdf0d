// Command demo shows Reanchor's main job on a real control plane: it stamps
// meshed pods, denies a pod whose trust bundle has expired, and replaces the
// mesh's trust anchor while proxies complete handshakes all the time. It ends
// with a summary and exit code 0, or with what is not as it should be and
// another code. With --kubeconfig it shows the controller alone, on that cluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/demo/own"
	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/lab/kubelet"
	"github.com/reanchor/reanchor/hack/local"
)

func main() {
	ctrl.SetLogger(logr.Discard()) // clients ask for one
	options := own.Options{Root: "."}
	kong.Parse(&options, kong.Name("demo"), kong.Description("Shows what Reanchor does: all of it on a lab of its own, or its controller on your cluster."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	play := func() error { return run(ctx, os.Stdout) }
	if options.Kubeconfig != "" {
		play = func() error { return own.Run(ctx, options, os.Stdout) }
	}
	err := play()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run starts everything, plays the demo, and ends everything.
func run(ctx context.Context, out io.Writer) (err error) {
	dir, remove, err := local.TempDir()
	if err != nil {
		return err
	}
	defer remove()
	heading(out, "A control plane: etcd, API server, controllers, scheduler, nodes, cert-manager, trust-manager")
	l, err := lab.Start(ctx, lab.Options{CertManager: true, TrustManager: true, Progress: out})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Stop()) }()
	w := &world{out: out}
	if w.client, err = newClient(l); err != nil {
		return err
	}
	step(out, "installing Reanchor: CRDs, RBAC, webhooks, controller")
	x, err := local.Start(ctx, l, w.client, local.Options{Root: ".", Dir: dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.Stop()) }()
	k, err := kubelet.Start(ctx, l.Config(), kubelet.Options{EnvLag: environmentLag, FileLag: fileLag})
	if err != nil {
		return err
	}
	defer k.Stop()
	if err := w.play(ctx, l, k); err != nil {
		return fmt.Errorf("%w\nthe controller's log ends:\n%s", err, x.Controller.Tail(20))
	}
	return nil
}

func newClient(l *lab.Lab) (client.Client, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("registering types: %w", err)
	}
	c, err := client.New(l.Config(), client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return c, nil
}

// play is the demo itself.
func (w *world) play(ctx context.Context, l *lab.Lab, k *kubelet.Kubelet) (err error) {
	began := time.Now()
	if err := w.prepare(ctx, l, k); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.mesh.Stop(context.WithoutCancel(ctx))) }()
	if err := perform(ctx, w.stamp, w.deny, w.rotate); err != nil {
		return err
	}
	score := w.mesh.Score()
	heading(w.out, "Summary")
	fmt.Fprintf(w.out, "  pods stamped      %d\n  pods denied       %d\n  workloads rolled  %d, each once\n  handshakes        %d, failed=%d\n  time              %s\n",
		w.stamped, w.denied, w.rolled, score.Handshakes, score.Failed, time.Since(began).Round(time.Second))
	return nil
}

// perform plays acts, up to the first that fails.
func perform(ctx context.Context, acts ...func(context.Context) error) error {
	for _, act := range acts {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return nil
}

func heading(out io.Writer, text string) { fmt.Fprintf(out, "\n%s\n", text) }

func step(out io.Writer, text string) { fmt.Fprintf(out, "  %s\n", text) }
