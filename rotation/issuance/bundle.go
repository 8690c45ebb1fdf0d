package issuance

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/lifecycle"
	"github.com/reanchor/reanchor/rotation/published"
)

// place is where a bundle is published.
type place struct {
	kind
	namespace, name, key string
}

func (p place) String() string {
	if p.key == "" {
		return describe(p.kind, p.namespace, p.name)
	}
	return fmt.Sprintf("%s, key %s", describe(p.kind, p.namespace, p.name), p.key)
}

// placeOf returns where the spec, with its defaults, publishes the bundle.
func placeOf(spec v1alpha1.BundleSpec) place {
	switch {
	case spec.ConfigMapRef != nil:
		return place{configMapKind, spec.ConfigMapRef.Namespace, spec.ConfigMapRef.Name, spec.ConfigMapRef.Key}
	case spec.SecretRef != nil:
		return place{secretKind, spec.SecretRef.Namespace, spec.SecretRef.Name, spec.SecretRef.Key}
	case spec.ClusterTrustBundleRef != nil:
		return place{clusterTrustBundleKind, "", spec.ClusterTrustBundleRef.Name, ""}
	default:
		return place{}
	}
}

// bundle reads the published object, which may be nil, and parses it. While it
// cannot be used, the last good bundle is the set; see lastGood.
func (r *reading) bundle(ctx context.Context) (*unstructured.Unstructured, lifecycle.Bundle, error) {
	at := placeOf(r.spec.Bundle)
	if at.name == "" {
		return nil, lifecycle.Bundle{Unusable: lifecycle.Hold{Reason: v1alpha1.InvalidSpec, Message: "spec.bundle names no object"}}, nil
	}
	u, err := r.get(ctx, at.kind, at.namespace, at.name)
	if err != nil {
		return nil, lifecycle.Bundle{}, err
	}
	if u == nil {
		return nil, lifecycle.Bundle{Unusable: lifecycle.Hold{Reason: v1alpha1.BundleNotFound, Message: at.String() + " does not exist; create it, or name another in spec.bundle"}}, nil
	}
	out := lifecycle.Bundle{ResourceVersion: u.GetResourceVersion()}
	value, ok := published.Value(u, at.key)
	if !ok {
		out.Unusable = lifecycle.Hold{Reason: v1alpha1.BundleKeyMissing, Message: at.String() + " is missing; write the bundle there, or name another key in spec.bundle"}
		return u, out, nil
	}
	out.Set, out.Unusable = parseBundle(value, at)
	return u, out, nil
}

func parseBundle(value string, at place) (bundle.Set, lifecycle.Hold) {
	set, err := bundle.Parse([]byte(value))
	switch {
	case errors.Is(err, bundle.ErrNoCertificate):
		return bundle.Set{}, lifecycle.Hold{Reason: v1alpha1.BundleEmpty, Message: at.String() + " holds no certificate; the last good bundle stays in force until it does"}
	case err != nil:
		return bundle.Set{}, lifecycle.Hold{Reason: v1alpha1.BundleInvalid, Message: fmt.Sprintf("%s cannot be used (%v); the last good bundle stays in force", at, err)}
	default:
		return set, lifecycle.Hold{}
	}
}

// lastGood is the bundle on record, as far as it is known: own anchors with
// their certificates, the others by summary.
func (r *reading) lastGood(own bundle.Set) bundle.Set {
	set, _ := mesh.PublishedSet(r.mt.Status.Bundle)
	return set.Union(own.Intersect(set))
}
