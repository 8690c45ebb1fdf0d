package anchorrotation

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// mostExternal bounds how many objects are named.
const mostExternal = 10

// externalKinds are Linkerd's objects that stand for something outside the
// cluster that trusts the same anchors: linked clusters and machines.
func externalKinds() []schema.GroupKind {
	return []schema.GroupKind{
		{Group: "multicluster.linkerd.io", Kind: "Link"},
		{Group: "workload.linkerd.io", Kind: "ExternalWorkload"},
	}
}

// external names what outside this cluster trusts the mesh's anchors. A kind
// that may not be read is named itself: it cannot be told, so a human must. Whether
// there is a kind at all takes a discovery of the whole API, so that unless it is
// for a gate (live) the answer that there is none holds for a moment.
func (r *Reconciler) external(ctx context.Context, spec *v1alpha1.MeshTrustSpec, live bool) ([]string, error) {
	if spec.Profile != v1alpha1.ProfileLinkerd {
		return nil, nil
	}
	var out []string
	for _, kind := range externalKinds() {
		version, err := r.served(kind, live)
		if err != nil {
			return nil, err
		}
		if version == "" {
			continue
		}
		names, err := r.objects(ctx, kind.WithVersion(version))
		if err != nil {
			return nil, err
		}
		out = append(out, names...)
	}
	return out, nil
}

// served returns the version of a kind, "" when there is none.
func (r *Reconciler) served(kind schema.GroupKind, live bool) (string, error) {
	now := r.Clock.Now()
	if _, absent := r.absent.get(kind, now); absent && !live {
		return "", nil
	}
	mapping, err := r.Client.RESTMapper().RESTMapping(kind)
	switch {
	case apimeta.IsNoMatchError(err):
		r.absent.set(kind, struct{}{}, now)
		return "", nil
	case err != nil:
		return "", fmt.Errorf("looking for the kind %s: %w", kind, err)
	default:
		return mapping.GroupVersionKind.Version, nil
	}
}

// objects names some objects of a kind.
func (r *Reconciler) objects(ctx context.Context, kind schema.GroupVersionKind) ([]string, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	switch err := r.Live.List(ctx, list, client.Limit(mostExternal)); {
	case apierrors.IsForbidden(err):
		return []string{"objects of the kind " + kind.Kind + ", which the controller may not read"}, nil
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("listing objects of the kind %s: %w", kind.GroupKind(), err)
	}
	var out []string
	for i := range list.Items {
		out = append(out, kind.Kind+" "+list.Items[i].Namespace+"/"+list.Items[i].Name)
	}
	return out, nil
}
