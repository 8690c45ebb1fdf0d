// Command scale measures the inventory against a real API server with many real
// pods: how long it takes to sync, and how much memory its process has when it
// rests and at its worst. It prints one line for a server that streams lists and
// one for a server that does not:
//
//	BENCH scale pods=20000 sync_s=... rss_steady_mb=... rss_peak_mb=...
//
// It starts a lab, creates the pods (some minutes), and runs the inventory in a
// process of its own, which is this program again. Exit code 1 when a target is
// missed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Targets for 20,000 pods, in megabytes.
const (
	maxSteadyMB = 80
	maxPeakMB   = 150
)

type options struct {
	pods    int
	workers int
	rest    time.Duration
	fixture string
	index   string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, readOptions()); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		stop()
		os.Exit(1)
	}
}

func readOptions() options {
	var o options
	flag.IntVar(&o.pods, "pods", 20_000, "how many pods to create")
	flag.IntVar(&o.workers, "workers", 16, "how many to create at a time")
	flag.DurationVar(&o.rest, "rest", 30*time.Second, "how long after the sync memory is read")
	flag.StringVar(&o.fixture, "fixture", "mesh/testdata/pod-deployment-native-sidecar.json", "the pod to multiply")
	flag.StringVar(&o.index, "index", "", "kubeconfig: be the measured process (used by this program itself)")
	flag.Parse()
	return o
}

func run(ctx context.Context, o options) error {
	if o.index != "" {
		return index(ctx, o.index)
	}
	l, size, err := prepare(ctx, o)
	if err != nil {
		return err
	}
	defer func() { _ = l.Stop() }()
	fmt.Fprintf(os.Stderr, "scale: %d pods of %d bytes (protobuf)\n", o.pods, size)
	ok := true
	for _, way := range []struct{ name, env string }{{"scale", ""}, {"scale/paged", "KUBE_FEATURE_WatchListClient=false"}} {
		m, err := measure(ctx, l.Kubeconfig(), way.env, o)
		if err != nil {
			return err
		}
		fmt.Printf("BENCH %s pods=%d sync_s=%.1f rss_steady_mb=%.0f rss_peak_mb=%.0f\n", way.name, m.pods, m.sync.Seconds(), m.steadyMB, m.peakMB)
		ok = ok && m.pods == o.pods && m.steadyMB <= maxSteadyMB && m.peakMB <= maxPeakMB
	}
	if !ok {
		return fmt.Errorf("want %d pods indexed, at most %d MB at rest and %d MB at the peak", o.pods, maxSteadyMB, maxPeakMB)
	}
	return nil
}
