package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/controller"
	trustapi "github.com/cert-manager/trust-manager/pkg/apis/trust/v1alpha1"
	"github.com/cert-manager/trust-manager/pkg/bundle"
	trustmanager "github.com/cert-manager/trust-manager/pkg/bundle/controller"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	// cert-manager's controllers register themselves. These are the ones that
	// a CA and a self-signed issuer need; the ACME, Vault and Venafi ones would
	// want their CRDs and gain the lab nothing.
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	_ "github.com/cert-manager/cert-manager/pkg/controller/clusterissuers"
	_ "github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned"
)

// resourceNamespace is where both managers look for the objects of
// cluster-scoped kinds: a ClusterIssuer's CA Secret, a Bundle's sources. It is
// the default of either.
const resourceNamespace = "cert-manager"

const (
	// workers per controller, as cert-manager's command has it by default.
	workers = 5

	certificateRequestMinimumBackoff = time.Hour
	certificateRequestMaximumBackoff = 32 * time.Hour
)

// controllers makes a component of a function that runs controllers until ctx
// ends. It parses --kubeconfig and ends ctx at SIGINT or SIGTERM.
func controllers(name string, run func(ctx context.Context, kubeconfig string) error) component {
	return func() int {
		flags := flag.NewFlagSet(name, flag.ContinueOnError)
		kubeconfig := flags.String("kubeconfig", "", "path of the kubeconfig to use")
		if err := flags.Parse(os.Args[1:]); err != nil {
			return 2
		}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		log := klog.Background().WithName(name)
		ctrl.SetLogger(log)
		if err := run(klog.NewContext(ctx, log), *kubeconfig); err != nil && ctx.Err() == nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			return 1
		}
		return 0
	}
}

func runCertManager(ctx context.Context, kubeconfig string) error {
	factory, err := certmanager.NewContextFactory(ctx, certmanager.ContextOptions{
		Kubeconfig:    kubeconfig,
		IssuerOptions: certmanager.IssuerOptions{ClusterResourceNamespace: resourceNamespace},
		CertificateOptions: certmanager.CertificateOptions{
			CopiedAnnotationPrefixes: []string{"*", "-kubectl.kubernetes.io/", "-fluxcd.io/", "-argocd.argoproj.io/"},
			// cert-manager's own defaults, so that a failed request
			// backs off in the lab as it does in a cluster.
			CertificateRequestMinimumBackoffDuration: certificateRequestMinimumBackoff,
			CertificateRequestMaximumBackoffDuration: certificateRequestMaximumBackoff,
		},
	})
	if err != nil {
		return fmt.Errorf("building cert-manager's clients: %w", err)
	}
	shared, err := factory.Build()
	if err != nil {
		return fmt.Errorf("building cert-manager's context: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	for name, build := range certmanager.Known() {
		controller, err := build(factory)
		if err != nil {
			return fmt.Errorf("building cert-manager's controller %s: %w", name, err)
		}
		group.Go(func() error { return controller.Run(workers, ctx) })
	}
	// After the controllers were built: an informer that nobody asked for yet
	// would not be started.
	shared.SharedInformerFactory.Start(ctx.Done())
	shared.KubeSharedInformerFactory.Start(ctx.Done())
	shared.HTTP01ResourceMetadataInformersFactory.Start(ctx.Done())
	return group.Wait()
}

func runTrustManager(ctx context.Context, kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return fmt.Errorf("registering Kubernetes' kinds: %w", err)
	}
	if err := trustapi.AddToScheme(scheme); err != nil {
		return fmt.Errorf("registering trust-manager's kinds: %w", err)
	}
	options := trustmanager.Options{Namespace: resourceNamespace, SecretTargetsEnabled: true}
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                 scheme,
		Cache:                  bundle.CacheOpts(options),
		Metrics:                metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress: "0",
	})
	if err != nil {
		return fmt.Errorf("building the manager: %w", err)
	}
	if err := bundle.SetupWithManager(ctx, manager, options); err != nil {
		return fmt.Errorf("adding the Bundle controller: %w", err)
	}
	return manager.Start(ctx)
}
