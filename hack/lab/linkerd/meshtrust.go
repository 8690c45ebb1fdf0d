package linkerd

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab/proxies"
)

// MeshTrust makes the object that tells Reanchor of the mesh: its names where they
// are not the documented ones, and its shortened delays. Everything else has its
// default.
func (m *Mesh) MeshTrust() *v1alpha1.MeshTrust {
	t := m.options.Times
	spec := v1alpha1.MeshTrustSpec{
		Profile:               v1alpha1.ProfileLinkerd,
		ControlPlaneNamespace: m.Mesh,
		Bundle: v1alpha1.BundleSpec{
			ConfigMapRef: &v1alpha1.KeyRef{Namespace: m.Mesh, Name: m.Bundle},
			Propagation:  v1alpha1.PropagationSpec{Environment: duration(t.Environment), File: duration(t.File)},
		},
		Admission: v1alpha1.AdmissionSpec{ClockSkew: duration(time.Second)},
		Rotation: &v1alpha1.RotationSpec{
			Layout: m.options.Layout, BundleWriter: m.options.Writer,
			AnchorCertificateRef: &v1alpha1.ObjectRef{Namespace: TrustNamespace, Name: m.Names.Anchor},
			ClusterIssuerName:    m.ClusterIssuer,
		},
	}
	if m.generations() {
		spec.Issuer.CertificateRef = &v1alpha1.ObjectRef{Namespace: m.Mesh, Name: m.Names.Issuer}
		spec.Rotation.AnchorTemplate = &v1alpha1.AnchorTemplate{Duration: duration(t.Anchor)}
	} else {
		spec.Rotation.PreviousAnchorSecretRef = &v1alpha1.ObjectRef{Namespace: TrustNamespace, Name: m.Previous}
	}
	return &v1alpha1.MeshTrust{ObjectMeta: metav1.ObjectMeta{Name: m.Mesh}, Spec: spec}
}

func duration(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }

// Score is what a procedure cost the mesh.
type Score struct {
	proxies.Stats
	// RestartsPerWorkload leaves the control plane out; MaxUnavailable does not.
	RestartsPerWorkload float64
	MaxUnavailable      int
}

// Score counts from the moment when every pod was Ready. Handshakes count from
// the first.
func (m *Mesh) Score() Score {
	return Score{Stats: m.Proxies.Stats(), RestartsPerWorkload: m.History.RestartsPerWorkload(), MaxUnavailable: m.History.MaxUnavailable()}
}

// String is the body of a benchmark's line.
func (s Score) String() string {
	return fmt.Sprintf("failed=%d handshakes=%d restarts_per_workload=%.1f max_unavailable_pods=%d", s.Failed, s.Handshakes, s.RestartsPerWorkload, s.MaxUnavailable)
}
