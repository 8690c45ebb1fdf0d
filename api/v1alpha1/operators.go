package v1alpha1

import (
	"cmp"
	"slices"
)

// OperatorKind says how the pods are restarted that a custom resource owns
// directly, without a Deployment, StatefulSet or the like in between.
//
// +kubebuilder:validation:XValidation:rule="has(self.annotation) != (has(self.evict) && self.evict)",message="write one of the two: annotation, for an operator that restarts the pods when it sees one, or evict: true"
// +kubebuilder:validation:XValidation:rule="!(self.group in ['apps', 'batch']) && !(self.group == 'argoproj.io' && self.kind == 'Rollout')",message="write the group and kind of a custom resource that owns pods itself, such as postgresql.cnpg.io and Cluster; workloads of Kubernetes and Argo Rollouts need no entry"
type OperatorKind struct {
	// group of the kind, such as postgresql.cnpg.io, as in the pods'
	// ownerReferences but without the version.
	// +required
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="write an API group without a version, such as postgresql.cnpg.io"
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group"`
	// kind of the custom resource, such as Cluster.
	// +required
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Z][A-Za-z0-9]*$')",message="write a kind, such as Cluster"
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`
	// annotation is set on the custom resource; its operator then restarts all
	// the pods at its own pace.
	// +optional
	Annotation *RestartAnnotation `json:"annotation,omitempty"`
	// evict has the pods evicted, one at a time, each after the replacement of
	// the one before is ready.
	// +optional
	Evict bool `json:"evict,omitempty"`
}

// RestartAnnotation is the annotation at which an operator restarts pods.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.value) && has(self.text))",message="write one of the two: value, or text for an operator that removes the annotation when it is done"
type RestartAnnotation struct {
	// key of the annotation, such as kubectl.kubernetes.io/restartedAt.
	// +required
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')",message="write the key of an annotation, such as example.com/restarted-at"
	// +kubebuilder:validation:MaxLength=317
	Key string `json:"key"`
	// path of the map of annotations in the custom resource, its field names
	// separated by dots (metadata.annotations).
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^(metadata[.]annotations|spec([.][a-z][A-Za-z0-9]*)+)$')",message="write metadata.annotations, or where in the spec the annotations of the pods are, such as spec.template.metadata.annotations"
	// +kubebuilder:validation:MaxLength=253
	Path string `json:"path,omitempty"`
	// value is what the operator compares: a value that it has not seen before
	// is a restart (Token).
	// +optional
	Value RestartValue `json:"value,omitempty"`
	// text is written as it is, for an operator that acts on the annotation while
	// it is there and removes it when the pods are restarted. As long as it is
	// there, the restart counts as under way.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self != ''",message="write the text that asks for a restart, such as \"true\""
	// +kubebuilder:validation:MaxLength=253
	Text string `json:"text,omitempty"`
}

// RestartValue says what the value of a RestartAnnotation is made of. Either is
// the same however often it is written for one attempt.
//
// +kubebuilder:validation:Enum=Token;Timestamp
type RestartValue string

// The values of annotation.value.
const (
	// RestartToken is that of RestartedForAnnotation: the bundle hash, from the
	// second attempt on with its number.
	RestartToken RestartValue = "Token"
	// RestartTimestamp is a time in RFC 3339: one second after the newest of the
	// pods that are to be restarted was created.
	RestartTimestamp RestartValue = "Timestamp"
)

// AnnotationsPath is the path of an object's own annotations.
const AnnotationsPath = "metadata.annotations"

// KnownOperators are the entries of spec.rollout.operators that need not be
// written. An entry for the same group and kind replaces one. They too have no
// effect before the controller is allowed to read and patch the kind.
func KnownOperators() []OperatorKind {
	return []OperatorKind{
		// CloudNativePG deletes, the primary last, each pod whose own annotation of
		// that key differs from the Cluster's: checkClusterHasDifferentRestartAnnotation
		// in internal/controller/cluster_upgrade.go. "kubectl cnpg restart" sets it.
		// Before its pull request 7122 of March 2025 it restarted a primary with
		// primaryUpdateMethod "restart" inside its pod, whose proxy runs on; such a
		// pod stays stale and is reported.
		{Group: "postgresql.cnpg.io", Kind: "Cluster", Annotation: &RestartAnnotation{
			Key: "kubectl.kubernetes.io/restartedAt", Path: AnnotationsPath, Value: RestartTimestamp,
		}},
		// Strimzi looks for the annotation at every reconciliation, by default each
		// two minutes, rolls the pods with regard to in-sync replicas and removes it
		// when all are rolled: "Managing rolling updates" in its documentation.
		{Group: "core.strimzi.io", Kind: "StrimziPodSet", Annotation: &RestartAnnotation{
			Key: "strimzi.io/manual-rolling-update", Path: AnnotationsPath, Text: "true",
		}},
	}
}

// withKnownOperators fills in what the user's entries leave open, and adds the
// known ones that they do not replace.
func withKnownOperators(chosen []OperatorKind) []OperatorKind {
	for i := range chosen {
		if a := chosen[i].Annotation; a != nil {
			a.Path = cmp.Or(a.Path, AnnotationsPath)
			if a.Text == "" {
				a.Value = cmp.Or(a.Value, RestartToken)
			}
		}
	}
	for _, known := range KnownOperators() {
		same := func(o OperatorKind) bool { return o.Group == known.Group && o.Kind == known.Kind }
		if !slices.ContainsFunc(chosen, same) {
			chosen = append(chosen, known)
		}
	}
	return chosen
}
