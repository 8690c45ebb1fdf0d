package published

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// Issuer is the outcome of reading a mesh's issuer.
type Issuer struct {
	// None says that the mesh has no issuer to check.
	None bool
	// Chain is the issuer's certificate and the intermediates above it.
	Chain []*x509.Certificate
	// Reason is empty when the chain was read, or while it is not read yet;
	// else it says what is wrong.
	Reason  v1alpha1.Reason
	Message string
	// Source names the object, for people.
	Source string
}

var certificateRequests = schema.GroupVersionResource{Group: "cert-manager.io", Version: "v1", Resource: "certificaterequests"}

// Annotations that cert-manager writes on a CertificateRequest.
const (
	certificateNameAnnotation     = "cert-manager.io/certificate-name"
	certificateRevisionAnnotation = "cert-manager.io/certificate-revision"
)

// Issuer reads the issuer that the spec, with its defaults, names.
func (w *Watcher) Issuer(spec v1alpha1.IssuerSpec, now time.Time) Issuer {
	ref := issuerRef(spec)
	switch {
	case spec.SecretRef != nil:
		return w.issuerFromSecret(ref, *spec.SecretRef, now)
	case spec.CertificateRef != nil:
		return w.issuerFromRequests(ref, spec.CertificateRef.Name, now)
	default:
		return Issuer{None: true}
	}
}

// issuerRef names the objects that the issuer is read from; empty for none.
func issuerRef(spec v1alpha1.IssuerSpec) Ref {
	switch {
	case spec.SecretRef != nil:
		return Ref{secrets, spec.SecretRef.Namespace, spec.SecretRef.Name}
	case spec.CertificateRef != nil:
		return Ref{Resource: certificateRequests, Namespace: spec.CertificateRef.Namespace}
	default:
		return Ref{}
	}
}

func (w *Watcher) issuerFromSecret(ref Ref, r v1alpha1.KeyRef, now time.Time) Issuer {
	out := Issuer{Source: fmt.Sprintf("Secret %s/%s", r.Namespace, r.Name)}
	objects, err := w.List(ref, now)
	if out.unread(objects, err) {
		return out
	}
	for _, key := range r.Keys(v1alpha1.DefaultIssuerKeys()...) {
		if text, ok := Value(objects[0], key); ok {
			out.Source += ", key " + key
			out.parse([]byte(text))
			return out
		}
	}
	out.Reason, out.Message = v1alpha1.IssuerNotFound, out.Source+" holds no issuer certificate; name its key in spec.issuer.secretRef.key"
	return out
}

// issuerFromRequests finds the certificate in use without access to a Secret:
// it is what the newest fulfilled request of the Certificate holds.
func (w *Watcher) issuerFromRequests(ref Ref, certificate string, now time.Time) Issuer {
	out := Issuer{Source: fmt.Sprintf("Certificate %s/%s", ref.Namespace, certificate)}
	objects, err := w.List(ref, now)
	newest := newestIssued(objects, certificate)
	if newest != nil {
		objects = []*unstructured.Unstructured{newest}
	} else {
		objects = nil
	}
	if out.unread(objects, err) {
		return out
	}
	encoded, _, _ := unstructured.NestedString(newest.Object, "status", "certificate")
	text, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		out.Reason, out.Message = v1alpha1.IssuerInvalid, out.Source+": its newest request holds no base64"
		return out
	}
	out.parse(text)
	return out
}

// newestIssued returns the fulfilled request of the Certificate with the
// highest revision.
func newestIssued(requests []*unstructured.Unstructured, certificate string) *unstructured.Unstructured {
	var newest *unstructured.Unstructured
	best := -1
	for _, u := range requests {
		text, ok, _ := unstructured.NestedString(u.Object, "status", "certificate")
		if !ok || text == "" || !requestOf(u, certificate) {
			continue
		}
		revision, err := strconv.Atoi(u.GetAnnotations()[certificateRevisionAnnotation])
		if err == nil && revision > best {
			newest, best = u, revision
		}
	}
	return newest
}

// requestOf reports whether a request is one of the Certificate's. Only those are
// read, so only those are confirmed (see Confirm).
func requestOf(request metav1.Object, certificate string) bool {
	return request.GetAnnotations()[certificateNameAnnotation] == certificate
}

// unread fills in what is wrong when there is no object to read.
func (i *Issuer) unread(objects []*unstructured.Unstructured, err error) bool {
	switch {
	case errors.Is(err, ErrSyncing):
	case err != nil:
		i.Reason, i.Message = v1alpha1.IssuerNotFound, fmt.Sprintf("%s cannot be read: %v", i.Source, err)
	case len(objects) == 0:
		i.Reason, i.Message = v1alpha1.IssuerNotFound, i.Source+" holds no issued certificate; name the issuer in spec.issuer"
	default:
		return false
	}
	return true
}

func (i *Issuer) parse(text []byte) {
	chain, err := bundle.ParseChain(text)
	if err != nil {
		i.Reason, i.Message = v1alpha1.IssuerInvalid, fmt.Sprintf("%s holds no issuer certificate that can be read: %v", i.Source, err)
		return
	}
	i.Chain = chain
}
