package issuance

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// pointIssuer moves the pointer.
func (w *writing) pointIssuer(ctx context.Context) error {
	o, err := w.located(ctx, clusterIssuerKind, "", w.rotation.ClusterIssuerName)
	if err != nil {
		return err
	}
	return w.apply(ctx, o, map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{v1alpha1.PointedByAnnotation: w.Token}},
		"spec":     map[string]any{"ca": map[string]any{"secretName": w.Secret}},
	}, v1alpha1.FieldManager)
}

// renew asks cert-manager for a renewal, as cmctl does: by the condition Issuing.
// A merge patch replaces the whole list, so the others are sent along; the
// resourceVersion sees to it that they are what they were.
func (w *writing) renew(ctx context.Context) error {
	o, u, err := w.current(ctx, certificateKind, w.Object.Namespace, w.Object.Name)
	if err != nil || issuing(u) {
		return err
	}
	if w.Signer.Name != "" {
		signer := object{kind: certificateKind, namespace: w.Signer.Namespace, name: w.Signer.Name, version: w.SignerVersion}
		if err := w.unchanged(ctx, signer); err != nil {
			return err
		}
	}
	return w.patchStatus(ctx, o, map[string]any{"status": map[string]any{"conditions": withIssuing(u, w.clock().Now())}})
}

// withIssuing returns the conditions of a Certificate with Issuing set. Its time
// is later than the last failure: cert-manager takes a failed request that is not
// older than the condition for the answer to it.
func withIssuing(u *unstructured.Unstructured, now time.Time) []any {
	if failed := timeAt(u, "status", "lastFailureTime"); !failed.IsZero() && !now.After(failed.Add(time.Second)) {
		now = failed.Add(time.Second)
	}
	all, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	var out []any
	for _, item := range all {
		if c, ok := item.(map[string]any); ok && c["type"] != "Issuing" {
			out = append(out, item)
		}
	}
	return append(out, map[string]any{
		"type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "Certificate re-issuance manually triggered",
		"lastTransitionTime": now.UTC().Format(time.RFC3339), "observedGeneration": u.GetGeneration(),
	})
}

// restartIdentity marks the template of the signing service.
func (w *writing) restartIdentity(ctx context.Context) error {
	k, ok := workloadKind(w.Workload)
	if !ok {
		return fmt.Errorf("the signing service is a %s, which Reanchor cannot restart", w.Workload.Kind)
	}
	o, err := w.located(ctx, k, w.Workload.Namespace, w.Workload.Name)
	if err != nil {
		return err
	}
	at := placeOf(w.spec.Bundle)
	if err := w.unchanged(ctx, object{kind: at.kind, namespace: at.namespace, name: at.name, version: w.BundleVersion}); err != nil {
		return err
	}
	annotations := map[string]any{v1alpha1.RestartedForIssuerAnnotation: w.Token}
	return w.apply(ctx, o, map[string]any{"spec": map[string]any{"template": map[string]any{
		"metadata": map[string]any{"annotations": annotations},
	}}}, identityManager)
}

// workloadKind is the kind of a workload that a mark on its template restarts.
func workloadKind(w v1alpha1.WorkloadRef) (kind, bool) {
	resource, ok := map[string]string{"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}[w.Kind]
	return kindOf("apps", "v1", w.Kind, resource), ok && (w.Group == "" || w.Group == "apps")
}
