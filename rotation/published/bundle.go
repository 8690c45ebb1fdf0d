package published

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// Bundle is the outcome of reading a mesh's trust bundle.
type Bundle struct {
	// Set is the bundle; empty unless Reason is BundleUsable.
	Set bundle.Set
	// Reason is BundleUsable or says what is wrong; empty while it is not read
	// yet.
	Reason v1alpha1.Reason
	// Message says it in a sentence.
	Message string
	// WrittenAt is when the object was written last, by the API server's clock;
	// zero when it does not say.
	WrittenAt time.Time
	// Source names the object and its key, for people.
	Source string
}

// The resources that hold bundles.
var (
	configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	secrets    = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
)

// clusterTrustBundles is the resource in the newest version; see served.
var clusterTrustBundles = schema.GroupVersionResource{Group: "certificates.k8s.io", Version: "v1", Resource: "clustertrustbundles"}

// Bundle reads the bundle that the spec, with its defaults, names.
func (w *Watcher) Bundle(spec v1alpha1.BundleSpec, now time.Time) Bundle {
	ref, key, source := bundleRef(spec)
	if ref.Name == "" {
		return Bundle{Reason: v1alpha1.InvalidSpec, Message: "spec.bundle names no object"}
	}
	out := Bundle{Source: source}
	objects, err := w.List(ref, now)
	switch {
	case errors.Is(err, ErrSyncing):
		return out
	case err != nil:
		out.Reason, out.Message = v1alpha1.BundleNotFound, fmt.Sprintf("%s cannot be read: %v", source, err)
		return out
	case len(objects) == 0:
		out.Reason, out.Message = v1alpha1.BundleNotFound, source+" does not exist; create it, or name another in spec.bundle"
		return out
	}
	out.WrittenAt, _ = WrittenAt(objects[0])
	text, ok := Value(objects[0], key)
	if !ok {
		out.Reason, out.Message = v1alpha1.BundleKeyMissing, source+" is missing; write the bundle there, or name another key in spec.bundle"
		return out
	}
	out.parse(text, now)
	return out
}

func (b *Bundle) parse(text string, now time.Time) {
	set, err := bundle.Parse([]byte(text))
	switch {
	case text == "": // as withoutKeys leaves it
		b.Reason, b.Message = v1alpha1.BundleEmpty, b.Source+" holds no certificate, or a private key beside it, and then is not read; the last good bundle stays in force until it holds certificates alone"
	case errors.Is(err, bundle.ErrNoCertificate):
		b.Reason, b.Message = v1alpha1.BundleEmpty, b.Source+" holds no certificate; the last good bundle stays in force until it does"
	case err != nil:
		b.Reason, b.Message = v1alpha1.BundleInvalid, fmt.Sprintf("%s cannot be used (%v); the last good bundle stays in force", b.Source, err)
	case set.ValidAt(now).Empty():
		b.Set = set
		b.Reason, b.Message = v1alpha1.BundleExpired, "every anchor of "+b.Source+" has expired; publish a bundle with an anchor that is valid"
	default:
		b.Set = set
		b.Reason, b.Message = v1alpha1.BundleUsable, fmt.Sprintf("%s holds %d anchors", b.Source, set.Len())
	}
}

func bundleRef(spec v1alpha1.BundleSpec) (ref Ref, key, source string) {
	switch {
	case spec.ConfigMapRef != nil:
		r := spec.ConfigMapRef
		return Ref{configMaps, r.Namespace, r.Name}, r.Key, fmt.Sprintf("ConfigMap %s/%s, key %s", r.Namespace, r.Name, r.Key)
	case spec.SecretRef != nil:
		r := spec.SecretRef
		return Ref{secrets, r.Namespace, r.Name}, r.Key, fmt.Sprintf("Secret %s/%s, key %s", r.Namespace, r.Name, r.Key)
	case spec.ClusterTrustBundleRef != nil:
		r := spec.ClusterTrustBundleRef
		return Ref{clusterTrustBundles, "", r.Name}, "", "ClusterTrustBundle " + r.Name
	}
	return Ref{}, "", ""
}
