package issuance_test

import (
	"context"
	"testing"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

// serveTrustBundles lets the API server have ClusterTrustBundles in one version.
func (w *world) serveTrustBundles(version string) {
	unserved := func(gvk schema.GroupVersionKind) error {
		if gvk.Kind != "ClusterTrustBundle" || gvk.Version == version {
			return nil
		}
		return &apimeta.NoKindMatchError{GroupKind: gvk.GroupKind(), SearchedVersions: []string{gvk.Version}}
	}
	w.client = interceptor.NewClient(w.client.(client.WithWatch), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			if err := unserved(o.GetObjectKind().GroupVersionKind()); err != nil {
				return err
			}
			return c.Get(ctx, key, o, options...)
		},
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, options ...client.ApplyOption) error {
			if gvk, ok := o.(schema.ObjectKind); ok {
				if err := unserved(gvk.GroupVersionKind()); err != nil {
					return err
				}
			}
			return c.Apply(ctx, o, options...)
		},
	})
	w.store.Live, w.store.Client = w.client, w.client
}

func TestAClusterTrustBundleIsReadAndWrittenInTheVersionThatIsServed(t *testing.T) {
	for _, version := range []string{"v1", "v1beta1"} {
		t.Run(version, func(t *testing.T) {
			w := newWorld(t, v1alpha1.LayoutGenerations)
			w.mt.Spec.Bundle.ClusterTrustBundleRef = &v1alpha1.ClusterObjectRef{Name: "roots"}
			w.mt.Spec.Rotation.BundleWriter = v1alpha1.BundleWriterReanchor
			w.add("apiVersion: certificates.k8s.io/" + version + "\nkind: ClusterTrustBundle\nmetadata: {name: roots}\n")
			w.edit("ClusterTrustBundle/roots", "spec", map[string]any{"trustBundle": w.a.PEM()})
			w.start()
			w.serveTrustBundles(version)
			o, err := w.store.Read(t.Context(), w.mt, true)
			if err != nil || !o.Bundle.Set.Equal(setOf(w.a)) {
				t.Fatalf("it reads %d anchors (%+v): %v", o.Bundle.Set.Len(), o.Bundle.Unusable, err)
			}
			wider := setOf(w.a, w.b)
			action := lifecycle.Action{Verb: lifecycle.WriteBundle, Set: wider, ResourceVersion: o.Bundle.ResourceVersion}
			if err := w.store.Do(t.Context(), w.mt, action); err != nil {
				t.Fatal(err)
			}
			u := &unstructured.Unstructured{}
			u.SetGroupVersionKind(schema.GroupVersionKind{Group: "certificates.k8s.io", Version: version, Kind: "ClusterTrustBundle"})
			if err := w.client.Get(t.Context(), client.ObjectKey{Name: "roots"}, u); err != nil {
				t.Fatal(err)
			}
			if got, _, _ := unstructured.NestedString(u.Object, "spec", "trustBundle"); got != string(wider.PEM()) {
				t.Errorf("it wrote %q", got)
			}
		})
	}
}
