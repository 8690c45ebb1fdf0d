// Package v1alpha1 is Reanchor's public interface: the MeshTrust and
// AnchorRotation kinds, every annotation and label key, and the vocabulary of
// reasons.
//
// Rules of the package:
//   - It holds types, constants and pure functions of them, and imports
//     nothing but k8s.io/api and k8s.io/apimachinery.
//   - Validation is written as CEL markers beside the field, so that the API
//     server refuses a wrong object with a sentence that says what to write.
//   - Defaults are not written into objects: MeshTrust.EffectiveSpec computes
//     them, so that a better default reaches every object that did not choose.
//   - Every status list has a cap that is also a constant here (limits.go) and,
//     beside it, the total before the cut.
//
// +kubebuilder:object:generate=true
// +groupName=reanchor.dev
package v1alpha1
