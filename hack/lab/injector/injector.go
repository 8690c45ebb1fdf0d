// Package injector is the lab's stand-in for Linkerd's proxy injector: a mutating
// webhook of several replicas, each with its own late view of the trust bundle.
//
// What it adds to a pod equals what Linkerd edge-26.8.3 adds (a test compares
// with pods of a real one). Above all the proxy's trust anchors are a literal in
// the pod: the text of the mounted file at the moment of injection.
//
// A replica reads ConfigMap linkerd/linkerd-identity-trust-roots as a mounted
// file shows it: a new text is there lag after the write, and never an older one
// than before. Replicas sit behind a balancer that picks one per connection, in
// turn, and speak HTTP/1.1 with keep-alive, as the API server's connections to a
// Service do: sequential requests reach one replica.
//
// Replicas are a fixed number, or follow pods (Options.PodSelector): then each
// Ready pod is a replica whose file is fresh when it starts, so that restarting
// the injector's Deployment has the effect that it has in a cluster.
//
// It imports nothing of the packages it is the measure of.
package injector

import (
	"context"
	"fmt"
	"net"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
	"k8s.io/utils/clock"
)

// Names that Linkerd gives its objects.
const (
	// WebhookConfiguration is the MutatingWebhookConfiguration that Start makes.
	WebhookConfiguration = "linkerd-proxy-injector-webhook-config"
	// BundleConfigMap and BundleKey are where the trust bundle is read from, in
	// the control plane's namespace, unless Options.Bundle says another name.
	BundleConfigMap = "linkerd-identity-trust-roots"
	BundleKey       = "ca-bundle.crt"

	// DefaultControlPlane is the namespace of Linkerd's control plane.
	DefaultControlPlane = "linkerd"
	// MeshLabel, on a namespace, gives its pods to the injector of a control
	// plane in another namespace than that.
	MeshLabel = "lab.reanchor.dev/mesh"

	timeout = int32(10)
)

// Options of an injector. The zero value is one replica without lag.
type Options struct {
	// ControlPlane is the namespace of the control plane; DefaultControlPlane
	// when empty, which has the pods of all namespaces without MeshLabel. Several
	// control planes can be there side by side.
	ControlPlane string
	// Bundle is the name of the ConfigMap with the trust bundle; BundleConfigMap
	// when empty.
	Bundle string
	// Replicas is how many there are; 0 means 1. With PodSelector it has no effect.
	Replicas int
	// Lags are those of the replicas, in order; when there are more replicas
	// they start over. None means no lag.
	Lags []time.Duration
	// PodSelector is the label selector of the pods in namespace ControlPlane that
	// are the replicas. While none is Ready, every connection is refused.
	PodSelector string
	// FailurePolicy is Ignore when empty, as in Linkerd without its HA values.
	FailurePolicy admissionregistrationv1.FailurePolicyType
	// ConnectionPerRequest closes the connection after each answer, so that
	// every request may reach another replica.
	ConnectionPerRequest bool
	// Clock is the wall clock by default.
	Clock clock.PassiveClock
}

// Injector is a running one.
type Injector struct {
	client   kubernetes.Interface
	options  Options
	stop     context.CancelFunc
	watches  *watches
	replicas *replicas
	listener net.Listener
}

// Start serves the webhook, registers it and returns when the replicas have seen
// the bundle, if there is one. ctx bounds that only; Stop ends the injector. While
// there is no bundle, requests fail.
func Start(ctx context.Context, config *rest.Config, o Options) (*Injector, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("building the injector's client: %w", err)
	}
	if o.ControlPlane == "" {
		o.ControlPlane = DefaultControlPlane
	}
	if o.Bundle == "" {
		o.Bundle = BundleConfigMap
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.FailurePolicy == "" {
		o.FailurePolicy = admissionregistrationv1.Ignore
	}
	runCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	i := &Injector{client: client, options: o, stop: stop, watches: newWatches(client, o)}
	if err := i.start(ctx, runCtx); err != nil {
		i.close()
		return nil, err
	}
	return i, nil
}

func (i *Injector) start(ctx, runCtx context.Context) error {
	certificate, key, err := cert.GenerateSelfSignedCertKey("localhost", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		return fmt.Errorf("making the injector's certificate: %w", err)
	}
	if i.replicas, err = newReplicas(i.options, certificate, key, i.answer); err != nil {
		return err
	}
	if i.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return fmt.Errorf("starting the injector: %w", err)
	}
	if err := i.watches.start(ctx, runCtx, i.replicas); err != nil {
		return err
	}
	if i.options.PodSelector == "" {
		for range max(1, i.options.Replicas) {
			i.replicas.add("")
		}
	}
	go i.replicas.balance(i.listener)
	return i.register(ctx, certificate)
}

func (i *Injector) register(ctx context.Context, caBundle []byte) error {
	url := fmt.Sprintf("https://localhost:%d/", i.listener.Addr().(*net.TCPAddr).Port)
	never, sideEffects := admissionregistrationv1.NeverReinvocationPolicy, admissionregistrationv1.SideEffectClassNone
	seconds := timeout
	configurations := i.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if err := i.unregister(ctx); err != nil {
		return err
	}
	_, err := configurations.Create(ctx, &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: i.configuration()},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name:                    "linkerd-proxy-injector.linkerd.io",
			ClientConfig:            admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: caBundle},
			FailurePolicy:           &i.options.FailurePolicy,
			ReinvocationPolicy:      &never,
			SideEffects:             &sideEffects,
			TimeoutSeconds:          &seconds,
			AdmissionReviewVersions: []string{"v1"},
			// As Linkerd's chart has it.
			NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: "config.linkerd.io/admission-webhooks", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"disabled"}},
				{Key: "kubernetes.io/metadata.name", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"kube-system", "cert-manager"}},
				i.own(),
			}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule: admissionregistrationv1.Rule{
					APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"},
				},
			}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("registering the injector: %w", err)
	}
	return nil
}

// configuration is the name of the webhook's configuration.
func (i *Injector) configuration() string {
	if i.options.ControlPlane == DefaultControlPlane {
		return WebhookConfiguration
	}
	return WebhookConfiguration + "-" + i.options.ControlPlane
}

// own selects the namespaces whose pods are this injector's.
func (i *Injector) own() metav1.LabelSelectorRequirement {
	if i.options.ControlPlane == DefaultControlPlane {
		return metav1.LabelSelectorRequirement{Key: MeshLabel, Operator: metav1.LabelSelectorOpDoesNotExist}
	}
	return metav1.LabelSelectorRequirement{Key: MeshLabel, Operator: metav1.LabelSelectorOpIn, Values: []string{i.options.ControlPlane}}
}

func (i *Injector) unregister(ctx context.Context) error {
	err := i.client.AdmissionregistrationV1().MutatingWebhookConfigurations().
		Delete(ctx, i.configuration(), metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("removing the injector's webhook: %w", err)
	}
	return nil
}

// SetLag changes the lag of a replica, counted from 0, and of those that follow
// it in the same place. What it has seen it does not forget.
func (i *Injector) SetLag(replica int, lag time.Duration) { i.replicas.setLag(replica, lag) }

// Served is how many reviews a replica, counted from 0, has answered, together
// with those that were in the same place before.
func (i *Injector) Served(replica int) int { return i.replicas.servedBy(replica) }

// Stop removes the webhook and ends the replicas.
func (i *Injector) Stop(ctx context.Context) error {
	err := i.unregister(ctx)
	i.close()
	return err
}

// Kill ends the replicas and leaves the webhook registered, as when every
// injector pod is gone: what its failure policy says happens.
func (i *Injector) Kill() { i.close() }

func (i *Injector) close() {
	i.stop()
	i.watches.stop()
	if i.listener != nil {
		i.listener.Close()
	}
	if i.replicas != nil {
		i.replicas.close()
	}
}
