package linkerd

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
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

// patience bounds every wait for cert-manager here.
const patience = 3 * time.Minute

// RenewNow has a Certificate renewed and returns when the new one is in its
// Secret, and stays. The previous revision's stays valid, whatever chains to it.
func (m *Mesh) RenewNow(ctx context.Context, key client.ObjectKey) error {
	before, err := m.certificates(ctx, key)
	if err != nil {
		return err
	}
	if err := Renew(ctx, m.Client, key); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return await(ctx, "the renewal of "+key.String(), func(ctx context.Context) error {
		now, err := Settled(ctx, m.Client, key)
		if err == nil && now.Equal(before[0]) {
			err = fmt.Errorf("the certificate is still that of serial %s", before[0].SerialNumber)
		}
		return err
	})
}

// calm is for how long a Certificate has been as it is when it counts as issued.
// A cert-manager whose caches lag issues what it has just issued a second time,
// 0.6 s later on a busy machine, and says in between that it issues nothing.
const calm = 2 * time.Second

// Settled waits until cert-manager has issued a Certificate for good, and returns
// the first certificate of its Secret.
func Settled(ctx context.Context, c client.Reader, key client.ObjectKey) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last issued
	var since time.Time
	err := await(ctx, "Certificate "+key.String()+" to be issued for good", func(ctx context.Context) error {
		now, err := readIssued(ctx, c, key)
		if err != nil {
			last = issued{}
			return err
		}
		if last.certificate == nil || now.revision != last.revision || !now.certificate.Equal(last.certificate) {
			last, since = now, time.Now()
		}
		if age := time.Since(since); age < calm {
			return fmt.Errorf("revision %d is as it is since %s", now.revision, age)
		}
		return nil
	})
	return last.certificate, err
}

// issued is what cert-manager has issued.
type issued struct {
	revision    int64
	certificate *x509.Certificate
}

// readIssued reads it; an error while it is being issued.
func readIssued(ctx context.Context, c client.Reader, key client.ObjectKey) (issued, error) {
	u := Certificate()
	if err := c.Get(ctx, key, u); err != nil {
		return issued{}, fmt.Errorf("reading Certificate %s: %w", key, err)
	}
	revision, _, err := unstructured.NestedInt64(u.Object, "status", "revision")
	if err != nil {
		return issued{}, fmt.Errorf("reading the revision of Certificate %s: %w", key, err)
	}
	if revision == 0 || condition(u, "Issuing")["status"] == "True" {
		return issued{}, fmt.Errorf("Certificate %s is being issued, after revision %d", key, revision)
	}
	name, _, err := unstructured.NestedString(u.Object, "spec", "secretName")
	if err != nil {
		return issued{}, fmt.Errorf("reading the Secret's name in Certificate %s: %w", key, err)
	}
	var s corev1.Secret
	if err := c.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: name}, &s); err != nil {
		return issued{}, fmt.Errorf("reading the Secret of Certificate %s: %w", key, err)
	}
	certificates, err := parse(s.Data[corev1.TLSCertKey])
	if err != nil {
		return issued{}, fmt.Errorf("reading the Secret of Certificate %s: %w", key, err)
	}
	return issued{revision, certificates[0]}, nil
}

// Pointed waits until cert-manager has seen the last change of a ClusterIssuer:
// what is to be signed before that is signed as it was pointed earlier.
func Pointed(ctx context.Context, c client.Reader, name string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	u := Certificate()
	u.SetKind("ClusterIssuer")
	return await(ctx, "cert-manager to see ClusterIssuer "+name, func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKey{Name: name}, u); err != nil {
			return fmt.Errorf("reading it: %w", err)
		}
		// A number, or nil in a condition that says nothing of it.
		if seen, _ := condition(u, "Ready")["observedGeneration"].(int64); seen != u.GetGeneration() {
			return fmt.Errorf("generation %d is seen, and %d is there", seen, u.GetGeneration())
		}
		return nil
	})
}

// condition is that of an object of cert-manager's, nil when there is none.
func condition(u *unstructured.Unstructured, kind string) map[string]any {
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range conditions {
		if fields, ok := c.(map[string]any); ok && fields["type"] == kind {
			return fields
		}
	}
	return nil
}
