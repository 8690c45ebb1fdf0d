// Command demo shows Reanchor's main job on a real control plane: it stamps
// meshed pods, denies a pod whose trust bundle has expired, and rolls the owners
// of pods that carry a stale bundle. It ends with a summary and exit code 0, or
// with what is not as it should be and another code.
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

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/lab/injector"
	"github.com/reanchor/reanchor/hack/local"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout)
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
	if err := w.prepare(ctx); err != nil {
		return err
	}
	step(out, "starting the mesh's proxy injector")
	i, err := injector.Start(ctx, l.Config(), injector.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.Stop(context.WithoutCancel(ctx))) }()
	if err := w.play(ctx); err != nil {
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
func (w *world) play(ctx context.Context) error {
	began := time.Now()
	for _, act := range []func(context.Context) error{w.stamp, w.deny, w.roll} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	heading(w.out, "Summary")
	fmt.Fprintf(w.out, "  pods stamped      %d\n  pods denied       %d\n  workloads rolled  %d, each once\n  time              %s\n",
		w.stamped, w.denied, w.rolled, time.Since(began).Round(100*time.Millisecond))
	return nil
}

func heading(out io.Writer, text string) { fmt.Fprintf(out, "\n%s\n", text) }

func step(out io.Writer, text string) { fmt.Fprintf(out, "  %s\n", text) }
