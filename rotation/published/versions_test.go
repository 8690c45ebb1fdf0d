package published

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle/bundletest"
)

// serving is an API server that has ClusterTrustBundles in one version, of two that
// it may be upgraded to.
type serving struct {
	*fake.FakeDynamicClient
	client.Reader // for what Confirm does not use
	version       atomic.Pointer[string]
	watched       atomic.Pointer[string] // the version of the last watch
	events        atomic.Pointer[apiwatch.RaceFreeFakeWatcher]
	held          metav1.PartialObjectMetadata
	refuses       func(schema.GroupVersionKind) error
}

func newServing(version, pem string, refuses func(schema.GroupVersionKind) error) *serving {
	kinds, objects := map[schema.GroupVersionResource]string{}, []runtime.Object{}
	for _, v := range []string{"v1", "v1beta1"} {
		kinds[clusterTrustBundles.GroupResource().WithVersion(v)] = "ClusterTrustBundleList"
		u := object("ClusterTrustBundle", "", "roots", map[string]any{"apiVersion": "certificates.k8s.io/" + v, "spec": map[string]any{"trustBundle": pem}})
		u.SetResourceVersion("7")
		objects = append(objects, u)
	}
	s := &serving{FakeDynamicClient: fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds, objects...), refuses: refuses}
	s.held.Name, s.held.ResourceVersion = "roots", "7"
	s.version.Store(&version)
	s.PrependReactor("list", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		err := s.unserved(a.GetResource())
		return err != nil, nil, err
	})
	s.PrependWatchReactor("*", func(a clienttesting.Action) (bool, apiwatch.Interface, error) {
		if err := s.unserved(a.GetResource()); err != nil {
			return true, nil, err
		}
		events := apiwatch.NewRaceFreeFake()
		s.events.Store(events)
		s.watched.Store(new(a.GetResource().Version))
		return true, events, nil
	})
	return s
}

// unserved is what a request of another version is answered with.
func (s *serving) unserved(r schema.GroupVersionResource) error {
	if r.Version == *s.version.Load() {
		return nil
	}
	return apierrors.NewGenericServerResponse(404, "list", r.GroupResource(), "", "the server could not find the requested resource", 0, true)
}

// List answers as controller-runtime's live reader does, which looks for the kind
// first.
func (s *serving) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	if gvk := list.GetObjectKind().GroupVersionKind(); gvk.Version != *s.version.Load() {
		return s.refuses(gvk)
	}
	list.(*metav1.PartialObjectMetadataList).Items = []metav1.PartialObjectMetadata{s.held}
	return nil
}

// What a live reader says of a version that is not served depends on what it found
// out before.
var refusals = map[string]func(schema.GroupVersionKind) error{
	"the version lacks the kind": func(gvk schema.GroupVersionKind) error {
		return &apimeta.NoKindMatchError{GroupKind: gvk.GroupKind(), SearchedVersions: []string{gvk.Version}}
	},
	"there is no such version": func(gvk schema.GroupVersionKind) error {
		failed := apiutil.ErrResourceDiscoveryFailed{gvk.GroupVersion(): apierrors.NewNotFound(schema.GroupResource{}, "")}
		return &failed
	},
	"it was there when it was looked for": func(schema.GroupVersionKind) error {
		return apierrors.NewNotFound(schema.GroupResource{Group: "certificates.k8s.io", Resource: "clustertrustbundles"}, "")
	},
}

func TestAClusterTrustBundleIsReadInTheVersionThatIsServed(t *testing.T) {
	for why, refuses := range refusals {
		for _, version := range []string{"v1", "v1beta1"} {
			t.Run(version+", "+why, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { // retries come after many seconds
					server := newServing(version, anchor(t), refuses)
					w := NewWatcher(server, func() {})
					go w.Start(t.Context())
					usable(t, w, server)
					server.held.ResourceVersion = "8"
					if err := w.Confirm(t.Context(), server, theRoots, now); !errors.Is(err, ErrChanged) {
						t.Errorf("a change is confirmed: %v", err)
					}
				})
			})
		}
	}
}

// The API server may be replaced by one that has only the newer version.
func TestAClusterTrustBundleIsReadAcrossAnUpgrade(t *testing.T) {
	for why, refuses := range refusals {
		t.Run(why, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := newServing("v1beta1", anchor(t), refuses)
				w := NewWatcher(server, func() {})
				go w.Start(t.Context())
				usable(t, w, server)
				server.watches(t, "v1beta1")
				server.version.Store(new("v1"))
				server.events.Load().Stop()
				server.watches(t, "v1")
				usable(t, w, server)
			})
		})
	}
}

var theRoots = &v1alpha1.MeshTrustSpec{
	Bundle: v1alpha1.BundleSpec{ClusterTrustBundleRef: &v1alpha1.ClusterObjectRef{Name: "roots"}}, Issuer: v1alpha1.IssuerSpec{None: true},
}

func anchor(t *testing.T) string {
	return bundletest.NewRoot(t, "root", bundletest.From(now.Add(-time.Hour), 24*time.Hour)).PEM()
}

// usable fails unless the bundle is read and confirmed.
func usable(t *testing.T, w *Watcher, server *serving) {
	t.Helper()
	got := settled(t, func() (Bundle, bool) { b := w.Bundle(theRoots.Bundle, now); return b, b.Reason != "" })
	if got.Reason != v1alpha1.BundleUsable || got.Set.Len() != 1 {
		t.Fatalf("it is %s (%s), want one anchor that can be used", got.Reason, got.Message)
	}
	if err := w.Confirm(t.Context(), server, theRoots, now); err != nil {
		t.Errorf("it is not confirmed: %v", err)
	}
}

// watches waits for a watch of the version.
func (s *serving) watches(t *testing.T, version string) {
	t.Helper()
	settled(t, func() (any, bool) { v := s.watched.Load(); return nil, v != nil && *v == version })
}

// An API server without the kind in any version, which is so before 1.33 and where
// nobody asked for v1beta1, has no bundle.
func TestAnAPIServerWithoutClusterTrustBundlesHasNoBundle(t *testing.T) {
	for why, refuses := range refusals {
		t.Run(why, func(t *testing.T) {
			server := newServing("none", "", refuses)
			w := NewWatcher(server, func() {})
			go w.Start(t.Context())
			got := settled(t, func() (Bundle, bool) { b := w.Bundle(theRoots.Bundle, now); return b, b.Reason != "" })
			if got.Reason != v1alpha1.BundleNotFound {
				t.Errorf("it is %s (%s)", got.Reason, got.Message)
			}
			if _, err := (Ref{Resource: clusterTrustBundles, Name: "roots"}).held(t.Context(), server); err == nil {
				t.Error("a kind that is not served is confirmed")
			}
		})
	}
}
