package main

import (
	"context"
	"errors"
	"fmt"
	"time"
	_ "time/tzdata" // windows name time zones, and a small image has none

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation"
)

// ControllerCmd runs the companion controller until it is told to stop.
type ControllerCmd struct {
	Kubeconfig        string        `help:"Kubeconfig file; default: the pod's own service account." env:"KUBECONFIG" placeholder:"FILE"`
	Namespace         string        `help:"Namespace of the leader's lease." default:"reanchor-system" env:"REANCHOR_NAMESPACE"`
	ProbeNamespace    string        `help:"Namespace of the dry runs that show what the injector writes." default:"reanchor-probe" env:"REANCHOR_PROBE_NAMESPACE"`
	ValidatingWebhook string        `help:"Configuration of the validating webhook, which is asked whether it answers." default:"reanchor-validate"`
	LeaderElect       bool          `help:"Let one replica act at a time." default:"true" negatable:"" env:"REANCHOR_LEADER_ELECT"`
	LeaseDuration     time.Duration `help:"How long others wait for a silent leader." default:"15s" env:"REANCHOR_LEASE_DURATION"`
	MetricsAddress    string        `help:"Where to serve /metrics; 0 turns it off." default:":8080" env:"REANCHOR_METRICS_ADDRESS"`
	HealthAddress     string        `help:"Where to serve /healthz and /readyz." default:":8081" env:"REANCHOR_HEALTH_ADDRESS"`
	Verbosity         int           `short:"v" help:"0: what an operator should read; 1: each step." default:"0" env:"REANCHOR_VERBOSITY"`
}

// Validate reports what cannot work, all of it at once.
func (c *ControllerCmd) Validate() error {
	var faults []error
	if c.LeaseDuration < time.Second {
		faults = append(faults, fmt.Errorf("--lease-duration %s: give 1s or more", c.LeaseDuration))
	}
	if c.Namespace == "" || c.ProbeNamespace == "" {
		faults = append(faults, errors.New("--namespace and --probe-namespace must not be empty"))
	}
	return errors.Join(faults...)
}

// Run starts the manager and its controllers.
func (c *ControllerCmd) Run(ctx context.Context, s streams) error {
	logger := newLog(s.err, c.Verbosity)
	logger.Info("Starting", "version", version())
	mgr, err := c.manager(logger)
	if err != nil {
		return err
	}
	if err := metrics.Registry.Register(collectors.NewBuildInfoCollector()); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	m, err := rotation.NewMetrics(metrics.Registry)
	if err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	if err := rotation.Setup(mgr, rotation.Options{
		Namespace: c.Namespace, ProbeNamespace: c.ProbeNamespace, ValidatingWebhook: c.ValidatingWebhook, Metrics: m, Zones: time.LoadLocation, Clock: clock.RealClock{},
	}); err != nil {
		return err
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running the controller: %w", err)
	}
	return nil
}

func (c *ControllerCmd) manager(logger logr.Logger) (manager.Manager, error) {
	config, err := clusterConfig(c.Kubeconfig)
	if err != nil {
		return nil, err
	}
	// The planner sets the pace of writes; the client only bounds a fault of it.
	config.QPS, config.Burst = 100, 200
	config.Wrap(writesOnce)
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("registering types: %w", err)
	}
	renew := c.LeaseDuration * 2 / 3
	retry := c.LeaseDuration / 8
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme, Logger: logger, Cache: rotation.CacheOptions(),
		Metrics: metricsserver.Options{BindAddress: c.MetricsAddress}, HealthProbeBindAddress: c.HealthAddress,
		LeaderElection: c.LeaderElect, LeaderElectionID: "reanchor-controller", LeaderElectionNamespace: c.Namespace,
		LeaderElectionReleaseOnCancel: true, LeaseDuration: &c.LeaseDuration, RenewDeadline: &renew, RetryPeriod: &retry,
	})
	if err != nil {
		return nil, fmt.Errorf("preparing the controller: %w", err)
	}
	// Ready is whoever has read the cluster: rotation adds that check.
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, fmt.Errorf("adding the health check: %w", err)
	}
	return mgr, nil
}
