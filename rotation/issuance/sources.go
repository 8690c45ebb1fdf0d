package issuance

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// helmRelease on an object says that a Helm chart owns it.
const helmRelease = "meta.helm.sh/release-name"

// trustManager is the field manager of trust-manager.
const trustManager = "trust-manager"

// bundleFault says why the published bundle, which may be absent, does not suit
// a rotation: who else writes it, or what is missing among its sources.
func (r *reading) bundleFault(ctx context.Context, u *unstructured.Unstructured) (string, error) {
	at := placeOf(r.spec.Bundle)
	switch {
	case u == nil:
		return "", nil // Bundle.Unusable says so
	case u.GetAnnotations()[helmRelease] != "":
		return fmt.Sprintf("%s belongs to the Helm release %s, whose next upgrade would revert it; let the chart leave it to trust-manager or to Reanchor (Linkerd: identity.externalCA=true)",
			at, u.GetAnnotations()[helmRelease]), nil
	case r.rotation.BundleWriter == v1alpha1.BundleWriterReanchor:
		return otherWriters(u, at), nil
	case at.kind == clusterTrustBundleKind:
		return "trust-manager does not write a ClusterTrustBundle; set spec.rotation.bundleWriter: Reanchor", nil
	default:
		return r.sourcesFault(ctx, u, at)
	}
}

// dataField is the path of a bundle's text in managedFields.
func (p place) dataField() []string {
	if p.kind == clusterTrustBundleKind {
		return []string{"f:spec", "f:trustBundle"}
	}
	return []string{"f:data", "f:" + p.key}
}

// otherWriters names those who write the bundle and may write it again. The
// verbs of kubectl that a human uses once are none; kubectl apply is.
func otherWriters(u *unstructured.Unstructured, at place) string {
	var names []string
	for _, m := range owners(u, at.dataField()...) {
		once := m.Operation == metav1.ManagedFieldsOperationUpdate && strings.HasPrefix(m.Manager, "kubectl-") && m.Manager != "kubectl-client-side-apply"
		if m.Manager != v1alpha1.FieldManager && !once {
			names = append(names, m.Manager)
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return fmt.Sprintf("%s is written by %s too; with bundleWriter Reanchor nobody else may: stop it, then remove its entry from the object's managedFields",
		at, strings.Join(slices.Compact(names), ", "))
}

// source is a Secret, or several, that trust-manager makes a bundle of.
type source struct {
	name     string
	selector labels.Selector // nil when it is named
	key      string          // a pattern, "*" for all
}

// brings reports whether the source brings the certificate of the Secrets of the
// given name or labels, and not their keys.
func (s source) brings(name string, carries labels.Set) bool {
	certificate, _ := path.Match(s.key, certificateKey)
	private, _ := path.Match(s.key, privateKeyKey)
	if !certificate || private {
		return false
	}
	if s.selector == nil {
		return s.name == name && name != ""
	}
	return carries != nil && s.selector.Matches(carries)
}

// recipe is what trust-manager makes of what.
type recipe struct {
	name    string
	targets []string // keys
	sources []source
}

// sourcesFault looks at the Bundle that writes the published object: a Bundle's
// target has its name.
func (r *reading) sourcesFault(ctx context.Context, u *unstructured.Unstructured, at place) (string, error) {
	made, err := r.recipe(ctx, at)
	switch {
	case err != nil:
		return "", err
	case made == nil:
		return fmt.Sprintf("trust-manager has no Bundle %s, which would write %s; create it, or set spec.rotation.bundleWriter: Reanchor", at.name, at), nil
	case !slices.Contains(made.targets, at.key):
		return fmt.Sprintf("%s does not write %s; correct its target", made.name, at), nil
	case !slices.ContainsFunc(owners(u, at.dataField()...), func(m metav1.ManagedFieldsEntry) bool { return m.Manager == trustManager }):
		return fmt.Sprintf("%s is not written by trust-manager; let the namespaceSelector of %s select its namespace", at, made.name), nil
	case r.rotation.Layout == v1alpha1.LayoutInPlace:
		return r.namedSourcesFault(made), nil
	default:
		return r.selectedSourcesFault(made), nil
	}
}

// namedSourcesFault looks for the anchor's Secret and the previous one (InPlace).
func (r *reading) namedSourcesFault(made *recipe) string {
	wanted := []string{r.rotation.PreviousAnchorSecretRef.Name}
	for i := range r.out.Anchors {
		wanted = append(wanted, r.out.Anchors[i].SecretName)
	}
	for _, name := range wanted {
		if name != "" && !slices.ContainsFunc(made.sources, func(s source) bool { return s.brings(name, nil) }) {
			return fmt.Sprintf("%s lacks the source secret: {name: %s, key: %s}", made.name, name, certificateKey)
		}
	}
	return ""
}

// selectedSourcesFault looks for the selector of generations. One that brings
// Secrets without the label, or the Secret of a generation by its name, would
// publish an anchor that is not labelled yet, and never drop it.
func (r *reading) selectedSourcesFault(made *recipe) string {
	// cert-manager labels every Secret that it writes.
	unlabelled := labels.Set{"controller.cert-manager.io/fao": "true"}
	labelled := labels.Merge(unlabelled, labels.Set{v1alpha1.AnchorOfLabel: r.mt.Name})
	carried := labels.Set{v1alpha1.AnchorOfLabel: r.mt.Name}
	ours := false
	for _, s := range made.sources {
		if s.brings("", unlabelled) {
			return fmt.Sprintf("%s selects Secrets without the label %s: %s; let its selector demand it", made.name, v1alpha1.AnchorOfLabel, r.mt.Name)
		}
		for i := range r.out.Anchors {
			if name := r.out.Anchors[i].SecretName; s.brings(name, nil) {
				return fmt.Sprintf("%s names the Secret %s, which its label decides on; remove that source", made.name, name)
			}
		}
		ours = ours || s.brings("", labelled) && s.brings("", carried)
	}
	if ours {
		return ""
	}
	return fmt.Sprintf("%s lacks the source secret: {selector: {matchLabels: {%s: %s}}, key: %s}", made.name, v1alpha1.AnchorOfLabel, r.mt.Name, certificateKey)
}

// recipe reads the Bundle, or the ClusterBundle that takes its place; nil when
// there is neither.
func (r *reading) recipe(ctx context.Context, at place) (*recipe, error) {
	u, err := r.get(ctx, bundleKind, "", at.name)
	if err != nil || u != nil {
		return bundleRecipe(u, at), err
	}
	u, err = r.get(ctx, clusterBundleKind, "", at.name)
	if err != nil || u == nil {
		return nil, err
	}
	return clusterBundleRecipe(u, at), nil
}

func bundleRecipe(u *unstructured.Unstructured, at place) *recipe {
	if u == nil {
		return nil
	}
	out := &recipe{name: describe(bundleKind, "", u.GetName())}
	if key := text(u, "spec", "target", target(at), "key"); key != "" {
		out.targets = []string{key}
	}
	sources, _, _ := unstructured.NestedSlice(u.Object, "spec", "sources")
	for _, item := range sources {
		s, _ := item.(map[string]any)
		if secret, ok, _ := unstructured.NestedMap(s, "secret"); ok {
			out.sources = append(out.sources, sourceOf(secret))
		}
	}
	return out
}

func clusterBundleRecipe(u *unstructured.Unstructured, at place) *recipe {
	out := &recipe{name: describe(clusterBundleKind, "", u.GetName())}
	data, _, _ := unstructured.NestedSlice(u.Object, "spec", "target", target(at), "data")
	for _, item := range data {
		d, _ := item.(map[string]any)
		if key, ok, _ := unstructured.NestedString(d, "key"); ok {
			out.targets = append(out.targets, key)
		}
	}
	sources, _, _ := unstructured.NestedSlice(u.Object, "spec", "sourceRefs")
	for _, item := range sources {
		if s, _ := item.(map[string]any); s["kind"] == secretKind.Kind {
			out.sources = append(out.sources, sourceOf(s))
		}
	}
	return out
}

// target is the field of a Bundle's target.
func target(at place) string {
	if at.kind == secretKind {
		return "secret"
	}
	return "configMap"
}

func sourceOf(s map[string]any) source {
	out := source{}
	out.name, _, _ = unstructured.NestedString(s, "name")
	out.key, _, _ = unstructured.NestedString(s, "key")
	if all, _, _ := unstructured.NestedBool(s, "includeAllKeys"); all {
		out.key = "*"
	}
	if m, ok, _ := unstructured.NestedMap(s, "selector"); ok {
		var selector metav1.LabelSelector
		out.selector = labels.Nothing() // what cannot be read selects nothing
		if runtime.DefaultUnstructuredConverter.FromUnstructured(m, &selector) == nil {
			if parsed, err := metav1.LabelSelectorAsSelector(&selector); err == nil {
				out.selector = parsed
			}
		}
	}
	return out
}
