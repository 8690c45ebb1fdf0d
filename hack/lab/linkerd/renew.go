package linkerd

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Certificate returns an empty one of cert-manager's.
func Certificate() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: "Certificate"})
	return u
}

// Renew asks cert-manager for a new certificate as cmctl does: by the condition
// Issuing beside the others. It does not wait for it.
func Renew(ctx context.Context, c client.Client, key client.ObjectKey) error {
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		u := Certificate()
		if err := c.Get(ctx, key, u); err != nil {
			return err
		}
		conditions, _, err := unstructured.NestedSlice(u.Object, "status", "conditions")
		if err != nil {
			return err
		}
		kept := []any{map[string]any{
			"type": "Issuing", "status": "True", "reason": "ManuallyTriggered",
			"message":            "Certificate re-issuance manually triggered",
			"lastTransitionTime": metav1.Now().UTC().Format(time.RFC3339),
		}}
		for _, condition := range conditions {
			if fields, ok := condition.(map[string]any); ok && fields["type"] != "Issuing" {
				kept = append(kept, condition)
			}
		}
		if err := unstructured.SetNestedSlice(u.Object, kept, "status", "conditions"); err != nil {
			return err
		}
		return c.Status().Update(ctx, u)
	})
	if err != nil {
		return fmt.Errorf("triggering the renewal of Certificate %s: %w", key, err)
	}
	return nil
}

// RenewNow has a Certificate renewed and returns when the new one is in its
// Secret. The previous revision's stays valid, whatever chains to it.
func (m *Mesh) RenewNow(ctx context.Context, key client.ObjectKey) error {
	before, err := m.certificates(ctx, key)
	if err != nil {
		return err
	}
	if err := Renew(ctx, m.Client, key); err != nil {
		return err
	}
	return await(ctx, "the renewal of "+key.String(), func(ctx context.Context) error {
		now, err := m.certificates(ctx, key)
		if err == nil && now[0].Equal(before[0]) {
			err = fmt.Errorf("the certificate is still that of serial %s", before[0].SerialNumber)
		}
		return err
	})
}
