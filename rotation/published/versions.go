package published

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TrustBundleVersions returns the versions of ClusterTrustBundle in which an API
// server may have it, newest first. Kubernetes has v1 from 1.37 on; v1beta1, from
// 1.33 on, is served only where it is asked for, and is gone in 1.40.
func TrustBundleVersions() []string { return []string{"v1", "v1beta1"} }

// served asks for a resource in the newest version that the API server serves. It
// asks anew each time, so that an API server may be upgraded meanwhile; where the
// newest is served, that costs nothing.
func served[T any](resource schema.GroupVersionResource, ask func(schema.GroupVersionResource) (T, error)) (T, error) {
	if resource != clusterTrustBundles {
		return ask(resource)
	}
	var out T
	var err error
	for _, version := range TrustBundleVersions() {
		out, err = ask(resource.GroupResource().WithVersion(version))
		if !unserved(err) {
			break
		}
	}
	return out, err
}

// unserved reports whether an error of a list or a watch says that the API server
// does not serve the resource: of a collection nothing else is not found.
func unserved(err error) bool { return apierrors.IsNotFound(err) || apimeta.IsNoMatchError(err) }
