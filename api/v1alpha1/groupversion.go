package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Version is the API version of the kinds in this package.
const Version = "v1alpha1"

// Kinds of this group, as they stand in an object's kind field.
const (
	MeshTrustKind      = "MeshTrust"
	AnchorRotationKind = "AnchorRotation"
)

// GroupVersion identifies the API that this package describes.
var GroupVersion = schema.GroupVersion{Group: Group, Version: Version}

// AddToScheme registers the kinds with a scheme, as clients need it.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &MeshTrust{}, &MeshTrustList{}, &AnchorRotation{}, &AnchorRotationList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
