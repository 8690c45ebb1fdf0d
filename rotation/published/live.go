package published

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// ErrChanged says that the API server holds other objects than the watch has
// delivered.
var ErrChanged = errors.New("it changed since it was read")

// Confirm returns nil when the API server holds the objects of which bundle and
// issuer of the spec, with its defaults, are read as they were delivered last, and
// ErrChanged when it does not. It makes one request for each of the two (for a
// ClusterTrustBundle, one more where v1 is not served), for metadata only: the
// version tells, and no key is read. It needs no more than the watches do.
func (w *Watcher) Confirm(ctx context.Context, live client.Reader, spec *v1alpha1.MeshTrustSpec, now time.Time) error {
	if err := w.ConfirmBundle(ctx, live, spec.Bundle, now); err != nil {
		return err
	}
	return w.ConfirmIssuer(ctx, live, spec.Issuer, now)
}

// ConfirmBundle does so for the bundle alone.
func (w *Watcher) ConfirmBundle(ctx context.Context, live client.Reader, spec v1alpha1.BundleSpec, now time.Time) error {
	ref, _, _ := bundleRef(spec)
	return w.confirm(ctx, live, source{Ref: ref}, now)
}

// ConfirmIssuer does so for the issuer alone.
func (w *Watcher) ConfirmIssuer(ctx context.Context, live client.Reader, spec v1alpha1.IssuerSpec, now time.Time) error {
	if issuer := issuerSource(spec); issuer != (source{}) {
		return w.confirm(ctx, live, issuer, now)
	}
	return nil
}

// source is what a bundle or an issuer is read from: the objects of Ref, and where
// these are requests, those of one Certificate. In their namespace others may ask
// for a certificate every few seconds, as for each pod that starts; if these
// counted, hardly a decision would be confirmed.
type source struct {
	Ref
	certificate string
}

func issuerSource(spec v1alpha1.IssuerSpec) source {
	out := source{Ref: issuerRef(spec)}
	if spec.CertificateRef != nil {
		out.certificate = spec.CertificateRef.Name
	}
	return out
}

// reads reports whether an object is one of the source's.
func (s source) reads(o metav1.Object) bool {
	return s.Resource != certificateRequests || requestOf(o, s.certificate)
}

func (w *Watcher) confirm(ctx context.Context, live client.Reader, from source, now time.Time) error {
	delivered, err := w.List(from.Ref, now)
	if err != nil {
		return err
	}
	items, err := from.held(ctx, live)
	if err != nil {
		return fmt.Errorf("reading %s: %w", from, err)
	}
	seen, held := map[version]bool{}, map[version]bool{}
	for _, u := range delivered {
		if from.reads(u) {
			seen[versionOf(u)] = true
		}
	}
	for i := range items {
		if o := &items[i]; from.reads(o) {
			held[versionOf(o)] = true
		}
	}
	if !maps.Equal(seen, held) {
		return fmt.Errorf("reading %s: %w", from, ErrChanged)
	}
	return nil
}

// held lists the metadata of the objects of ref that the API server holds.
func (r Ref) held(ctx context.Context, live client.Reader) ([]metav1.PartialObjectMetadata, error) {
	options := []client.ListOption{client.InNamespace(r.Namespace)}
	if r.Name != "" {
		options = append(options, client.MatchingFields{"metadata.name": r.Name})
	}
	return served(r.Resource, func(resource schema.GroupVersionResource) ([]metav1.PartialObjectMetadata, error) {
		var list metav1.PartialObjectMetadataList
		list.SetGroupVersionKind(resource.GroupVersion().WithKind(kinds()[r.Resource] + "List"))
		err := live.List(ctx, &list, options...)
		return list.Items, err
	})
}

// version tells one state of one object from all others.
type version struct {
	name            string
	uid             types.UID
	resourceVersion string
}

func versionOf(o metav1.Object) version {
	return version{o.GetName(), o.GetUID(), o.GetResourceVersion()}
}

// kinds are those of the resources that bundles and issuers are read from.
func kinds() map[schema.GroupVersionResource]string {
	return map[schema.GroupVersionResource]string{
		configMaps: "ConfigMap", secrets: "Secret", clusterTrustBundles: "ClusterTrustBundle", certificateRequests: "CertificateRequest",
	}
}

// Differs reports whether another bundle was read.
func (b Bundle) Differs(other Bundle) bool {
	return b.Reason != other.Reason || !b.Set.Equal(other.Set)
}

// Differs reports whether another issuer was read.
func (i Issuer) Differs(other Issuer) bool {
	return i.None != other.None || i.Reason != other.Reason || !slices.EqualFunc(i.Chain, other.Chain, (*x509.Certificate).Equal)
}
