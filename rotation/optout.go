package rotation

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/owner"
)

// optOutManager owns the mirrored label. It is not FieldManager, so that what
// is applied to a namespace for other reasons never drops the label.
const optOutManager = v1alpha1.FieldManager + "-opt-out"

// OptOutReconciler mirrors the opt-out annotation of namespaces to the label
// by which the API server skips the webhooks, even when none of them is alive.
// The label is written by server-side apply and taken back the same way: one
// that a human set has another owner and stays (break glass).
type OptOutReconciler struct {
	// Client reads namespaces from the cache and writes.
	Client client.Client
}

// Reconcile brings the label of one namespace in line with its annotation.
func (r *OptOutReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var ns corev1.Namespace
	if err := r.Client.Get(ctx, req.NamespacedName, &ns); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	wanted := v1alpha1.OptsOut(ns.Annotations[v1alpha1.OptOutAnnotation], v1alpha1.OptOutAdmission)
	if !ns.DeletionTimestamp.IsZero() || wanted == mirrored(&ns) {
		return reconcile.Result{}, nil
	}
	// An apply without labels takes back those of this manager, and only those.
	// The UID keeps it from making a namespace that is gone anew.
	apply := corev1apply.Namespace(ns.Name).WithUID(ns.UID)
	if wanted {
		apply = apply.WithLabels(map[string]string{v1alpha1.AdmissionLabel: v1alpha1.AdmissionDisabled})
	}
	err := r.Client.Apply(ctx, apply, client.FieldOwner(optOutManager), client.ForceOwnership)
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return reconcile.Result{}, nil // gone, or another of its name
	case err != nil:
		// Not wrapped: it is logged, and an admission rule may quote a certificate.
		return reconcile.Result{}, fmt.Errorf("mirroring the opt-out of namespace %s: %s", ns.Name, owner.Refusal(err))
	}
	return reconcile.Result{}, nil
}

// mirrored reports whether this controller owns the label now.
func mirrored(ns *corev1.Namespace) bool {
	for _, m := range ns.ManagedFields {
		if m.Manager == optOutManager && m.FieldsV1 != nil && ownsLabel(m.FieldsV1.GetRawBytes()) {
			return ns.Labels[v1alpha1.AdmissionLabel] == v1alpha1.AdmissionDisabled
		}
	}
	return false
}

func ownsLabel(fields []byte) bool {
	var owned struct {
		Metadata struct {
			Labels map[string]json.RawMessage `json:"f:labels"`
		} `json:"f:metadata"`
	}
	if err := json.Unmarshal(fields, &owned); err != nil {
		return false
	}
	_, ok := owned.Metadata.Labels["f:"+v1alpha1.AdmissionLabel]
	return ok
}
