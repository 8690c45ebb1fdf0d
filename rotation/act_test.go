package rotation

import (
	"context"
	"encoding/base64"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/owner"
	"github.com/reanchor/reanchor/rotation/published"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// acting is a Reconciler that has decided to roll three Deployments. What the API
// server holds is in api, what the watches deliver in watched.
type acting struct {
	*testing.T
	*Reconciler
	api     client.WithWatch
	watched *dynamicfake.FakeDynamicClient
	clock   *clocktesting.FakeClock
	trust   *v1alpha1.MeshTrust
	seen    *observation
	actions []rollout.Action
	// written are the Deployments that were written to, lists the requests for lists,
	// and looked how often the MeshTrust was read; then is called after each write.
	written []string
	lists   []client.ObjectList
	looked  int
	then    func(*acting)
}

var (
	trustRoots  = client.ObjectKey{Namespace: "linkerd", Name: "linkerd-identity-trust-roots"}
	issuerOfIt  = client.ObjectKey{Namespace: "linkerd", Name: "linkerd-identity-issuer"}
	deployments = []string{"a", "b", "c"}
)

func newActing(t *testing.T) *acting {
	t.Helper()
	w := &acting{T: t, clock: clocktesting.NewFakeClock(now), then: func(*acting) {}}
	root := bundletest.NewRoot(t, "root", bundletest.From(at(-3600), time.Hour*24))
	objects := []client.Object{
		&v1alpha1.MeshTrust{ObjectMeta: metav1.ObjectMeta{Name: "linkerd"}, Spec: v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
		configMapOf(root), secretOf(root),
	}
	for _, name := range deployments {
		objects = append(objects, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid of " + name)}})
		w.actions = append(w.actions, rollout.Action{
			Key: rollout.Key{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: name}, Verb: v1alpha1.VerbRestart, Attempt: 1, Mark: "v1:b",
		})
	}
	w.api = w.server(objects...)
	w.watched = dynamicfake.NewSimpleDynamicClient(clientgoscheme.Scheme, w.held(&corev1.ConfigMap{}, trustRoots), w.held(&corev1.Secret{}, issuerOfIt))
	w.trust = &v1alpha1.MeshTrust{}
	if err := w.api.Get(t.Context(), client.ObjectKey{Name: "linkerd"}, w.trust); err != nil {
		t.Fatal(err)
	}
	metrics, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	w.Reconciler = &Reconciler{
		client: w.api, live: w.api, published: published.NewWatcher(w.watched, func() {}), memory: newMemory(),
		reporter: newReporter(events.NewFakeRecorder(100), metrics), clock: w.clock,
	}
	go w.published.Start(t.Context())
	w.observe()
	return w
}

// server is an API server with the objects.
func (w *acting) server(objects ...client.Object) client.WithWatch {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		w.Fatal(err)
	}
	byName := func(o client.Object) []string { return []string{o.GetName()} }
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
		WithIndex(&corev1.ConfigMap{}, "metadata.name", byName).WithIndex(&corev1.Secret{}, "metadata.name", byName).
		WithInterceptorFuncs(interceptor.Funcs{
			Apply: func(_ context.Context, _ client.WithWatch, o runtime.ApplyConfiguration, _ ...client.ApplyOption) error {
				w.written = append(w.written, o.(interface{ GetName() string }).GetName())
				w.then(w)
				return nil
			},
			Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
				w.clock.Step(actWithin) // an injector takes its time
				return errors.New("no answer")
			},
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
				if _, ok := o.(*v1alpha1.MeshTrust); ok {
					w.looked++
				}
				return c.Get(ctx, key, o, options...)
			},
			List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
				w.lists = append(w.lists, list)
				return c.List(ctx, list, options...)
			},
		}).Build()
}

// observe waits until the watches have delivered, and takes that for what was
// decided on.
func (w *acting) observe() {
	w.Helper()
	w.seen = &observation{spec: w.trust.EffectiveSpec(), decidedAt: w.clock.Now()}
	w.seen.writer = owner.Writer{Client: w.api, Reader: owner.Reader{Cached: w.api, Live: w.api, Mesh: &mesh.Mesh{}, Mapper: w.api.RESTMapper()}}
	w.eventually(func() bool {
		w.seen.bundle, w.seen.issuer = w.published.Bundle(w.seen.spec.Bundle, now), w.published.Issuer(w.seen.spec.Issuer, now)
		return w.seen.bundle.Reason == v1alpha1.BundleUsable && len(w.seen.issuer.Chain) > 0
	})
}

func (w *acting) eventually(what func() bool) {
	w.Helper()
	for deadline := time.Now().Add(10 * time.Second); !what(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatal("the watches do not deliver")
		}
	}
}

// held is what the API server holds, as a watch delivers it.
func (w *acting) held(o client.Object, key client.ObjectKey) *unstructured.Unstructured {
	w.Helper()
	if err := w.api.Get(w.Context(), key, o); err != nil {
		w.Fatal(err)
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		w.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: fields}
	u.SetAPIVersion("v1")
	u.SetKind(map[bool]string{true: "ConfigMap", false: "Secret"}[key == trustRoots])
	return u
}

func configMapOf(root *bundletest.CA) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: trustRoots.Namespace, Name: trustRoots.Name, UID: "roots"},
		Data: map[string]string{"ca-bundle.crt": root.PEM()}}
}

func secretOf(root *bundletest.CA) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: issuerOfIt.Namespace, Name: issuerOfIt.Name, UID: "issuer"},
		Data: map[string][]byte{"tls.crt": []byte(root.Intermediate("identity", bundletest.From(at(-3600), 2*time.Hour)).PEM())}}
}

// deliver has a watch deliver another certificate, and waits for it.
func (w *acting) deliver(resource string, key client.ObjectKey, field, text string) {
	w.Helper()
	objects := w.watched.Resource(schema.GroupVersionResource{Version: "v1", Resource: resource}).Namespace(key.Namespace)
	u, err := objects.Get(w.Context(), key.Name, metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	_ = unstructured.SetNestedField(u.Object, text, "data", field)
	if _, err := objects.Update(w.Context(), u, metav1.UpdateOptions{}); err != nil {
		w.Fatal(err)
	}
	w.eventually(func() bool {
		return w.published.Bundle(w.seen.spec.Bundle, now).Differs(w.seen.bundle) || w.published.Issuer(w.seen.spec.Issuer, now).Differs(w.seen.issuer)
	})
}

// touch has the API server hold another version of an object.
func (w *acting) touch(o client.Object) {
	w.Helper()
	if err := w.api.Get(w.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		w.Fatal(err)
	}
	o.SetLabels(map[string]string{"touched": "yes"})
	if err := w.api.Update(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

// A decision is acted on within seconds or not at all, and only towards the bundle
// and for the issuer of which it was made (I4, I9).
func TestADecisionIsActedOnWhileItHolds(t *testing.T) {
	other := func(t *testing.T) *bundletest.CA {
		return bundletest.NewRoot(t, "other", bundletest.From(at(-3600), time.Hour*24))
	}
	for name, c := range map[string]struct {
		before, then func(*acting)
		want         []string
	}{
		"nothing changes":              {want: deployments},
		"the writes take some seconds": {then: func(w *acting) { w.clock.Step(2 * time.Second) }, want: deployments},
		"the writes take too long":     {then: func(w *acting) { w.clock.Step(3 * time.Second) }, want: deployments[:2]},
		"a window closes meanwhile": {
			before: func(w *acting) { w.seen.until = w.clock.Now().Add(time.Second) },
			then:   func(w *acting) { w.clock.Step(time.Second) }, want: deployments[:1],
		},
		"a window closes, but not yet":   {before: func(w *acting) { w.seen.until = w.clock.Now().Add(time.Second) }, want: deployments},
		"it was stored too late":         {before: func(w *acting) { w.clock.Step(actWithin + time.Second) }},
		"the MeshTrust changes":          {then: func(w *acting) { w.touch(&v1alpha1.MeshTrust{ObjectMeta: metav1.ObjectMeta{Name: "linkerd"}}) }, want: deployments[:1]},
		"another bundle is delivered":    {then: func(w *acting) { w.deliver("configmaps", trustRoots, "ca-bundle.crt", other(w.T).PEM()) }, want: deployments[:1]},
		"another issuer is delivered":    {then: func(w *acting) { w.deliver("secrets", issuerOfIt, "tls.crt", encodedIssuer(other(w.T))) }, want: deployments[:1]},
		"a bundle is not delivered yet":  {before: func(w *acting) { w.touch(configMapOf(other(w.T))) }},
		"an issuer is not delivered yet": {before: func(w *acting) { w.touch(secretOf(other(w.T))) }},
		"the bundle is gone":             {before: func(w *acting) { _ = w.api.Delete(w.Context(), configMapOf(other(w.T))) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newActing(t)
			if c.before != nil {
				c.before(w)
			}
			if c.then != nil {
				w.then = c.then
			}
			w.looked = 0
			if _, err := w.act(t.Context(), w.trust, w.seen, rollout.Decision{Actions: w.actions}); err != nil {
				t.Fatal(err)
			}
			if w.looked > len(c.want)+2 {
				t.Errorf("%d looks for %d writes: what is void is asked about again", w.looked, len(c.want))
			}
			if diff := cmp.Diff(c.want, w.written); diff != "" {
				t.Errorf("written to (-want +got):\n%s", diff)
			}
			for _, a := range w.actions[:len(c.want)] {
				if uid := w.memory.of("linkerd").written[a.Key].uid; uid != types.UID("uid of "+a.Key.Name) {
					t.Errorf("of the write to %s is remembered that its object was %q", a.Key, uid)
				}
			}
			if len(w.lists) > 2 {
				t.Errorf("%d requests to confirm the decision, want two at most", len(w.lists))
			}
			for _, list := range w.lists {
				if _, ok := list.(*metav1.PartialObjectMetadataList); !ok {
					t.Errorf("a %T was read, which may hold a key; want metadata only", list)
				}
			}
		})
	}
}

// A leader that slept has what its watches delivered before, and a MeshTrust that it
// reads anew.
func TestAnotherIssuerIsOnRecordOnlyWhenItIsConfirmed(t *testing.T) {
	other := func(t *testing.T) *bundletest.CA {
		return bundletest.NewRoot(t, "other", bundletest.From(at(-3600), time.Hour*24))
	}
	answers := func(err error) func(*acting) {
		return func(w *acting) {
			w.Reconciler.live = interceptor.NewClient(w.api, interceptor.Funcs{
				List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error { return err },
			})
		}
	}
	silence := answers(errors.New("no answer"))
	for name, c := range map[string]struct {
		bundles     int32 // how many there were before, and the issuer on record; then they are 2 and "i"
		issuer      string
		happens     func(*acting)
		lists       int
		void, fails bool
	}{
		"nothing changes":                             {bundles: 2, issuer: "i", happens: silence},
		"another issuer":                              {bundles: 2, issuer: "j", lists: 1},
		"another bundle, or the same anew":            {bundles: 1, issuer: "i", lists: 1},
		"the first of both":                           {lists: 2},
		"another, and the watch is behind":            {bundles: 2, issuer: "j", happens: func(w *acting) { w.touch(secretOf(other(w.T))) }, lists: 1, void: true},
		"a bundle whose watch is behind":              {bundles: 1, issuer: "i", happens: func(w *acting) { w.touch(configMapOf(other(w.T))) }, lists: 1, void: true},
		"another, and meanwhile a third is delivered": {bundles: 2, issuer: "j", happens: func(w *acting) { w.redeliver(secretOf(other(w.T))) }, lists: 1, void: true},
		"another, and no answer":                      {bundles: 2, issuer: "j", happens: silence, fails: true},
		"another, and no right to list":               {bundles: 2, issuer: "j", happens: answers(apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "", errors.New("RBAC")))},
	} {
		t.Run(name, func(t *testing.T) {
			w := newActing(t)
			if c.happens != nil {
				c.happens(w)
			}
			w.lists = nil
			record := func(bundles int32, issuer string) *v1alpha1.MeshTrust {
				return &v1alpha1.MeshTrust{Status: v1alpha1.MeshTrustStatus{HistoryTotal: bundles, Issuer: &v1alpha1.IssuerStatus{Fingerprint: issuer}}}
			}
			err := w.confirmRecord(t.Context(), record(c.bundles, c.issuer), record(2, "i"), w.seen)
			if errors.Is(err, errVoid) != c.void || (err != nil) != (c.void || c.fails) {
				t.Errorf("error %v, void %t, fails %t", err, c.void, c.fails)
			}
			if len(w.lists) != c.lists {
				t.Errorf("%d requests, want %d", len(w.lists), c.lists)
			}
			w.lists = nil
			unread := &v1alpha1.MeshTrust{Status: v1alpha1.MeshTrustStatus{HistoryTotal: c.bundles}}
			if err := w.confirmRecord(t.Context(), record(c.bundles, c.issuer), unread, w.seen); err != nil || len(w.lists) > 0 {
				t.Errorf("an issuer that was not read is confirmed: %v", err)
			}
		})
	}
}

// redeliver changes a Secret in the API server, and has the watch deliver it.
func (w *acting) redeliver(o *corev1.Secret) {
	w.Helper()
	data := o.Data
	if err := w.api.Get(w.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		w.Fatal(err)
	}
	o.Data = data
	if err := w.api.Update(w.Context(), o); err != nil {
		w.Fatal(err)
	}
	if err := w.watched.Tracker().Update(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}, w.held(&corev1.Secret{}, issuerOfIt), o.Namespace); err != nil {
		w.Fatal(err)
	}
	w.eventually(func() bool { return w.published.Issuer(w.seen.spec.Issuer, now).Differs(w.seen.issuer) })
}

func encodedIssuer(root *bundletest.CA) string {
	return base64.StdEncoding.EncodeToString(secretOf(root).Data["tls.crt"])
}

// A burst of probes takes longer than a decision holds.
func TestProbesDoNotHoldUpWrites(t *testing.T) {
	w := newActing(t)
	w.fence = newFence(w.api, "probe")
	if _, err := w.act(t.Context(), w.trust, w.seen, rollout.Decision{Actions: w.actions, Probe: true}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(deployments, w.written); diff != "" {
		t.Errorf("written to (-want +got):\n%s", diff)
	}
	if len(w.fence.bursts) != 1 {
		t.Error("no burst was made")
	}
}

// Where nothing is to be written nothing is asked.
func TestADecisionToDoNothingIsNotConfirmed(t *testing.T) {
	w := newActing(t)
	if _, err := w.act(t.Context(), w.trust, w.seen, rollout.Decision{}); err != nil {
		t.Fatal(err)
	}
	if len(w.lists) > 0 {
		t.Errorf("%d requests", len(w.lists))
	}
}

// What cannot be confirmed is not acted on, and the error is told.
func TestADecisionThatCannotBeConfirmedIsNotActedOn(t *testing.T) {
	w := newActing(t)
	w.Reconciler.live = interceptor.NewClient(w.api, interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			return errors.New("no answer")
		},
	})
	if _, err := w.act(t.Context(), w.trust, w.seen, rollout.Decision{Actions: w.actions}); err == nil || len(w.written) > 0 {
		t.Errorf("written to %v, with the error %v", w.written, err)
	}
}
