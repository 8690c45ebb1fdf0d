// Command rotate-by-hand replaces a Linkerd mesh's trust anchor as people do it
// without Reanchor, in one of three orders:
//
//   - documented: Linkerd's documentation, with ideal timing. Each step begins as
//     soon as the one before is surely in effect, which a human cannot see;
//   - issuer-first: a published cron script, on fixed sleeps. It renews the issuer
//     before anything was restarted;
//   - restart-all: a restarter that restarts everything at once whenever the
//     published bundle changes, beside a cert-manager that renews.
//
// It needs nothing but a kubeconfig: the certificates are cert-manager's, the
// bundle is trust-manager's (layout InPlace). It is a program and no shell script
// so that the benchmark can run it where there is no kubectl.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/go-logr/logr"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

type options struct {
	Kubeconfig   string        `env:"KUBECONFIG" required:"" help:"Kubeconfig of the cluster."`
	Order        string        `enum:"documented,issuer-first,restart-all" default:"documented" help:"Order of the steps: ${enum}."`
	ControlPlane string        `default:"linkerd" help:"Namespace of the control plane."`
	Anchor       string        `default:"linkerd-trust-anchor" help:"Certificate and Secret of the anchor, in namespace cert-manager."`
	Previous     string        `default:"linkerd-previous-anchor" help:"Secret of the previous anchor, in namespace cert-manager."`
	Issuer       string        `default:"linkerd-identity-issuer" help:"Certificate and Secret of the issuer, in the control plane's namespace."`
	Bundle       string        `default:"linkerd-identity-trust-roots" help:"ConfigMap with the published bundle, in the control plane's namespace."`
	Propagation  time.Duration `default:"150s" help:"How long a written object takes until every pod that mounts it sees it (documented)."`
	Sleep        time.Duration `default:"60s" help:"How long to sleep between steps (issuer-first)."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var o options
	kong.Parse(&o, kong.Description("Rotate a Linkerd mesh's trust anchor without Reanchor."))
	err := run(ctx, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "rotate-by-hand:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) error {
	ctrl.SetLogger(logr.Discard()) // the client asks for one
	config, err := clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	c, err := client.New(config, client.Options{})
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	h := &hand{options: o, client: c}
	began := time.Now()
	for _, s := range h.steps() {
		fmt.Fprintf(out, "%5.1fs %s\n", time.Since(began).Seconds(), s.what)
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
	}
	fmt.Fprintf(out, "%5.1fs done\n", time.Since(began).Seconds())
	return nil
}

// step is one thing that a human does, or waits for.
type step struct {
	what string
	do   func(context.Context) error
}

func (h *hand) steps() []step {
	switch h.options.Order {
	case "issuer-first":
		return h.issuerFirst()
	case "restart-all":
		return h.restartAll()
	default:
		return h.documented()
	}
}

// documented is the order of "Automatically Rotating Control Plane TLS
// Credentials": three restarts of the data plane.
func (h *hand) documented() []step {
	return []step{
		{"renewing the trust anchor", h.renewAnchor},
		{"waiting for the bundle to hold old and new anchor", h.awaitWide},
		{"waiting until every pod that starts reads it", h.propagate},
		{"restarting the control plane", h.restartControlPlane},
		{"restarting the data plane", h.restartDataPlane},
		{"renewing the identity issuer", h.renewIssuer},
		{"waiting until every pod that starts reads it", h.propagate},
		{"restarting the control plane", h.restartControlPlane},
		{"restarting the data plane", h.restartDataPlane},
		{"copying the anchor over the previous one", h.copyPrevious},
		{"waiting for the bundle to hold the new anchor alone", h.awaitNarrow},
		{"waiting until every pod that starts reads it", h.propagate},
		{"restarting the control plane", h.restartControlPlane},
		{"restarting the data plane", h.restartDataPlane},
	}
}

// issuerFirst is the order of a published CronJob.
func (h *hand) issuerFirst() []step {
	sleep := step{"sleeping", h.sleep}
	return []step{
		{"renewing the trust anchor", h.renewAnchor}, sleep,
		{"renewing the identity issuer", h.renewIssuer}, sleep,
		{"restarting the control plane", h.restartControlPlane}, sleep,
		{"restarting the data plane", h.restartDataPlane}, sleep,
		{"copying the anchor over the previous one", h.copyPrevious}, sleep,
		{"restarting the control plane", h.restartControlPlane},
		{"restarting the data plane", h.restartDataPlane},
	}
}

// restartAll is a restarter that reacts to the bundle's changes at once.
func (h *hand) restartAll() []step {
	return []step{
		{"renewing the trust anchor", h.renewAnchor},
		{"waiting for the bundle to hold old and new anchor", h.awaitWide},
		{"restarting everything at once", h.restartEverything},
		{"renewing the identity issuer", h.renewIssuer},
		{"waiting until every pod that reads it has", h.propagate},
		{"copying the anchor over the previous one", h.copyPrevious},
		{"waiting for the bundle to hold the new anchor alone", h.awaitNarrow},
		{"restarting everything at once", h.restartEverything},
	}
}
