package rotation

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
)

// migrated goes from the documented layout to generations as docs/rotation.md has
// it: without a rotation, without a restart. Then a rotation in the new layout.
func migrated(t *T) {
	w := newWorld(t, small("migrated"), nil)
	w.converged()

	w.bundleSources(true)
	w.trust.Spec.Rotation.Layout = v1alpha1.LayoutGenerations
	w.grantFile("rotation/generations/rbac.yaml")
	w.reconfigure(func(s *v1alpha1.MeshTrustSpec) {
		s.Rotation.Layout, s.Rotation.PreviousAnchorSecretRef = v1alpha1.LayoutGenerations, nil
		s.Rotation.AnchorTemplate = &v1alpha1.AnchorTemplate{Duration: duration(2 * time.Hour)}
		s.Issuer = v1alpha1.IssuerSpec{CertificateRef: &v1alpha1.ObjectRef{Namespace: w.Mesh.Mesh, Name: w.IssuerKey().Name}}
	})
	w.eventually(time.Minute, func() error {
		u := linkerd.Certificate()
		if err := w.Client.Get(t.Context(), w.AnchorKey(), u); err != nil {
			return err
		}
		labels, _, err := unstructured.NestedStringMap(u.Object, "spec", "secretTemplate", "labels")
		if err == nil && labels[v1alpha1.AnchorOfLabel] != w.Mesh.Mesh {
			err = fmt.Errorf("the present anchor is not generation 0 yet: its labels are %v", labels)
		}
		return err
	})
	w.holds(10*time.Second, func() error { return w.published(w.before) })
	w.bundleSources(false)
	w.holds(10*time.Second, func() error { return w.published(w.before) })
	w.unrolled()
	w.unharmed()

	w.rotate()
	run := w.complete(long)
	if run.Status.ToAnchor.SecretName == w.AnchorKey().Name {
		t.Error("the anchor was renewed in place")
	}
	w.rotated()
}

// bundleSources gives the Bundle the selector of generations, and keeps the two
// Secrets of the documented layout or not.
func (w *world) bundleSources(named bool) {
	w.Helper()
	sources := []any{
		map[string]any{"secret": map[string]any{"key": "tls.crt", "selector": map[string]any{"matchLabels": map[string]any{v1alpha1.AnchorOfLabel: w.Mesh.Mesh}}}},
	}
	if named {
		for _, name := range []string{w.AnchorKey().Name, w.Previous} {
			sources = append(sources, map[string]any{"secret": map[string]any{"key": "tls.crt", "name": name}})
		}
	}
	w.editSources(func(before []any) []any {
		for _, source := range before {
			if fields := source.(map[string]any); fields["inLine"] != nil {
				sources = append(sources, fields)
			}
		}
		return sources
	})
}

// editSources changes what trust-manager makes the bundle of.
func (w *world) editSources(edit func(before []any) []any) {
	w.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "trust.cert-manager.io", Version: "v1alpha1", Kind: "Bundle"})
	w.check(w.Client.Get(w.Context(), client.ObjectKey{Name: w.Bundle}, u))
	before, _, err := unstructured.NestedSlice(u.Object, "spec", "sources")
	w.check(err)
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"sources": edit(before)}})
	w.check(err)
	w.check(w.Client.Patch(w.Context(), u, client.RawPatch(types.MergePatchType, patch)))
}

// freeze has trust-manager leave the bundle as it is, for it lacks a source, until
// thaw is called.
func (w *world) freeze() (thaw func()) {
	w.Helper()
	missing := map[string]any{"configMap": map[string]any{"name": w.Mesh.Mesh + "-missing", "key": "ca.crt"}}
	var good []any
	w.editSources(func(before []any) []any {
		good = before
		return append(slices.Clone(before), missing)
	})
	return func() { w.editSources(func([]any) []any { return good }) }
}
