package rotation

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/inventory"
	"github.com/reanchor/reanchor/rotation/owner"
	"github.com/reanchor/reanchor/rotation/rollout"
)

func TestWhichPodsARotationWantsReplaced(t *testing.T) {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	current := bundle.Of(bundletest.NewRoot(t, "root", bundletest.From(noon.Add(-time.Hour), 100*time.Hour)).Cert)
	mark := current.Hash()
	for name, c := range map[string]struct {
		restart restart
		pod     inventory.Pod
		want    bool
	}{
		"none without one":                         {restart{}, inventory.Pod{ControlPlane: true, Class: mesh.ClassUnknown}, false},
		"an unknown one of the control plane":      {restart{unknown: true}, inventory.Pod{ControlPlane: true, Class: mesh.ClassUnknown}, true},
		"but once for a bundle":                    {restart{unknown: true}, inventory.Pod{ControlPlane: true, Class: mesh.ClassUnknown, RestartedFor: mark + ".2"}, false},
		"again for another":                        {restart{unknown: true}, inventory.Pod{ControlPlane: true, Class: mesh.ClassUnknown, RestartedFor: "v1:other"}, true},
		"no known one":                             {restart{unknown: true}, inventory.Pod{ControlPlane: true, Class: mesh.ClassCurrent}, false},
		"no unknown one of an application":         {restart{unknown: true}, inventory.Pod{Class: mesh.ClassUnknown}, false},
		"one that may hold an old leaf":            {restart{before: noon}, inventory.Pod{Class: mesh.ClassCurrent, CreatedAt: noon.Add(-time.Second)}, true},
		"not one that was created afterwards":      {restart{before: noon}, inventory.Pod{Class: mesh.ClassCurrent, CreatedAt: noon}, false},
		"one of which it is not known when it was": {restart{before: noon}, inventory.Pod{Class: mesh.ClassCurrent}, true},
	} {
		if got := c.restart.wanted(c.pod, current); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestAnIssuerThatSomebodySwitchedIsGivenAMomentToBeTurnedBack(t *testing.T) {
	run := func(set func(*v1alpha1.AnchorRotationStatus)) []v1alpha1.AnchorRotation {
		s := v1alpha1.AnchorRotationStatus{
			Path: v1alpha1.PathRotate, FromAnchor: &v1alpha1.RotationCertificate{Fingerprint: "old"}, ToAnchor: &v1alpha1.RotationCertificate{Fingerprint: "new"},
		}
		set(&s)
		return []v1alpha1.AnchorRotation{{Status: s}}
	}
	asIs := func(*v1alpha1.AnchorRotationStatus) {}
	verifiedBy := func(anchors ...string) *v1alpha1.IssuerStatus {
		return &v1alpha1.IssuerStatus{VerifiedBy: anchors, SignedSince: timeRef(at(0))}
	}
	then := metav1.NewTime(at(0))
	for name, c := range map[string]struct {
		runs   []v1alpha1.AnchorRotation
		issuer *v1alpha1.IssuerStatus
		now    int
		want   bool
	}{
		"signed by the new anchor before the run decides to": {run(asIs), verifiedBy("new"), 1, true},
		"for a moment":                             {run(asIs), verifiedBy("new"), 30, false},
		"not while the anchor in use signs":        {run(asIs), verifiedBy("old"), 1, false},
		"nor without a run":                        {nil, verifiedBy("new"), 1, false},
		"nor where the issuer is not known":        {run(asIs), nil, 1, false},
		"nor before the run knows what is in use":  {run(func(s *v1alpha1.AnchorRotationStatus) { s.FromAnchor = nil }), verifiedBy("new"), 1, false},
		"nor from when the run has decided to":     {run(func(s *v1alpha1.AnchorRotationStatus) { s.SwitchIntendedAt = &then }), verifiedBy("new"), 1, false},
		"nor on the way back":                      {run(func(s *v1alpha1.AnchorRotationStatus) { s.AbortedFrom = v1alpha1.PhaseWiden }), verifiedBy("new"), 1, false},
		"nor on the shortest way out of an outage": {run(func(s *v1alpha1.AnchorRotationStatus) { s.Path = v1alpha1.PathRecover }), verifiedBy("new"), 1, false},
	} {
		if got := switchedEarly(c.runs, c.issuer, at(c.now)); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}

func TestNothingOfTheControlPlaneIsRolledOntoAnIssuerThatIsAboutToBeTurnedBack(t *testing.T) {
	web := owner.Owner{
		Spec:  rollout.OwnerSpec{Key: rollout.Key{Group: "apps", Kind: "Deployment", Namespace: "linkerd", Name: "linkerd-identity"}, Found: true, Desired: 1},
		State: rollout.Owner{Observed: true, Desired: 1, Updated: 1, Total: 1, Available: 1, ByTemplate: true},
	}
	optedOut := web
	optedOut.Spec.OptedOut = true
	for name, c := range map[string]struct {
		owner               owner.Owner
		early, controlPlane bool
		want                v1alpha1.Reason
	}{
		"the control plane waits":         {web, true, true, v1alpha1.SwitchedTooEarly},
		"no longer than that":             {web, false, true, ""},
		"applications do not":             {web, true, false, ""},
		"what its user says comes before": {optedOut, true, true, v1alpha1.OptedOut},
	} {
		s := surveyorOf()
		s.early = c.early
		w := s.describe(c.owner, []inventory.Pod{{Trust: &mesh.Trust{}, Class: mesh.ClassMissing, ControlPlane: c.controlPlane}})
		if w.Block.Reason != c.want {
			t.Errorf("%s: blocked %q, want %q", name, w.Block.Reason, c.want)
		}
	}
}
