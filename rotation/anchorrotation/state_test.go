package anchorrotation

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/rotation/lifecycle"
	"github.com/reanchor/reanchor/rotation/record"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func root(t *testing.T, name string) bundle.Anchor {
	t.Helper()
	ca := bundletest.NewRoot(t, name, bundletest.From(noon.Add(-time.Hour), 1000*time.Hour))
	return bundle.Of(ca.Cert).Anchors()[0]
}

// A state that is stored and read back by the next leader is the same state.
func TestAStateSurvivesItsStatus(t *testing.T) {
	from, to := root(t, "from"), root(t, "to")
	state := lifecycle.State{
		Phase: v1alpha1.PhaseRolling, Path: v1alpha1.PathRotate,
		From: &lifecycle.Replaced{Anchor: from, Certificate: v1alpha1.ObjectRef{Namespace: "n", Name: "a"}, UID: "u", Revision: 3, SecretName: "s"},
		To:   &lifecycle.Replaced{Anchor: to, SecretName: "t"}, IssuerBefore: from.Fingerprint,
		SwitchIntendedAt: noon, SwitchedAt: noon.Add(time.Second), InUseAt: noon.Add(time.Minute), AbortedFrom: v1alpha1.PhaseWiden,
		Steps: []lifecycle.Step{
			{Phase: v1alpha1.PhaseRolling, StartedAt: noon, EndedAt: noon}, {Phase: v1alpha1.PhaseWiden, StartedAt: noon, EndedAt: noon},
			{Phase: v1alpha1.PhaseRolling, StartedAt: noon.Add(time.Second)},
		},
		Acknowledged: []lifecycle.AcknowledgedAt{{Entry: "node/a", At: noon}},
	}
	state.Steps = state.Steps[1:]
	var run v1alpha1.AnchorRotation
	storeState(&run.Status, &state)
	got := runOf(&run, bundle.FromAnchors(from, to)).State
	compare := cmp.Comparer(func(a, b bundle.Anchor) bool {
		return a.Fingerprint == b.Fingerprint && (a.Certificate() == nil) == (b.Certificate() == nil)
	})
	if diff := cmp.Diff(state, got, compare); diff != "" {
		t.Errorf("read back (-stored +read):\n%s", diff)
	}
	bare := runOf(&run, bundle.Set{}).State
	if bare.From.Anchor.Fingerprint != from.Fingerprint || !bare.From.Anchor.NotAfter.Equal(from.NotAfter) || bare.From.Anchor.Certificate() != nil {
		t.Errorf("without its certificate an anchor is known by summary, got %+v", bare.From.Anchor)
	}
}

func TestAnAnchorThatIsStillToBeIssuedIsNoAnchor(t *testing.T) {
	var run v1alpha1.AnchorRotation
	storeState(&run.Status, &lifecycle.State{To: &lifecycle.Replaced{SecretName: "next", Revision: 2}})
	to := runOf(&run, bundle.Set{}).State.To
	if to == nil || to.Anchor.Fingerprint != (bundle.Fingerprint{}) || to.SecretName != "next" || to.Revision != 2 {
		t.Errorf("got %+v", to)
	}
}

func ended(name string, kind string, s v1alpha1.AnchorRotationStatus) v1alpha1.AnchorRotation {
	run := v1alpha1.AnchorRotation{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: s}
	if kind != "" {
		run.Status.Conditions = []metav1.Condition{{Type: kind, Status: metav1.ConditionTrue, Reason: "x", LastTransitionTime: metav1.NewTime(noon)}}
	}
	return run
}

func TestWhichEarlierIssuersMayHaveLiveLeaves(t *testing.T) {
	at := func(d time.Duration) *metav1.Time { x := metav1.NewTime(noon.Add(d)); return &x }
	earlier := []v1alpha1.EarlierIssuer{
		{Fingerprint: "before", ReplacedAt: at(-time.Minute)}, {Fingerprint: "after", ReplacedAt: at(time.Minute)}, {Fingerprint: "undated"},
	}
	narrow := []v1alpha1.RotationStep{{Phase: v1alpha1.PhaseDrainLeaves, StartedAt: *at(0)}, {Phase: v1alpha1.PhaseNarrow, StartedAt: *at(time.Second)}}
	all, left := []string{"before", "after", "undated"}, []string{"after", "undated"}
	for name, c := range map[string]struct {
		run  v1alpha1.AnchorRotation
		want []string
	}{
		"a run that drains still":                 {ended("r", "", v1alpha1.AnchorRotationStatus{IssuerInUseAt: at(0), Steps: narrow[:1]}), all},
		"a run that has drained":                  {ended("r", "", v1alpha1.AnchorRotationStatus{IssuerInUseAt: at(0), Steps: narrow}), left},
		"a run that was thrown back from Narrow":  {ended("r", "", v1alpha1.AnchorRotationStatus{IssuerInUseAt: at(time.Hour), Steps: narrow}), all},
		"a run that completed":                    {ended("r", v1alpha1.ConditionComplete, v1alpha1.AnchorRotationStatus{IssuerInUseAt: at(0), Steps: narrow}), left},
		"an abort on its way back":                {ended("r", "", v1alpha1.AnchorRotationStatus{IssuerInUseAt: at(0), Steps: narrow, AbortedFrom: v1alpha1.PhaseDrainLeaves}), all},
		"an abort that ended":                     {ended("r", v1alpha1.ConditionFailed, v1alpha1.AnchorRotationStatus{IssuerInUseAt: at(0), AbortedFrom: v1alpha1.PhaseDrainLeaves}), left},
		"a run that failed before it did a thing": {ended("r", v1alpha1.ConditionFailed, v1alpha1.AnchorRotationStatus{}), all},
	} {
		var got []string
		for _, e := range LiveIssuers(earlier, []v1alpha1.AnchorRotation{c.run}) {
			got = append(got, e.Fingerprint)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestTheRunInForceIsTheOldestThatHasNotEnded(t *testing.T) {
	begun := v1alpha1.AnchorRotationStatus{FromAnchor: &v1alpha1.RotationCertificate{}}
	for name, c := range map[string]struct {
		runs []v1alpha1.AnchorRotation
		want string
	}{
		"none":                      {nil, ""},
		"all have ended":            {[]v1alpha1.AnchorRotation{ended("a", v1alpha1.ConditionComplete, begun)}, ""},
		"the first":                 {[]v1alpha1.AnchorRotation{ended("a", v1alpha1.ConditionFailed, begun), ended("b", "", begun), ended("c", "", begun)}, "b"},
		"one that has begun before": {[]v1alpha1.AnchorRotation{ended("a", "", v1alpha1.AnchorRotationStatus{}), ended("b", "", begun)}, "b"},
	} {
		got := ""
		if run := oldestActive(c.runs); run != nil {
			got = run.Name
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestLeavesAreRestartedOnlyWhileTheyDrain(t *testing.T) {
	inUse := metav1.NewTime(noon)
	mt := v1alpha1.MeshTrust{Spec: v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd, Rotation: &v1alpha1.RotationSpec{Leaves: v1alpha1.LeavesRestart}}}
	spec := mt.EffectiveSpec()
	run := ended("r", "", v1alpha1.AnchorRotationStatus{IssuerInUseAt: &inUse, Steps: []v1alpha1.RotationStep{{Phase: v1alpha1.PhaseDrainLeaves}}})
	skew := spec.Admission.ClockSkew.Duration
	late := noon.Add(2*skew + 2*time.Second)
	if got, want := RestartBefore(&spec, []v1alpha1.AnchorRotation{run}, late), noon.Add(skew+time.Second); !got.Equal(want) {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := RestartBefore(&spec, []v1alpha1.AnchorRotation{run}, late.Add(-time.Second)); !got.IsZero() {
		t.Errorf("a pod created now may be taken for an older one, got %s", got)
	}
	run.Status.Steps[0].Phase = v1alpha1.PhaseNarrow
	if got := RestartBefore(&spec, []v1alpha1.AnchorRotation{run}, late); !got.IsZero() {
		t.Errorf("nothing is to be restarted behind DrainLeaves, got %s", got)
	}
	spec.Rotation.Leaves = v1alpha1.LeavesExpire
	run.Status.Steps[0].Phase = v1alpha1.PhaseDrainLeaves
	if got := RestartBefore(&spec, []v1alpha1.AnchorRotation{run}, late); !got.IsZero() {
		t.Errorf("nothing is to be restarted with leaves: Expire, got %s", got)
	}
}

func TestTheConditionsOfADecision(t *testing.T) {
	type told struct{ Status, Reason string }
	for name, c := range map[string]struct {
		d    lifecycle.Decision
		want map[string]told
	}{
		"a run that waits": {
			lifecycle.Decision{State: lifecycle.State{Phase: v1alpha1.PhaseRolling}, Reason: v1alpha1.WaitingForRollout},
			map[string]told{"Progressing": {"True", "Rolling"}, "Blocked": {"False", "WaitingForRollout"}, "Complete": {"False", "WaitingForRollout"}},
		},
		"a run that is blocked": {
			lifecycle.Decision{State: lifecycle.State{Phase: v1alpha1.PhaseSwitchIssuer}, Reason: v1alpha1.BarePod, Blocked: true},
			map[string]told{"Progressing": {"True", "SwitchIssuer"}, "Blocked": {"True", "BarePod"}},
		},
		"a run that is complete": {
			lifecycle.Decision{State: lifecycle.State{Phase: v1alpha1.PhaseComplete, Outcome: lifecycle.Complete}, Reason: v1alpha1.RotationComplete},
			map[string]told{"Progressing": {"False", "Complete"}, "Complete": {"True", "RotationComplete"}, "Failed": {"False", "RotationComplete"}},
		},
		"an issuer that must not renew itself": {
			lifecycle.Decision{State: lifecycle.State{Phase: v1alpha1.PhaseRolling}, Reason: v1alpha1.Rolling, Exposed: true},
			map[string]told{"SigningExposed": {"True", "PodsDoNotTrust"}},
		},
	} {
		var run v1alpha1.AnchorRotation
		render(&run, c.d, noon)
		got := map[string]told{}
		for _, x := range run.Status.Conditions {
			got[x.Type] = told{string(x.Status), x.Reason}
		}
		only := cmpopts.IgnoreMapEntries(func(k string, _ told) bool { _, ok := c.want[k]; return !ok })
		if diff := cmp.Diff(c.want, got, only); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// The API takes so many entries; the total says how many there are.
func TestOfTooManyBlockersTheFirstAreListedAndAllCounted(t *testing.T) {
	blockers := make([]lifecycle.Blocked, v1alpha1.MaxBlocked+1)
	for i := range blockers {
		blockers[i].Workload = v1alpha1.WorkloadRef{Namespace: "n", Kind: "Pod", Name: fmt.Sprintf("bare-%02d", i)}
		blockers[i].Reason, blockers[i].Message = v1alpha1.BarePod, strings.Repeat("m", record.MostText+1)
	}
	for _, n := range []int{0, 1, v1alpha1.MaxBlocked, v1alpha1.MaxBlocked + 1} {
		var run v1alpha1.AnchorRotation
		render(&run, lifecycle.Decision{BlockedBy: blockers[:n]}, noon)
		got := run.Status.BlockedBy
		if listed := min(n, 50); len(got) != listed || run.Status.BlockedByTotal != int32(n) {
			t.Fatalf("of %d: %d listed, %d counted", n, len(got), run.Status.BlockedByTotal)
		}
		for i, b := range got {
			if b.Name != blockers[i].Workload.Name || b.Reason != v1alpha1.BarePod || len(b.Message) != record.MostText {
				t.Errorf("of %d: the entry %d is %s, %s, with %d bytes of message", n, i, b.Name, b.Reason, len(b.Message))
			}
		}
	}
}

// What the status of the MeshTrust says counts for the rotation.
func TestTheRecordOfTheMeshTrustIsRead(t *testing.T) {
	old, foreign, since := root(t, "old"), root(t, "foreign"), metav1.NewTime(noon)
	mt := &v1alpha1.MeshTrust{Status: v1alpha1.MeshTrustStatus{
		Bundle: &v1alpha1.BundleStatus{Anchors: []v1alpha1.AnchorStatus{
			{Fingerprint: old.Fingerprint.String(), Own: true}, {Fingerprint: foreign.Fingerprint.String()},
		}},
		Issuer: &v1alpha1.IssuerStatus{
			VerifiedBy: []string{old.Fingerprint.String()}, SignedSince: &since, EarlierTotal: 2,
			Earlier: []v1alpha1.EarlierIssuer{{Fingerprint: "x", VerifiedBy: []string{old.Fingerprint.String()}, LeavesUntil: since}},
		},
	}}
	w := &world{mt: mt, spec: mt.EffectiveSpec()}
	issuer := rollerOf(w).Issuer
	if issuer == nil || !issuer.VerifiedBy.Contains(old.Fingerprint) || !issuer.Since.Equal(noon) {
		t.Errorf("the issuer on record is %+v", issuer)
	}
	f := &lifecycle.Facts{Bundle: lifecycle.Bundle{Set: bundle.FromAnchors(old, foreign)}, Marked: markedOf(mt)}
	f.Earlier = earlierOf(w, f)
	if len(f.Earlier) != 2 {
		t.Errorf("%d earlier issuers, want the one of the list, and one for those that were cut from it", len(f.Earlier))
	}
	if own := lifecycle.OwnAnchors(f); !own.Contains(old.Fingerprint) || own.Contains(foreign.Fingerprint) {
		t.Errorf("the own anchors are %v, want the marked one alone", own)
	}
	mt.Status.Issuer = nil
	if rollerOf(w).Issuer != nil {
		t.Error("there is no issuer on record")
	}
}
