package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/reanchor/reanchor/webhook"
	"github.com/reanchor/reanchor/webhook/serving"
)

// WebhookCmd is the admission edge. Any number of replicas serve side by side.
type WebhookCmd struct {
	Address       string `help:"Where the webhooks are served, over TLS." default:":9443" env:"REANCHOR_WEBHOOK_ADDRESS"`
	HealthAddress string `help:"Where /healthz, /readyz and /metrics are served, without TLS." default:":8081" env:"REANCHOR_HEALTH_ADDRESS"`
	Kubeconfig    string `help:"Kubeconfig file, or a list as kubectl takes it; default: the pod's own service account." env:"KUBECONFIG" placeholder:"FILE"`

	Namespace          string        `help:"Namespace of the Service and of the serving certificate's Secret." default:"reanchor-system" env:"REANCHOR_NAMESPACE"`
	Service            string        `help:"Service by which the API server reaches the webhooks." default:"reanchor-webhook" env:"REANCHOR_WEBHOOK_SERVICE"`
	Host               []string      `help:"Further host name or address by which it does (repeatable)." placeholder:"NAME"`
	Secret             string        `help:"Secret that holds the serving certificate, shared by all replicas." default:"reanchor-webhook-tls" env:"REANCHOR_WEBHOOK_SECRET"`
	MutatingWebhook    string        `help:"Name of the configuration that stamps; it must sort after every injector's." default:"zz-reanchor-stamp"`
	ValidatingWebhook  string        `help:"Name of the configuration that validates." default:"reanchor-validate"`
	CertificateDir     string        `help:"Serve tls.crt and tls.key of this directory, written by cert-manager for example, and leave Secret and caBundle alone." env:"REANCHOR_CERTIFICATE_DIR" placeholder:"DIR"`
	CertificateLife    time.Duration `help:"Lifetime of a serving certificate." default:"2160h"`
	CertificateRenewal time.Duration `help:"Time before its end at which the next one is issued." default:"720h"`
	CertificatePause   time.Duration `help:"Time between publishing a new CA in every caBundle and serving under it." default:"10s"`
	CertificateCheck   time.Duration `help:"How often to look at the certificate when nothing changes." default:"10s"`
	ShutdownDelay      time.Duration `help:"How long to serve on after SIGTERM, until no API server finds this replica." default:"8s"`
	Verbosity          int           `short:"v" help:"0 for operators, 1 for those who look for a fault." default:"0"`
}

// Validate reports all faults of the flags at once.
func (c *WebhookCmd) Validate() error {
	var errs []error
	for name, d := range map[string]time.Duration{
		"--certificate-life": c.CertificateLife, "--certificate-renewal": c.CertificateRenewal,
		"--certificate-pause": c.CertificatePause, "--certificate-check": c.CertificateCheck,
	} {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("%s must be more than 0", name))
		}
	}
	if c.CertificateRenewal <= c.CertificatePause || c.CertificateLife <= c.CertificateRenewal {
		errs = append(errs, errors.New("--certificate-life must be longer than --certificate-renewal, and that longer than --certificate-pause"))
	}
	for name, address := range map[string]string{"--address": c.Address, "--health-address": c.HealthAddress} {
		if _, _, err := net.SplitHostPort(address); err != nil {
			errs = append(errs, fmt.Errorf("%s: write HOST:PORT or :PORT: %w", name, err))
		}
	}
	if c.ShutdownDelay < 0 {
		errs = append(errs, errors.New("--shutdown-delay must not be negative"))
	}
	return errors.Join(errs...)
}

// Run serves until the context ends.
func (c *WebhookCmd) Run(ctx context.Context, s streams) error {
	log := newLog(s.err, c.Verbosity)
	log.Info("Starting", "version", version())
	config, err := clusterConfig(c.Kubeconfig)
	if err != nil {
		return err
	}
	server, err := webhook.NewServer(config, c.options(log))
	if err != nil {
		return err
	}
	return server.Run(ctx)
}

func (c *WebhookCmd) options(log logr.Logger) webhook.Options {
	return webhook.Options{
		Address: c.Address, HealthAddress: c.HealthAddress, ShutdownDelay: c.ShutdownDelay,
		Log: log, Clock: clock.RealClock{},
		Serving: serving.Options{
			Policy: serving.Policy{
				Names:    append([]string{c.Service + "." + c.Namespace + ".svc"}, c.Host...),
				Lifetime: c.CertificateLife, RenewBefore: c.CertificateRenewal,
				Pause: c.CertificatePause, Interval: c.CertificateCheck,
			},
			Namespace: c.Namespace, Secret: c.Secret,
			Mutating: c.MutatingWebhook, Validating: c.ValidatingWebhook, Dir: c.CertificateDir,
		},
	}
}

// clusterConfig reads a kubeconfig, or the pod's own service account. Like kubectl
// it merges the files of a list, as $KUBECONFIG may be one. Unlike it, it looks for
// no file that nobody named: what serves and writes must not do so in whatever
// cluster somebody worked on last.
func clusterConfig(kubeconfig string) (*rest.Config, error) {
	config, err := loadConfig(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("finding the API server (set --kubeconfig outside a cluster): %w", err)
	}
	config.UserAgent = "reanchor"
	return config, nil
}

func loadConfig(kubeconfig string) (*rest.Config, error) {
	files := filepath.SplitList(kubeconfig)
	if len(files) < 2 {
		return clientcmd.BuildConfigFromFlags("", kubeconfig)
	}
	rules := &clientcmd.ClientConfigLoadingRules{Precedence: files}
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
}

// newLog writes one JSON object a line, also what the libraries have to say.
func newLog(w io.Writer, verbosity int) logr.Logger {
	// logr's V(n) is slog's level -n.
	handler := slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.Level(-verbosity)})
	log := logr.FromSlogHandler(handler)
	klog.SetLogger(log)
	ctrllog.SetLogger(log)
	return log
}
