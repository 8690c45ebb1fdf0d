// Package linkerd sets up whole Linkerd meshes on a lab: certificates as
// Linkerd's documentation has them, by the lab's cert-manager and trust-manager,
// a control plane of identity, destination and proxy-injector, an application,
// and the stand-ins (identity, injector, proxies) that make it a mesh whose
// handshakes are measured. Several live side by side in one lab.
//
//	k, err := kubelet.Start(ctx, l.Config(), kubelet.Options{})
//	m, err := linkerd.Start(ctx, l.Config(), linkerd.Options{Kubelet: k, Workloads: 8, Namespaces: 2})
//	defer m.Stop()
//
// # Rules
//
// Every pod is Ready only when its proxy has had a leaf (identity.Hold); while
// injectors are gone no pod is created (failure policy Fail, as with Linkerd's HA
// values). What happened is told from the API and from the proxies alone, never
// from Reanchor's status. It imports nothing of the packages it is the measure of,
// but for the API types of the MeshTrust that goes with a mesh.
package linkerd

import (
	"context"
	"errors"
	"fmt"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab/identity"
	"github.com/reanchor/reanchor/hack/lab/injector"
	"github.com/reanchor/reanchor/hack/lab/kubelet"
	"github.com/reanchor/reanchor/hack/lab/proxies"
)

// Options of a mesh. Kubelet must be set.
type Options struct {
	// Name is that of the mesh, of its control plane's namespace and of its
	// MeshTrust; DefaultName when empty.
	Name string
	// Layout is InPlace, the documented one, when empty.
	Layout v1alpha1.Layout
	// Writer is TrustManager when empty. With Reanchor the published ConfigMap is
	// a plain one, that nobody keeps.
	Writer v1alpha1.BundleWriter
	// Foreign adds the root of another cluster to the bundle.
	Foreign bool
	// Workloads is how many there are besides the control plane: Deployments, one
	// in eight a StatefulSet and one in eight a DaemonSet, of two pods each.
	// Namespaces is how many they are spread over; 0 means 1.
	Workloads, Namespaces int
	// ReadyDelay is how long a pod of the application takes to be Ready when its
	// proxy has its leaf.
	ReadyDelay time.Duration
	// AnchorEnds leaves the anchor to expire: it is not renewed by itself.
	AnchorEnds bool
	// Times are shortened ones; see Times for its defaults.
	Times Times
	// Rate is that of the handshakes, per second; 0 means proxies.DefaultRate.
	Rate int
	// Kubelet resolves the references of the control plane's pods. One serves all
	// meshes of a lab.
	Kubelet *kubelet.Kubelet
}

// Times are durations of a mesh; each has a default that fits a lab, where a
// rotation takes minutes.
type Times struct {
	// Anchor and Issuer are lifetimes of certificates (2h, 40m); the issuer renews
	// itself IssuerRenewBefore its end (20m).
	Anchor, Issuer, IssuerRenewBefore time.Duration
	// Leaf is how long a leaf is good (40s), Skew what identity adds (1s).
	Leaf, Skew time.Duration
	// Environment and File are what MeshTrust says of propagation (2s, 12s).
	Environment, File time.Duration
	// InjectorLags and IdentityLags are how late each replica sees its files (1s,
	// 5s, 10s; and 0, 3s). There is one replica for each.
	InjectorLags, IdentityLags []time.Duration
}

func (t Times) withDefaults() Times {
	for field, value := range map[*time.Duration]time.Duration{
		&t.Anchor: 2 * time.Hour, &t.Issuer: 40 * time.Minute, &t.IssuerRenewBefore: 20 * time.Minute,
		&t.Leaf: 40 * time.Second, &t.Skew: time.Second, &t.Environment: 2 * time.Second, &t.File: 12 * time.Second,
	} {
		if *field == 0 {
			*field = value
		}
	}
	if t.InjectorLags == nil {
		t.InjectorLags = []time.Duration{time.Second, 5 * time.Second, 10 * time.Second}
	}
	if t.IdentityLags == nil {
		t.IdentityLags = []time.Duration{0, 3 * time.Second}
	}
	return t
}

func (o Options) withDefaults() (Options, error) {
	if o.Kubelet == nil {
		return o, errors.New("the control plane's pods refer to the bundle, and nobody resolves that: set Options.Kubelet")
	}
	if o.Layout == "" {
		o.Layout = v1alpha1.LayoutInPlace
	}
	if o.Writer == "" {
		o.Writer = v1alpha1.BundleWriterTrustManager
	}
	o.Namespaces = max(1, o.Namespaces)
	o.Times = o.Times.withDefaults()
	return o, nil
}

// Mesh is a running one.
type Mesh struct {
	Names
	// Client is the administrator's.
	Client client.Client
	// The stand-ins.
	Identity *identity.Identity
	Injector *injector.Injector
	Proxies  *proxies.Proxies
	// History is what has happened to its pods since all were Ready.
	History *History

	options   Options
	config    *rest.Config
	foreign   string // PEM
	watch     *watch
	workloads []Workload
}

// Start returns when every pod of the mesh is Ready. ctx bounds that only; Stop
// ends the stand-ins.
func Start(ctx context.Context, config *rest.Config, o Options) (*Mesh, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &Mesh{Names: NamesOf(o.Name), options: o, config: config}
	if m.Client, err = newClient(config); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{
		m.createNamespaces, m.createCertificates, m.createBundle, m.startIdentity, m.startWatch, m.startInjector, m.createWorkloads, m.startHistory,
	} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("setting up mesh %s: %w", m.Mesh, err), m.Stop(context.WithoutCancel(ctx)))
		}
	}
	return m, nil
}

func newClient(config *rest.Config) (client.Client, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("registering types: %w", err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return c, nil
}

// startIdentity starts what gives out leaves and measures, and the part of the
// control plane that needs no injector.
func (m *Mesh) startIdentity(ctx context.Context) (err error) {
	t := m.options.Times
	skew := t.Skew
	if m.Identity, err = identity.Start(ctx, m.config, identity.Options{
		ControlPlane: m.Mesh, Bundle: m.Bundle, PodSelector: ComponentLabel + "=" + ComponentIdentity,
		Lags: t.IdentityLags, LeafLifetime: t.Leaf, ClockSkew: skew, RestartDelay: 2 * time.Second,
	}); err != nil {
		return err
	}
	if m.Proxies, err = proxies.Start(ctx, m.config, proxies.Options{
		ControlPlane: m.Mesh, Identity: m.Identity, Kubelet: m.options.Kubelet, Rate: m.options.Rate,
	}); err != nil {
		return err
	}
	for name, replicas := range map[string]int{ComponentIdentity: len(t.IdentityLags), ComponentDestination: 1, ComponentInjector: len(t.InjectorLags)} {
		if err := m.createComponent(ctx, name, replicas); err != nil {
			return err
		}
	}
	return m.awaitReady(ctx)
}

// startInjector returns when the API server asks it.
func (m *Mesh) startInjector(ctx context.Context) (err error) {
	m.Injector, err = injector.Start(ctx, m.config, injector.Options{
		ControlPlane: m.Mesh, Bundle: m.Bundle, PodSelector: ComponentLabel + "=" + ComponentInjector,
		Lags: m.options.Times.InjectorLags, FailurePolicy: admissionregistrationv1.Fail,
	})
	if err != nil {
		return err
	}
	return await(ctx, "the injector to be asked", func(ctx context.Context) error { return m.injected(ctx) })
}

// Stop ends the stand-ins; the objects stay.
func (m *Mesh) Stop(ctx context.Context) error {
	var err error
	if m.Injector != nil {
		err = m.Injector.Stop(ctx)
	}
	if m.watch != nil {
		m.watch.stop()
	}
	if m.Proxies != nil {
		m.Proxies.Stop()
	}
	if m.Identity != nil {
		m.Identity.Stop()
	}
	if m.History != nil {
		m.History.stop()
	}
	return err
}

// await asks until the answer is nil, and fails with the last one when ctx ends.
func await(ctx context.Context, what string, ask func(context.Context) error) error {
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
