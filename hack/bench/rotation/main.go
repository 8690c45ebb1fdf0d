// Command rotation measures what replacing a trust anchor costs a mesh: the same
// world four times, 40 workloads whose proxies complete handshakes all the time,
// with four procedures. One line each:
//
//	BENCH rotation/reanchor failed=0 handshakes=... restarts_per_workload=1.0 max_unavailable_pods=... wall_s=...
//
// The others are those of hack/rotate-by-hand: the documented order with ideal
// timing, the issuer first on fixed sleeps, and restarting everything at once.
// Exit code 1 when Reanchor misses its targets, or when the world does not show
// the faults that the other procedures are known for: it would measure nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/lab/kubelet"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
)

type options struct {
	workloads, namespaces, rate int
	only                        string
}

func main() {
	var o options
	flag.IntVar(&o.workloads, "workloads", 40, "workloads of the application")
	flag.IntVar(&o.namespaces, "namespaces", 6, "namespaces that they are spread over")
	flag.IntVar(&o.rate, "rate", 100, "handshakes a second")
	flag.StringVar(&o.only, "only", "", "comma list of procedures; all when empty")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "rotation:", err)
		os.Exit(1)
	}
}

// procedure replaces the anchor of a mesh, and returns when that is done.
type procedure struct {
	name, mesh string
	replace    func(context.Context, *bench, *linkerd.Mesh) error
	// missed says what was expected and is not so; "" when all is.
	missed func(linkerd.Score, options) string
}

// Reanchor comes last: its webhooks stay registered, and without a replica behind
// them no other mesh could start a pod.
func procedures() []procedure {
	return []procedure{
		{"documented", "documented", byHand("documented"), documentedMissed},
		{"issuer-first", "issuer-first", byHand("issuer-first"), faultless},
		{"restart-all", "restart-all", byHand("restart-all"), faultless},
		{"reanchor", linkerd.DefaultName, byReanchor, reanchorMissed},
	}
}

// reanchorMissed: no failure, one restart, and no more pods down than the default
// budget of a tenth of all workloads, rounded up, of one pod each.
func reanchorMissed(s linkerd.Score, o options) string {
	const controlPlane = 3
	budget := (o.workloads + controlPlane + 9) / 10
	if s.Failed != 0 || s.RestartsPerWorkload != 1 || s.MaxUnavailable > budget {
		return fmt.Sprintf("want failed=0, restarts_per_workload=1.0 and at most %d pods unavailable", budget)
	}
	return ""
}

func documentedMissed(s linkerd.Score, _ options) string {
	if s.Failed != 0 || s.RestartsPerWorkload < 2 {
		return "want failed=0 with ideal timing, at the cost of two restarts or three"
	}
	return ""
}

func faultless(s linkerd.Score, _ options) string {
	if s.Failed == 0 {
		return "want failed handshakes: this world does not show what the procedure does"
	}
	return ""
}

// bench is what the procedures share.
type bench struct {
	options options
	lab     *lab.Lab
	kubelet *kubelet.Kubelet
	// dir is for programs, kubeconfigs and logs.
	dir string
}

func run(ctx context.Context, o options) (err error) {
	ctrl.SetLogger(logr.Discard()) // clients ask for one
	b := &bench{options: o}
	if b.dir, err = os.MkdirTemp("", "reanchor-bench-"); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer os.RemoveAll(b.dir)
	if b.lab, err = lab.Start(ctx, lab.Options{CertManager: true, TrustManager: true, Progress: os.Stderr}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.lab.Stop()) }()
	if b.kubelet, err = kubelet.Start(ctx, b.lab.Config(), kubelet.Options{EnvLag: 500 * time.Millisecond, FileLag: 3 * time.Second}); err != nil {
		return err
	}
	defer b.kubelet.Stop()
	var missed error
	for _, p := range procedures() {
		if o.only != "" && !slices.Contains(strings.Split(o.only, ","), p.name) {
			continue
		}
		if err := b.measure(ctx, p); err != nil {
			if !errors.As(err, new(miss)) {
				return err
			}
			missed = errors.Join(missed, err)
		}
	}
	return missed
}

// miss is a procedure that was not as it should be.
type miss string

func (m miss) Error() string { return string(m) }
