package v1alpha1

// DefaultIssuerKeys are the keys of an issuer Secret that are tried in order
// when none is named: kubernetes.io/tls first, then Linkerd's own type.
func DefaultIssuerKeys() []string { return []string{"tls.crt", "crt.pem"} }

// KeyRef names one key of a ConfigMap or Secret.
type KeyRef struct {
	// namespace of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// key of the object's data.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`
}

// ObjectRef names one namespaced object, whose kind the field says.
type ObjectRef struct {
	// namespace of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// ClusterObjectRef names one cluster-scoped object, whose kind the field says.
type ClusterObjectRef struct {
	// name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}
