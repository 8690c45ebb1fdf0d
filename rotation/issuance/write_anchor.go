package issuance

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// shortestRenewBefore is the smallest renewBefore that cert-manager accepts. It
// is for versions that cannot stop renewals: a generation is replaced long
// before.
const shortestRenewBefore = "5m"

// createAnchor creates the next generation. Its Secret is not labelled, so that
// it gets into no bundle yet.
func (w *writing) createAnchor(ctx context.Context) error {
	canHold, err := w.renewalPolicyServed(ctx)
	if err != nil {
		return err
	}
	if w.rotation.AnchorTemplate == nil {
		return fmt.Errorf("spec.rotation has no anchorTemplate")
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": w.anchorSpec(canHold)}}
	u.SetGroupVersionKind(certificateKind.GroupVersionKind)
	u.SetNamespace(w.Object.Namespace)
	u.SetName(w.Object.Name)
	u.SetLabels(map[string]string{v1alpha1.AnchorOfLabel: w.mesh})
	switch err := w.Client.Create(ctx, u, client.FieldOwner(v1alpha1.FieldManager)); {
	case apierrors.IsAlreadyExists(err):
		return w.ours(ctx)
	case err != nil:
		return fmt.Errorf("creating %s: %w", describe(certificateKind, w.Object.Namespace, w.Object.Name), err)
	default:
		return nil
	}
}

// anchorSpec is the Certificate of a generation: what the template says, and
// what may not be chosen.
func (w *writing) anchorSpec(canHold bool) map[string]any {
	t := w.rotation.AnchorTemplate
	spec := map[string]any{
		"isCA": true, "commonName": t.CommonName, "secretName": w.Secret, "duration": t.Duration.Duration.String(),
		"privateKey": map[string]any{"algorithm": string(t.PrivateKey.Algorithm), "size": int64(t.PrivateKey.Size), "rotationPolicy": "Always"},
		"issuerRef":  map[string]any{"name": t.IssuerRef.Name, "kind": t.IssuerRef.Kind, "group": t.IssuerRef.Group},
	}
	if len(t.Organizations) > 0 {
		organizations := make([]any, len(t.Organizations))
		for i, o := range t.Organizations {
			organizations[i] = o
		}
		spec["subject"] = map[string]any{"organizations": organizations}
	}
	if canHold {
		spec["renewal"] = map[string]any{"policy": policyDisabled}
	} else {
		spec["renewBefore"] = shortestRenewBefore
	}
	return spec
}

// ours makes sure that a Certificate that exists already is a generation of this
// mesh.
func (w *writing) ours(ctx context.Context) error {
	m, err := w.getMetadata(ctx, certificateKind, w.Object.Namespace, w.Object.Name)
	if err != nil || m == nil || m.Labels[v1alpha1.AnchorOfLabel] == w.mesh {
		return err
	}
	return fmt.Errorf("%s exists and lacks the label %s: %s; delete it, or give it the label",
		describe(certificateKind, w.Object.Namespace, w.Object.Name), v1alpha1.AnchorOfLabel, w.mesh)
}

func (w *writing) deleteAnchor(ctx context.Context) error {
	o, err := w.located(ctx, certificateKind, w.Object.Namespace, w.Object.Name)
	if err != nil {
		return err
	}
	return w.delete(ctx, o)
}

// labelAnchor changes the template of the Secret's labels, from where
// cert-manager brings it to the Secret and trust-manager to the bundle. It
// patches, since a label that somebody else wrote is to go as well.
func (w *writing) labelAnchor(ctx context.Context) error {
	o, err := w.located(ctx, certificateKind, w.Object.Namespace, w.Object.Name)
	if err != nil {
		return err
	}
	var value any
	if w.On {
		value = w.mesh
	}
	labels := map[string]any{v1alpha1.AnchorOfLabel: value}
	return w.patch(ctx, o, map[string]any{"spec": map[string]any{"secretTemplate": map[string]any{"labels": labels}}})
}

// holdRenewal applies the one field that stops renewals, or gives it back.
func (w *writing) holdRenewal(ctx context.Context) error {
	o, u, err := w.current(ctx, certificateKind, w.Object.Namespace, w.Object.Name)
	if err != nil {
		return err
	}
	if !w.On {
		return w.release(ctx, o, u)
	}
	return w.apply(ctx, o, map[string]any{"spec": map[string]any{"renewal": map[string]any{"policy": policyDisabled}}}, v1alpha1.FieldManager)
}

// release gives the field back. Where somebody else holds the renewals as well,
// only Reanchor's part in that ends. Otherwise spec.renewal goes whole: where the
// user had policy: RenewBefore, which is the default, taking away the policy alone
// would leave an empty object. cert-manager's webhook refuses that, and without
// the webhook its controller crashes on it (RAN, 1.21.2).
func (w *writing) release(ctx context.Context, o object, u *unstructured.Unstructured) error {
	for _, m := range owners(u, renewalPolicy()...) {
		if m.Manager != v1alpha1.FieldManager {
			return w.apply(ctx, o, nil, v1alpha1.FieldManager)
		}
	}
	return w.patch(ctx, o, map[string]any{"spec": map[string]any{"renewal": nil}})
}

// keepAnchor copies the anchor's Secret with its key. cert-manager's labels and
// annotations stay behind: with them it would take the copy for its own.
func (w *writing) keepAnchor(ctx context.Context) error {
	secret, err := w.anchorSecret(ctx)
	if err != nil {
		return err
	}
	o := object{kind: secretKind, namespace: w.Object.Namespace, name: w.Secret}
	if w.ResourceVersion != "" {
		// The action's UID is the Certificate's.
		m, err := w.getMetadata(ctx, secretKind, o.namespace, o.name)
		if err != nil {
			return err
		}
		if m == nil || m.ResourceVersion != w.ResourceVersion {
			return o.moved("has changed since it was read")
		}
		o.uid, o.version = m.UID, m.ResourceVersion
	}
	return w.apply(ctx, o, map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{v1alpha1.KeptAnchorAnnotation: w.Anchor.String()}},
		"type":     text(secret, "type"), "data": secret.Object["data"],
	}, v1alpha1.FieldManager)
}

// anchorSecret reads the Secret of the anchor's Certificate, which must hold the
// anchor that is to be kept, and its key.
func (w *writing) anchorSecret(ctx context.Context) (*unstructured.Unstructured, error) {
	of := object{kind: certificateKind, namespace: w.Object.Namespace, name: w.Object.Name}
	c, err := w.get(ctx, certificateKind, of.namespace, of.name)
	if err != nil {
		return nil, err
	}
	if c == nil || string(c.GetUID()) != w.UID && w.UID != "" {
		return nil, of.moved("was replaced by another of its name")
	}
	from := object{kind: secretKind, namespace: of.namespace, name: text(c, "spec", "secretName")}
	u, err := w.get(ctx, secretKind, from.namespace, from.name)
	if err != nil {
		return nil, err
	}
	if u == nil || leading(u) != w.Anchor {
		return nil, from.moved("does not hold the anchor " + w.Anchor.Short())
	}
	if secretText(u, privateKeyKey) == "" {
		return nil, fmt.Errorf("%s holds no key: there would be no way back", from)
	}
	return u, nil
}

// leading is the fingerprint of the first certificate of a Secret.
func leading(u *unstructured.Unstructured) bundle.Fingerprint {
	chain, err := bundle.ParseChain([]byte(secretText(u, certificateKey)))
	if err != nil {
		return bundle.Fingerprint{}
	}
	return bundle.FingerprintOf(chain[0].Raw)
}

func (w *writing) dropKept(ctx context.Context) error {
	o, err := w.located(ctx, secretKind, trustNamespace(w.rotation), w.Secret)
	if err != nil {
		return err
	}
	return w.delete(ctx, o)
}
