package lab_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/hack/lab/linkerd"
)

// The chain of the documented Linkerd set-up: a self-signed anchor, an issuer
// signed by it, and a Bundle that publishes the anchor.
func TestManagersIssueAndPublish(t *testing.T) {
	const managers, target = "cert-manager", "bundle-target"
	c := client(t, shared)
	ns := namespace(t, c, target)

	create(t, resource(t, "cert-manager.io/v1", "issuers", managers), map[string]any{
		"apiVersion": "cert-manager.io/v1", "kind": "Issuer",
		"metadata": map[string]any{"name": "self-signed"},
		"spec":     map[string]any{"selfSigned": map[string]any{}},
	})
	create(t, resource(t, "cert-manager.io/v1", "certificates", managers), certificate("anchor", "self-signed", "Issuer"))
	anchor := issuedForGood(t, managers, "anchor")
	create(t, resource(t, "cert-manager.io/v1", "clusterissuers", ""), map[string]any{
		"apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer",
		"metadata": map[string]any{"name": "anchor"},
		"spec":     map[string]any{"ca": map[string]any{"secretName": "anchor"}},
	})
	create(t, resource(t, "cert-manager.io/v1", "certificates", ns), certificate("issuer", "anchor", "ClusterIssuer"))

	if err := issuedForGood(t, ns, "issuer").CheckSignatureFrom(anchor); err != nil {
		t.Errorf("the issuer is not signed by the anchor: %v", err)
	}

	create(t, resource(t, "trust.cert-manager.io/v1alpha1", "bundles", ""), map[string]any{
		"apiVersion": "trust.cert-manager.io/v1alpha1", "kind": "Bundle",
		"metadata": map[string]any{"name": "roots"},
		"spec": map[string]any{
			"sources": []any{map[string]any{"secret": map[string]any{"name": "anchor", "key": "tls.crt"}}},
			"target": map[string]any{
				"configMap": map[string]any{"key": "ca-bundle.crt"},
				"namespaceSelector": map[string]any{
					"matchLabels": map[string]any{corev1.LabelMetadataName: ns},
				},
			},
		},
	})
	eventually(t, "the Bundle's target", func() error {
		cm, err := c.CoreV1().ConfigMaps(ns).Get(t.Context(), "roots", metav1.GetOptions{})
		if err != nil {
			return err
		}
		block, _ := pem.Decode([]byte(cm.Data["ca-bundle.crt"]))
		if block == nil || !bytes.Equal(block.Bytes, anchor.Raw) {
			return fmt.Errorf("it does not hold the anchor")
		}
		return nil
	})
}

func certificate(name, issuer, issuerKind string) map[string]any {
	return map[string]any{
		"apiVersion": "cert-manager.io/v1", "kind": "Certificate",
		"metadata": map[string]any{"name": name},
		"spec": map[string]any{
			"isCA": true, "commonName": name + ".example", "secretName": name,
			"privateKey": map[string]any{"algorithm": "ECDSA"},
			"issuerRef":  map[string]any{"name": issuer, "kind": issuerKind},
		},
	}
}

// issuedForGood waits until a certificate has stayed the same for a while, since a
// cert-manager whose caches lag may issue it a second time.
func issuedForGood(t *testing.T, namespace, name string) *x509.Certificate {
	t.Helper()
	c, err := ctrlclient.New(shared.Config(), ctrlclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	out, err := linkerd.Settled(t.Context(), c, ctrlclient.ObjectKey{Namespace: namespace, Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
