package linkerd

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/reanchor/reanchor/hack/lab/identity"
)

// Narrowing is a moment at which anchors left the published bundle.
type Narrowing struct {
	At time.Time
	// Dropped are the anchors that left it, Kept those that stayed.
	Dropped, Kept Anchors
	// Orphans are what chained to none of those that stayed, as a sentence each:
	// proxies with a leaf that had not ended, and replicas of identity. A pod that
	// starts from then on refuses all of them. Pods that started earlier do not,
	// which is why handshakes alone do not show an anchor that was dropped too early.
	Orphans []string
}

// watch follows the published bundle, and every issuer there has been.
type watch struct {
	mesh    *Mesh
	factory []informers.SharedInformerFactory
	cancel  context.CancelFunc

	mu         sync.Mutex
	issuers    map[string]*x509.Certificate // by fingerprint
	published  []*x509.Certificate
	narrowings []Narrowing
}

// startWatch begins it, when there are identity and proxies.
func (m *Mesh) startWatch(ctx context.Context) error {
	set, err := kubernetes.NewForConfig(m.config)
	if err != nil {
		return fmt.Errorf("building the watch's client: %w", err)
	}
	one := func(name string) informers.SharedInformerFactory {
		return informers.NewSharedInformerFactoryWithOptions(set, 0, informers.WithNamespace(m.Mesh),
			informers.WithTweakListOptions(func(l *metav1.ListOptions) {
				l.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
			}))
	}
	issuer, bundle := one(m.Names.Issuer), one(m.Bundle)
	runCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &watch{mesh: m, factory: []informers.SharedInformerFactory{issuer, bundle}, cancel: cancel, issuers: map[string]*x509.Certificate{}}
	m.watch = w
	for informer, see := range map[cache.SharedIndexInformer]func(any){
		issuer.Core().V1().Secrets().Informer():    w.seeIssuer,
		bundle.Core().V1().ConfigMaps().Informer(): w.seeBundle,
	} {
		registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: see, UpdateFunc: func(_, obj any) { see(obj) },
		})
		if err != nil {
			return fmt.Errorf("watching bundle and issuer: %w", err)
		}
		for _, f := range w.factory {
			f.StartWithContext(runCtx)
		}
		if !cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
			return fmt.Errorf("waiting for the watch to see bundle and issuer: %w", context.Cause(ctx))
		}
	}
	return nil
}

func (w *watch) stop() {
	w.cancel()
	for _, f := range w.factory {
		f.Shutdown()
	}
}

// seeIssuer keeps what the Secret holds: leaves outlive it there.
func (w *watch) seeIssuer(obj any) {
	secret, ok := obj.(*corev1.Secret)
	if !ok {
		return
	}
	certificates, err := parse(secret.Data[corev1.TLSCertKey])
	if err != nil {
		return // it is being written
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.issuers[identity.Fingerprint(certificates[0].Raw)] = certificates[0]
}

// seeBundle looks at who lives, at once, when an anchor has left the bundle.
func (w *watch) seeBundle(obj any) {
	cm, ok := obj.(*corev1.ConfigMap)
	if !ok {
		return
	}
	published, err := parse([]byte(cm.Data[identity.BundleKey]))
	if err != nil {
		return // nobody can start with it: it drops nothing, it is a fault
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	n := Narrowing{At: time.Now(), Kept: anchorsOf(published)}
	for _, anchor := range anchorsOf(w.published) {
		if !n.Kept.Has(anchor) {
			n.Dropped = append(n.Dropped, anchor)
		}
	}
	w.published = published
	if len(n.Dropped) > 0 {
		n.Orphans = w.orphans(n.At)
		w.narrowings = append(w.narrowings, n)
	}
}

// orphans are what chains to no anchor that is published.
func (w *watch) orphans(now time.Time) []string {
	var out []string
	for _, p := range w.mesh.Proxies.Peers() {
		if p.Leaf != "" && now.Before(p.NotAfter) && !w.chains(p.Issuer) {
			out = append(out, "proxy "+p.String())
		}
	}
	for _, r := range w.mesh.Identity.Replicas() {
		if r.Issuer != "" && !w.chains(r.Issuer) {
			out = append(out, fmt.Sprintf("replica %s of identity (signs with issuer %.8s)", r.Pod, r.Issuer))
		}
	}
	return out
}

// chains tells whether a published anchor has signed an issuer. One that was
// never seen is signed by nobody.
func (w *watch) chains(issuer string) bool {
	known := w.issuers[issuer]
	return known != nil && slices.ContainsFunc(w.published, func(anchor *x509.Certificate) bool {
		return known.CheckSignatureFrom(anchor) == nil
	})
}

// Narrowings are all since the mesh began, in their order.
func (m *Mesh) Narrowings() []Narrowing {
	m.watch.mu.Lock()
	defer m.watch.mu.Unlock()
	return slices.Clone(m.watch.narrowings)
}

// IssuersOf are the issuers that a published anchor has signed since the mesh
// began, also those that have been replaced; all by fingerprint.
func (m *Mesh) IssuersOf(anchor string) []string {
	m.watch.mu.Lock()
	defer m.watch.mu.Unlock()
	var out []string
	for _, signer := range m.watch.published {
		if identity.Fingerprint(signer.Raw) != anchor {
			continue
		}
		for fingerprint, issuer := range m.watch.issuers {
			if issuer.CheckSignatureFrom(signer) == nil {
				out = append(out, fingerprint)
			}
		}
	}
	return out
}
