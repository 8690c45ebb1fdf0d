package api

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// testChanges changes objects: some fields can never be changed.
func testChanges(t *testing.T, s server) {
	const names = `issuerCertificateRef: {namespace: a, name: b}, clusterIssuerName: c, anchorTemplate: {}`
	for name, c := range map[string]struct {
		kind, before, after string
		says                []string
	}{
		"a profile is for ever": {
			v1alpha1.MeshTrustKind, `{profile: Linkerd}`, `{profile: Istio}`,
			[]string{"profile cannot be changed: create another MeshTrust and delete this one"},
		},
		"the rest of a MeshTrust is not": {
			v1alpha1.MeshTrustKind, `{profile: Linkerd}`,
			`{profile: Linkerd, suspend: true, controlPlaneNamespace: l5d, admission: {mode: Audit}, rotation: {` + names + `}}`, nil,
		},
		"a rotation stays with its mesh": {
			v1alpha1.AnchorRotationKind, `{meshTrustRef: {name: a}}`, `{meshTrustRef: {name: b}}`,
			[]string{"meshTrustRef cannot be changed: create another AnchorRotation"},
		},
		"a rotation can be steered": {
			v1alpha1.AnchorRotationKind, `{meshTrustRef: {name: a}}`,
			`{meshTrustRef: {name: a}, suspend: true, abort: true, approvals: [{gate: Narrow}], acknowledge: [{node: n1}]}`, nil,
		},
		"and let go again": {
			v1alpha1.AnchorRotationKind, `{meshTrustRef: {name: a}, suspend: true, approvals: [{gate: Narrow}]}`, `{meshTrustRef: {name: a}}`, nil,
		},
		"an abort is for ever": {
			v1alpha1.AnchorRotationKind, `{meshTrustRef: {name: a}, abort: true}`, `{meshTrustRef: {name: a}}`,
			[]string{"an aborted rotation cannot go on: create another AnchorRotation when it has ended"},
		},
		"an abort is not taken back by saying no": {
			v1alpha1.AnchorRotationKind, `{meshTrustRef: {name: a}, abort: true}`, `{meshTrustRef: {name: a}, abort: false}`,
			[]string{"an aborted rotation cannot go on"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := s.create(t, object(t, c.kind, "mesh", c.before))
			setSpec(t, o, c.after)
			_, err := s.resource(c.kind).Update(t.Context(), o, metav1.UpdateOptions{FieldValidation: metav1.FieldValidationStrict})
			refused(t, err, c.says...)
		})
	}
}
