package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/reanchor/reanchor/webhook/serving"
)

// Paths of the two webhooks.
const (
	StampPath    = "/stamp"
	ValidatePath = "/validate"
)

// Bounds of one connection. The API server waits 3 s for an answer, so nothing
// sound takes longer; it keeps idle connections for 90 s.
const (
	requestTimeout = 10 * time.Second
	idleTimeout    = 120 * time.Second
	maxHeader      = 64 << 10
	endTimeout     = 10 * time.Second
)

// Options say how to serve.
type Options struct {
	// Address is where the webhooks are served, over TLS.
	Address string
	// HealthAddress is where /healthz, /readyz and /metrics are served, without.
	HealthAddress string
	// ShutdownDelay is how long requests are still served after the end was
	// asked for, until no API server finds this replica among the endpoints.
	ShutdownDelay time.Duration
	// Serving says where the serving certificate comes from.
	Serving serving.Options
	Log     logr.Logger
	Clock   clock.PassiveClock
}

// Server is one replica of the webhook.
type Server struct {
	options   Options
	discovery discovery.ServerVersionInterface
	watcher   *Watcher
	keeper    *serving.Keeper
	metrics   *Metrics
	registry  *prometheus.Registry
	draining  atomic.Bool
	// waiting says why the API server cannot be asked yet, if it cannot.
	waiting atomic.Pointer[string]
}

// NewServer returns a replica that does nothing yet, and asks nobody.
func NewServer(config *rest.Config, o Options) (*Server, error) {
	config = rest.CopyConfig(config)
	config.WarningHandlerWithContext = warningLog{o.Log}
	// No limit of its own, only the API server's: client-go's five requests a second
	// put half a second between the look at a webhook configuration and the write, and
	// the caBundle of one that others change more often could never be written.
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("building the client: %w", err)
	}
	s := &Server{options: o, registry: prometheus.NewRegistry()}
	asking := rest.CopyConfig(config)
	asking.Timeout = askTimeout
	if s.discovery, err = discovery.NewDiscoveryClientForConfig(asking); err != nil {
		return nil, fmt.Errorf("building the client: %w", err)
	}
	s.registry.MustRegister(collectors.NewBuildInfoCollector(), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if s.metrics, err = NewMetrics(s.registry); err != nil {
		return nil, fmt.Errorf("registering the metrics: %w", err)
	}
	if s.watcher, err = NewWatcher(config, s.metrics, o.Log); err != nil {
		return nil, err
	}
	keeping := o.Serving
	keeping.OnSwitch, keeping.OnStamp = s.metrics.ServingCertificate, s.metrics.StampReachable
	s.keeper = serving.NewKeeper(client, keeping, o.Clock, o.Log.WithName("serving"))
	return s, nil
}

// Run serves until the context ends, and ShutdownDelay longer. It waits for an API
// server that cannot be asked, and refuses one that is too old to keep unmeshed
// pods away.
func (s *Server) Run(ctx context.Context) error {
	webhooks, err := net.Listen("tcp", s.options.Address)
	if err != nil {
		return fmt.Errorf("listening for webhooks: %w", err)
	}
	health, err := net.Listen("tcp", s.options.HealthAddress)
	if err != nil {
		return errors.Join(fmt.Errorf("listening for health checks: %w", err), webhooks.Close())
	}
	// What serving needs goes on while requests still come.
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, working := errgroup.WithContext(working)
	tlsServer, healthServer := s.webhookServer(), s.healthServer()
	group.Go(func() error { return s.work(working) })
	group.Go(func() error { return serve(func() error { return tlsServer.ServeTLS(webhooks, "", "") }) })
	group.Go(func() error { return serve(func() error { return healthServer.Serve(health) }) })
	group.Go(func() error {
		s.drain(ctx, working)
		defer stop()
		return s.end(working, tlsServer, healthServer)
	})
	s.options.Log.Info("Serving", "address", webhooks.Addr().String(), "healthAddress", health.Addr().String())
	return group.Wait()
}

// drain waits for the end, and then until no more requests are to be expected.
// It stops waiting when something failed.
func (s *Server) drain(ctx, working context.Context) {
	select {
	case <-ctx.Done():
	case <-working.Done():
		return
	}
	s.draining.Store(true)
	s.options.Log.Info("Ending, and serving until the endpoints are gone", "for", s.options.ShutdownDelay)
	select {
	case <-time.After(s.options.ShutdownDelay):
	case <-working.Done():
	}
}

// end lets the requests in flight finish.
func (s *Server) end(ctx context.Context, servers ...*http.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	var errs []error
	for _, server := range servers {
		if err := server.Shutdown(ctx); err != nil {
			errs = append(errs, fmt.Errorf("ending the server: %w", err))
		}
	}
	return errors.Join(errs...)
}

// serve runs a server; that it was asked to end is no error.
func serve(run func() error) error {
	if err := run(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}

func (s *Server) webhookServer() *http.Server {
	sources := Sources{Snapshot: s.watcher.Snapshot, Clock: s.options.Clock, Metrics: s.metrics}
	stamp, validate := NewHandlers(sources)
	mux := http.NewServeMux()
	mux.Handle(StampPath, stamp)
	mux.Handle(ValidatePath, validate)
	server := newHTTPServer(mux)
	// API servers call webhooks over HTTP/1.1 alone, so that their requests are spread
	// over the replicas. Over HTTP/2 one connection could have 250 requests under way,
	// each with a buffer.
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.keeper.GetCertificate}
	server.ErrorLog = newErrorLog(s.options.Log)
	return server
}

func newHTTPServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: requestTimeout, ReadTimeout: requestTimeout, WriteTimeout: requestTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
	}
}

func (s *Server) healthServer() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok"))
	})
	metrics := promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{})
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) {
		s.metrics.Ready(s.Ready() == nil)
		metrics.ServeHTTP(w, r)
	})
	return newHTTPServer(mux)
}

// Ready says why no request should come here, nil if they may.
func (s *Server) Ready() error {
	switch {
	case s.draining.Load():
		return errors.New("ending")
	case s.watcher.Snapshot() == nil:
		return s.unread()
	default:
		return s.keeper.Ready()
	}
}
