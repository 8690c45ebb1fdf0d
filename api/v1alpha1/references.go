package v1alpha1

// DefaultIssuerKeys are the keys of an issuer Secret that are tried in order
// when none is named: kubernetes.io/tls first, then Linkerd's own type.
func DefaultIssuerKeys() []string { return []string{"tls.crt", "crt.pem"} }

// NamespaceName is the name of a namespace. Like ObjectName it is an alias: the
// schema refuses what no object can be called, in Go it is a plain string.
//
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="write the name of a namespace, such as linkerd"
// +kubebuilder:validation:MaxLength=63
type NamespaceName = string

// ObjectName is the name of an object of a kind whose names are DNS subdomains
// (RFC 1123), as those of ConfigMaps, Secrets, workloads, pods, nodes and all
// custom resources are.
//
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="write the name of an object, in lower-case letters, digits, hyphens and dots, such as linkerd-identity-issuer"
// +kubebuilder:validation:MaxLength=253
type ObjectName = string

// KeyRef names one key of a ConfigMap or Secret.
type KeyRef struct {
	// namespace of the object.
	// +required
	Namespace NamespaceName `json:"namespace"`
	// name of the object.
	// +required
	Name ObjectName `json:"name"`
	// key of the object's data.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._A-Za-z0-9]+$')",message="write a key of the object's data, such as ca-bundle.crt"
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`
}

// ObjectRef names one namespaced object, whose kind the field says.
type ObjectRef struct {
	// namespace of the object.
	// +required
	Namespace NamespaceName `json:"namespace"`
	// name of the object.
	// +required
	Name ObjectName `json:"name"`
}

// ClusterObjectRef names one cluster-scoped object, whose kind the field says.
// What names the kind has is a rule of the field: a ClusterTrustBundle's may
// begin with its signer and be longer than any other.
type ClusterObjectRef struct {
	// name of the object.
	// +required
	// +kubebuilder:validation:MaxLength=825
	Name string `json:"name"`
}
