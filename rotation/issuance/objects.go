package issuance

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/published"
)

// kind is a kind of object, with the name of its resource for access reviews.
type kind struct {
	schema.GroupVersionKind
	resource string
}

func (k kind) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.Group, Resource: k.resource}
}

func kindOf(group, version, name, resource string) kind {
	return kind{schema.GroupVersionKind{Group: group, Version: version, Kind: name}, resource}
}

// The kinds that are read and written.
var (
	configMapKind          = kindOf("", "v1", "ConfigMap", "configmaps")
	secretKind             = kindOf("", "v1", "Secret", "secrets")
	deploymentKind         = kindOf("apps", "v1", "Deployment", "deployments")
	certificateKind        = kindOf(certManagerGroup, "v1", "Certificate", "certificates")
	requestKind            = kindOf(certManagerGroup, "v1", "CertificateRequest", "certificaterequests")
	issuerKind             = kindOf(certManagerGroup, "v1", "Issuer", "issuers")
	clusterIssuerKind      = kindOf(certManagerGroup, "v1", "ClusterIssuer", "clusterissuers")
	bundleKind             = kindOf("trust.cert-manager.io", "v1alpha1", "Bundle", "bundles")
	clusterBundleKind      = kindOf("trust-manager.io", "v1alpha2", "ClusterBundle", "clusterbundles")
	clusterTrustBundleKind = kindOf("certificates.k8s.io", "v1", "ClusterTrustBundle", "clustertrustbundles")
	crdKind                = kindOf("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions")
)

const (
	certManagerGroup = "cert-manager.io"
	// certificateCRD is the name of the definition of Certificates.
	certificateCRD = "certificates." + certManagerGroup
	// certificateKey is the key of every Secret here that holds certificates.
	certificateKey = "tls.crt"
	privateKeyKey  = "tls.key"
	// archiveName is the ConfigMap with every own anchor that was ever seen: a key
	// for each mesh, in the controller's namespace.
	archiveName = "reanchor-anchors"
	// identityManager is the field manager of the mark on the signing service. The
	// roller applies to the same template as v1alpha1.FieldManager: under one name
	// each would remove the other's annotation, which is a roll each time.
	identityManager = v1alpha1.FieldManager + "-identity"
)

// archiveKey is the archive's key of a mesh.
func archiveKey(mesh string) string { return mesh + ".pem" }

// carriedName is Reanchor's own Secret of certificates that no generation
// supplies (Generations).
func carriedName(mesh string) string { return mesh + "-anchor-carried" }

// keptName is the copy of the anchor's Secret that a rotation in place keeps; it
// is the name that lifecycle gives to KeepAnchor.
func keptName(mesh string) string { return mesh + "-anchor-kept" }

// get reads an object live; nil when it or its kind does not exist.
func (s *Store) get(ctx context.Context, k kind, namespace, name string) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	found, err := s.read(ctx, u, k, client.ObjectKey{Namespace: namespace, Name: name})
	if !found {
		return nil, err
	}
	return u, nil
}

// getMetadata reads an object's metadata alone; nil when it does not exist.
func (s *Store) getMetadata(ctx context.Context, k kind, namespace, name string) (*metav1.PartialObjectMetadata, error) {
	m := &metav1.PartialObjectMetadata{}
	found, err := s.read(ctx, m, k, client.ObjectKey{Namespace: namespace, Name: name})
	if !found {
		return nil, err
	}
	return m, nil
}

// read reads an object in the newest version of its kind in which it is there. The
// object says which: what writes it must use that one.
func (s *Store) read(ctx context.Context, o client.Object, k kind, key client.ObjectKey) (bool, error) {
	for _, version := range k.versions() {
		o.GetObjectKind().SetGroupVersionKind(k.GroupKind().WithVersion(version))
		switch err := s.Live.Get(ctx, key, o); {
		case absent(err):
		case err != nil:
			return false, fmt.Errorf("reading %s: %w", describe(k, key.Namespace, key.Name), err)
		default:
			return true, nil
		}
	}
	return false, nil
}

// versions are those in which an API server may have the kind, newest first.
func (k kind) versions() []string {
	if k.GroupKind() == clusterTrustBundleKind.GroupKind() {
		return published.TrustBundleVersions()
	}
	return []string{k.Version}
}

// absent reports whether an error says that an object, or its kind, does not
// exist.
func absent(err error) bool { return apierrors.IsNotFound(err) || apimeta.IsNoMatchError(err) }

// describe names an object for people.
func describe(k kind, namespace, name string) string {
	if namespace == "" {
		return k.Kind + " " + name
	}
	return k.Kind + " " + namespace + "/" + name
}

// page is how many objects are asked for at a time: a cluster may have
// thousands of Certificates, of which a mesh has a few.
const page = 500

// each calls visit with every object of a kind, as far as the options say.
func (s *Store) each(ctx context.Context, k kind, visit func(*unstructured.Unstructured), options ...client.ListOption) error {
	next := ""
	for {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(k.GroupVersion().WithKind(k.Kind + "List"))
		err := s.Live.List(ctx, list, append(options[:len(options):len(options)], client.Limit(page), client.Continue(next))...)
		switch {
		case absent(err):
			return nil
		case err != nil:
			return fmt.Errorf("listing %s: %w", k.resource, err)
		}
		for i := range list.Items {
			visit(&list.Items[i])
		}
		if next = list.GetContinue(); next == "" {
			return nil
		}
	}
}

func text(u *unstructured.Unstructured, path ...string) string {
	s, _, _ := unstructured.NestedString(u.Object, path...)
	return s
}
