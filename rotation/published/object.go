package published

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// withoutKeys is the transform of every watch: of the values of a Secret it keeps
// those that hold certificates and nothing secret, and empties all others.
func withoutKeys(obj any) (any, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok || u.GetKind() != "Secret" {
		return obj, nil
	}
	data, _, err := unstructured.NestedMap(u.Object, "data")
	if err != nil {
		return nil, fmt.Errorf("reading a Secret: its data is no map")
	}
	for name, value := range data {
		if encoded, ok := value.(string); !ok || !onlyCertificates(encoded) {
			data[name] = ""
		}
	}
	kept := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": u.GetAPIVersion(), "kind": u.GetKind(), "metadata": u.Object["metadata"], "data": data,
	}}
	unstructured.RemoveNestedField(kept.Object, "metadata", "annotations")
	return kept, nil
}

// onlyCertificates judges by what a value is and not by what it is called:
// cert-manager's tls-combined.pem has the key before the chain, and its key.der and
// keystores are no text. All names that PEM has for private keys hold these two words
// (RFC 7468, OpenSSL, OpenSSH).
func onlyCertificates(encoded string) bool {
	text, err := base64.StdEncoding.DecodeString(encoded)
	return err == nil && bytes.Contains(text, []byte("BEGIN CERTIFICATE")) && !bytes.Contains(text, []byte("PRIVATE KEY"))
}

// Value returns the text of one key of a ConfigMap, a Secret or a
// ClusterTrustBundle (for which the key is ignored) and whether it is there.
func Value(u *unstructured.Unstructured, key string) (string, bool) {
	switch u.GetKind() {
	case "ClusterTrustBundle":
		text, ok, err := unstructured.NestedString(u.Object, "spec", "trustBundle")
		return text, ok && err == nil
	case "Secret":
		encoded, ok, err := unstructured.NestedString(u.Object, "data", key)
		if !ok || err != nil {
			return "", false
		}
		text, err := base64.StdEncoding.DecodeString(encoded)
		return string(text), err == nil
	default:
		return configMapValue(u, key)
	}
}

func configMapValue(u *unstructured.Unstructured, key string) (string, bool) {
	if text, ok, err := unstructured.NestedString(u.Object, "data", key); ok && err == nil {
		return text, true
	}
	encoded, ok, err := unstructured.NestedString(u.Object, "binaryData", key)
	if !ok || err != nil {
		return "", false
	}
	text, err := base64.StdEncoding.DecodeString(encoded)
	return string(text), err == nil
}

// WrittenAt returns when the object was last written, by the API server's
// clock: the latest time of its managed fields, which every write that changes
// the object brings up to date for its writer. Where there are none the
// creation time is all that is known, and false says so.
func WrittenAt(u *unstructured.Unstructured) (time.Time, bool) {
	at := u.GetCreationTimestamp().Time
	known := false
	for _, m := range u.GetManagedFields() {
		if m.Time == nil {
			continue
		}
		known = true
		if m.Time.After(at) {
			at = m.Time.Time
		}
	}
	return at, known
}
