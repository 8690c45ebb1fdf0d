package issuance

import (
	"context"
	"encoding/base64"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/rotation/published"
)

const (
	opaque  = "Opaque"
	tlsType = "kubernetes.io/tls"
)

// secretText returns one key of a Secret; empty when it is not there.
func secretText(u *unstructured.Unstructured, key string) string {
	value, _ := published.Value(u, key)
	return value
}

// whole returns the set as text, of which no anchor is missing: one that is
// known by summary only cannot be written, and must not be dropped for that.
func whole(set bundle.Set) (string, error) {
	pem := set.PEM()
	if set.Empty() {
		return "", nil
	}
	if back, err := bundle.Parse(pem); err != nil || !back.Equal(set) {
		return "", fmt.Errorf("encoding %d anchors: the certificate of one of them is not at hand", set.Len())
	}
	return string(pem), nil
}

// writeArchive patches one key, since other meshes have theirs in the same
// object.
func (w *writing) writeArchive(ctx context.Context) error {
	pem, err := whole(w.Set)
	if err != nil {
		return err
	}
	o := object{kind: configMapKind, namespace: w.namespace(), name: archiveName, version: w.ResourceVersion}
	if o.version == "" {
		return w.apply(ctx, o, map[string]any{"data": map[string]any{archiveKey(w.mesh): pem}}, v1alpha1.FieldManager)
	}
	var value any = pem
	if pem == "" {
		value = nil
	}
	return w.patch(ctx, o, map[string]any{"data": map[string]any{archiveKey(w.mesh): value}})
}

// writeCarrier writes the Secret of anchors that must not depend on another
// source. It is neither emptied nor deleted: what signs is always in it, and of a
// source that is empty, or named and missing, trust-manager makes no bundle.
func (w *writing) writeCarrier(ctx context.Context) error {
	ref, ok := carrierRef(w.mesh, w.rotation)
	inPlace := w.rotation.Layout == v1alpha1.LayoutInPlace
	switch {
	case !ok:
		return fmt.Errorf("this layout has no Secret for carried anchors")
	case w.Set.Empty():
		return fmt.Errorf("%s must not be emptied: without it trust-manager publishes nothing", describe(secretKind, ref.Namespace, ref.Name))
	}
	pem, err := whole(w.Set)
	if err != nil {
		return err
	}
	content := map[string]any{"metadata": map[string]any{}, "data": map[string]any{certificateKey: encode(pem)}}
	if !inPlace {
		content["metadata"] = map[string]any{"labels": map[string]any{v1alpha1.AnchorOfLabel: w.mesh}}
	}
	if w.ResourceVersion == "" {
		content["type"] = opaque
		return w.apply(ctx, object{kind: secretKind, namespace: ref.Namespace, name: ref.Name}, content, v1alpha1.FieldManager)
	}
	return w.rewriteCarrier(ctx, ref, content)
}

// rewriteCarrier leaves nothing in the Secret but certificates: a copy of the
// anchor's Secret made by hand, as the documentation of Linkerd had it, holds the
// old anchor's key too. A Secret of type kubernetes.io/tls must have that entry;
// it is emptied.
func (w *writing) rewriteCarrier(ctx context.Context, ref v1alpha1.ObjectRef, content map[string]any) error {
	o, u, err := w.current(ctx, secretKind, ref.Namespace, ref.Name)
	if err != nil {
		return err
	}
	present, _, _ := unstructured.NestedMap(u.Object, "data")
	data := map[string]any{}
	for key := range present {
		data[key] = nil
	}
	if text(u, "type") == tlsType {
		data[privateKeyKey] = ""
	}
	data[certificateKey] = content["data"].(map[string]any)[certificateKey]
	content["data"] = data
	return w.patch(ctx, o, content)
}

// writeBundle applies the key of the published object that holds the bundle.
func (w *writing) writeBundle(ctx context.Context) error {
	at := placeOf(w.spec.Bundle)
	pem, err := whole(w.Set)
	switch {
	case err != nil:
		return err
	case pem == "":
		return fmt.Errorf("%s must not be emptied", at)
	}
	o, err := w.located(ctx, at.kind, at.namespace, at.name)
	if err != nil {
		return err
	}
	return w.apply(ctx, o, at.content(pem), v1alpha1.FieldManager)
}

// content is the object with nothing but the bundle.
func (p place) content(pem string) map[string]any {
	switch p.kind {
	case clusterTrustBundleKind:
		return map[string]any{"spec": map[string]any{"trustBundle": pem}}
	case secretKind:
		return map[string]any{"data": map[string]any{p.key: encode(pem)}}
	default:
		return map[string]any{"data": map[string]any{p.key: pem}}
	}
}

func encode(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
