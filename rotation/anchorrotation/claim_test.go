package anchorrotation

import (
	"strings"
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// rotating is a MeshTrust that was created some time after noon and rotates an
// anchor with a ClusterIssuer.
func rotating(name string, after time.Duration, anchor, issuer string) v1alpha1.MeshTrust {
	return v1alpha1.MeshTrust{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(noon.Add(after))},
		Spec: v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd, Rotation: &v1alpha1.RotationSpec{
			AnchorCertificateRef: &v1alpha1.ObjectRef{Namespace: "cert-manager", Name: anchor}, ClusterIssuerName: issuer,
		}},
	}
}

func TestOfTwoThatRotateTheSameTheOlderDoes(t *testing.T) {
	leaving := rotating("other", 0, "a", "i")
	leaving.DeletionTimestamp = &metav1.Time{Time: noon}
	rollsOnly := rotating("other", 0, "a", "i")
	rollsOnly.Spec.Rotation = nil
	usual := v1alpha1.MeshTrust{
		ObjectMeta: metav1.ObjectMeta{Name: "other", CreationTimestamp: metav1.NewTime(noon)},
		Spec:       v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd, Rotation: &v1alpha1.RotationSpec{}},
	}
	for name, c := range map[string]struct {
		other, mt v1alpha1.MeshTrust
		want      string // "" for nothing
	}{
		"the younger of one ClusterIssuer yields":     {rotating("other", 0, "a", "i"), rotating("mt", time.Second, "b", "i"), "ClusterIssuer i"},
		"the older does not":                          {rotating("other", time.Second, "a", "i"), rotating("mt", 0, "b", "i"), ""},
		"of one second the later name yields":         {rotating("a", 0, "a", "i"), rotating("mt", 0, "b", "i"), "MeshTrust a is older"},
		"and the earlier does not":                    {rotating("z", 0, "a", "i"), rotating("mt", 0, "b", "i"), ""},
		"the younger of one anchor yields":            {rotating("other", 0, "a", "i"), rotating("mt", time.Second, "a", "j"), "Certificate cert-manager/a"},
		"two with their own leave each other alone":   {rotating("other", 0, "a", "i"), rotating("mt", time.Second, "b", "j"), ""},
		"what is named by default counts":             {usual, rotating("mt", time.Second, "a", "linkerd-identity-issuer"), "ClusterIssuer linkerd-identity-issuer"},
		"one that is being deleted has nothing":       {leaving, rotating("mt", time.Second, "a", "i"), ""},
		"one that merely rolls has nothing":           {rollsOnly, rotating("mt", time.Second, "a", "i"), ""},
		"one does not yield to itself":                {rotating("mt", 0, "a", "i"), rotating("mt", 0, "a", "i"), ""},
		"one that merely rolls has nothing to yield ": {usual, rollsOnly, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := Claimed([]v1alpha1.MeshTrust{c.mt, c.other}, &c.mt)
			if !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
				t.Errorf("%q, want %q in it", got, c.want)
			}
		})
	}
}

func TestTheRunOfAMeshWhoseAnchorAnotherRotatesIsToldSo(t *testing.T) {
	r, w := stage(t, interceptor.Funcs{})
	older := rotating("earlier", 0, "a", "linkerd-identity-issuer")
	older.CreationTimestamp = metav1.Time{} // as the other's
	if err := r.Client.Create(t.Context(), &older); err != nil {
		t.Fatal(err)
	}
	w.mt.Status.Bundle = &v1alpha1.BundleStatus{}
	apimeta.SetStatusCondition(&w.mt.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "x"})
	if err := r.Client.Status().Update(t.Context(), w.mt); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKey{Name: "linkerd"}}); err != nil {
		t.Fatal(err)
	}
	if got := blocked(t, r, "r"); got != string(v1alpha1.InvalidSpec) {
		t.Errorf("blocked: %q", got)
	}
	var run v1alpha1.AnchorRotation
	if err := r.Live.Get(t.Context(), client.ObjectKey{Name: "r"}, &run); err != nil {
		t.Fatal(err)
	}
	if c := apimeta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionBlocked); c == nil || !strings.Contains(c.Message, "MeshTrust earlier is older") {
		t.Errorf("it says %+v", c)
	}
	if len(run.Finalizers) > 0 || archived(t, r) {
		t.Error("it was taken up all the same")
	}
}
