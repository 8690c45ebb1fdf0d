package exporter

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/utils/clock"

	"github.com/reanchor/reanchor/checker/report"
)

// Exporter surveys at intervals and serves the outcome.
type Exporter struct {
	Collector *Collector
	// Survey looks once; asked is true when Rescan was the reason.
	Survey func(ctx context.Context, asked bool) (*report.Document, error)
	// Interval between surveys; see pause.
	Interval time.Duration
	// Rescan, if not nil, starts a survey at once.
	Rescan <-chan struct{}
	Clock  clock.PassiveClock
	// Observe is told of every survey or why it failed, for logging.
	Observe func(*Snapshot, error)
}

// staleAfter intervals without a survey, the daemon is not healthy.
const staleAfter = 3

// shutdownGrace is how long a scrape may take to end.
const shutdownGrace = 5 * time.Second

// Serve runs until ctx ends, which is no error.
func (e *Exporter) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	handler, err := e.handler()
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: shutdownGrace}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	looped := make(chan struct{})
	go func() {
		defer close(looped)
		e.loop(ctx)
	}()
	select {
	case err = <-failed:
		cancel()
		<-looped
		return fmt.Errorf("serving metrics: %w", err)
	case <-looped:
	}
	grace, stop := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer stop()
	if err := server.Shutdown(grace); err != nil {
		return fmt.Errorf("stopping the metrics server: %w", err)
	}
	return nil
}

// loop surveys until ctx ends. A survey that fails (it took too long) leaves
// the last snapshot in place, whose age then tells.
func (e *Exporter) loop(ctx context.Context) {
	asked := false
	for ctx.Err() == nil {
		began := e.Clock.Now()
		document, err := e.Survey(ctx, asked)
		if err != nil {
			e.Observe(nil, err)
		} else {
			s := &Snapshot{Document: document, Finished: e.Clock.Now(), Took: e.Clock.Since(began)}
			e.Collector.Publish(s)
			e.Observe(s, nil)
		}
		asked = e.wait(ctx)
	}
}

// wait ends with a pause, a request or ctx, and reports whether it was a request.
func (e *Exporter) wait(ctx context.Context) (asked bool) {
	timer := time.NewTimer(e.pause())
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-e.Rescan:
		return true
	}
	return false
}

// pause is an interval and up to a tenth more, at random, so that the nodes of a
// cluster do not move in step.
func (e *Exporter) pause() time.Duration { return e.Interval + rand.N(e.Interval/10+1) }

func (e *Exporter) handler() (http.Handler, error) {
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{e.Collector, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("registering metrics: %w", err)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", answer(e.healthy))
	mux.HandleFunc("GET /readyz", answer(e.ready))
	return mux, nil
}

var (
	errNoSurvey = errors.New("no survey has finished yet")
	errStale    = errors.New("the last survey is too long ago")
)

// healthy fails when surveys no longer end; a first one may take its time.
func (e *Exporter) healthy() error {
	if s := e.Collector.Current(); s != nil && e.Clock.Since(s.Finished) > staleAfter*e.Interval+shutdownGrace {
		return errStale
	}
	return nil
}

// ready needs something to show.
func (e *Exporter) ready() error {
	if e.Collector.Current() == nil {
		return errNoSurvey
	}
	return nil
}

func answer(check func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if err := check(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	}
}
