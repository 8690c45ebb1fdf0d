package lifecycle_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

// wait is a run that waits in a phase.
type wait struct {
	phase    v1alpha1.Phase
	deadline time.Duration
	set      func(*fixture)
	reason   v1alpha1.Reason
	// fails says that the run ends at the deadline, atOnce that it is blocked
	// before it already.
	fails, atOnce bool
}

// waits has one run or more for each phase. The fixture's files may be 150 s
// old, its clocks 5 min apart, and its leaves live for 24 h and 20 s.
func waits() map[string]wait {
	issuing := func(x *fixture) { x.Issuers[0].Issuing = true }
	leaves := 24*time.Hour + 20*time.Second + 2*5*time.Minute + time.Hour
	return map[string]wait{
		"Preflight fails with what it lacks": {
			phase: v1alpha1.PhasePreflight, deadline: 10 * time.Minute, set: issuing,
			reason: v1alpha1.IssuanceInFlight, fails: true, atOnce: true,
		},
		"a run that waits for an older one does not fail by that": {
			phase: v1alpha1.PhasePreflight, deadline: 10 * time.Minute, set: func(x *fixture) { x.Checks.OtherRun = "first" },
			reason: v1alpha1.AnotherRotation,
		},
		"an anchor's request that failed ends the run": {
			phase: v1alpha1.PhaseNewAnchor, deadline: 10 * time.Minute, set: func(x *fixture) {
				x.next()
				x.Anchors[1].FailedAt = now.Add(-time.Second)
				x.Anchors[1].Issuing = true
			},
			reason: v1alpha1.AnchorIssuing, fails: true,
		},
		"one that is under way still is waited for": {
			phase: v1alpha1.PhaseNewAnchor, deadline: 10 * time.Minute, set: func(x *fixture) { x.next(); x.Anchors[1].Issuing = true },
			reason: v1alpha1.AnchorIssuing,
		},
		"in place, an anchor that is not sheltered is not renewed": {
			phase: v1alpha1.PhaseNewAnchor, deadline: 10 * time.Minute, set: func(x *fixture) { x.inPlace(); x.Archive.Set = set() },
			reason: v1alpha1.KeepingOldAnchor,
		},
		"Widen": {
			phase: v1alpha1.PhaseWiden, deadline: 10 * time.Minute, set: func(*fixture) {},
			reason: v1alpha1.WaitingForBundle,
		},
		"Rolling": {
			phase: v1alpha1.PhaseRolling, deadline: 24 * time.Hour, set: func(x *fixture) { x.Roller.FencedAt = time.Time{} },
			reason: v1alpha1.WaitingForRollout,
		},
		"SwitchIssuer, before it writes": {
			phase: v1alpha1.PhaseSwitchIssuer, deadline: 20 * time.Minute, set: issuing,
			reason: v1alpha1.IssuanceInFlight,
		},
		"SwitchIssuer, which goes on writing": {
			phase: v1alpha1.PhaseSwitchIssuer, deadline: 20 * time.Minute, set: func(*fixture) {},
			reason: v1alpha1.SwitchingIssuer,
		},
		"ConfirmIssuer": {
			phase: v1alpha1.PhaseConfirmIssuer, deadline: 150*time.Second + 5*time.Minute + 20*time.Minute,
			set:    func(x *fixture) { x.confirmed(); x.Identity.Pods[0].Ready = false },
			reason: v1alpha1.ConfirmingIssuer,
		},
		"DrainLeaves": {
			phase: v1alpha1.PhaseDrainLeaves, deadline: leaves,
			set:    func(x *fixture) { x.confirmed(); x.Run.State.InUseAt = now.Add(-time.Minute) },
			reason: v1alpha1.DrainingLeaves,
		},
		"DrainLeaves, with leaves that the spec lets live longer": {
			phase: v1alpha1.PhaseDrainLeaves, deadline: leaves + 24*time.Hour,
			set: func(x *fixture) {
				x.confirmed()
				x.Run.State.InUseAt, x.Policy.LeafLifetime = now.Add(-time.Minute), 48*time.Hour
			},
			reason: v1alpha1.DrainingLeaves,
		},
		"Narrow": {
			phase: v1alpha1.PhaseNarrow, deadline: 10 * time.Minute, set: (*fixture).drained,
			reason: v1alpha1.Narrowing,
		},
		"Verify waits for nothing that is not in its way": {
			phase: v1alpha1.PhaseVerify, deadline: 10 * time.Minute,
			set: func(x *fixture) {
				x.drained()
				x.Bundle.Set, x.Anchors[0].Labelled = set(x.b, x.foreign), false
				x.Pods[0] = pod("web-1", x.a)
			},
			reason: v1alpha1.PodsDoNotTrust, atOnce: true,
		},
		"Aborting": {
			phase: v1alpha1.PhaseAborting, deadline: leaves,
			set: func(x *fixture) {
				x.widened()
				x.Run.Abort = true
				x.turnedBack()
			},
			reason: v1alpha1.Narrowing,
		},
	}
}

// next is the generation of the run, which is not issued.
func (x *fixture) next() {
	c := certificate("mesh-anchor-2", 2, nil)
	c.Labelled = false
	x.Anchors = append(x.Anchors, c)
	x.Run.State.To = &lifecycle.Replaced{Certificate: c.Ref, SecretName: c.SecretName, Revision: 2}
}

// at decides on the run when its phase has lasted for a time.
func (c wait) at(t *testing.T, lasted time.Duration) lifecycle.Decision {
	t.Helper()
	x := newFixture(t)
	x.begin(c.phase)
	c.set(x)
	x.Run.State.Steps[0].StartedAt = now.Add(-lasted)
	return lifecycle.Next(x.Facts, now)
}

func TestEveryPhaseHasADeadline(t *testing.T) {
	missing := map[v1alpha1.Phase]bool{}
	for _, phase := range v1alpha1.Phases() {
		missing[phase] = phase != v1alpha1.PhaseComplete // which is the end
	}
	for name, c := range waits() {
		missing[c.phase] = false
		t.Run(name, func(t *testing.T) {
			before := c.at(t, c.deadline-2*time.Second)
			if before.Reason != c.reason || before.Blocked != c.atOnce || before.State.Outcome != "" || before.State.Phase != c.phase {
				t.Errorf("before: %s, %s, blocked %t, %q: %s", before.State.Phase, before.Reason, before.Blocked, before.State.Outcome, before.Message)
			}
			if before.Again.IsZero() || before.Again.After(now.Add(2*time.Second)) {
				t.Errorf("before: it is looked at again at %s", before.Again)
			}
			if on := c.at(t, c.deadline); on.Blocked != c.atOnce || on.State.Outcome != "" {
				t.Errorf("on the dot: blocked %t, %q: %s", on.Blocked, on.State.Outcome, on.Message)
			}
			c.judgeLate(t, c.at(t, c.deadline+time.Second))
		})
	}
	for phase, lacks := range missing {
		if lacks {
			t.Errorf("the deadline of %s is not tested", phase)
		}
	}
}

func (c wait) judgeLate(t *testing.T, d lifecycle.Decision) {
	t.Helper()
	if d.State.Phase != c.phase {
		t.Errorf("late: in %s", d.State.Phase)
	}
	if c.fails {
		if d.State.Outcome != lifecycle.Failed || d.Blocked {
			t.Errorf("late: %q, blocked %t: %s: %s", d.State.Outcome, d.Blocked, d.Reason, d.Message)
		}
		return
	}
	if d.State.Outcome != "" || !d.Blocked || d.Reason != c.reason {
		t.Errorf("late: %q, blocked %t: %s: %s", d.State.Outcome, d.Blocked, d.Reason, d.Message)
	}
	if says := strings.HasPrefix(d.Message, fmt.Sprintf("for longer than %s: ", c.deadline)); says == c.atOnce {
		t.Errorf("late: it says %q", d.Message)
	}
}

func TestARunThatFailsSaysWhy(t *testing.T) {
	for name, c := range map[string]struct {
		wait wait
		want v1alpha1.Reason
	}{
		"what Preflight lacked": {
			wait{phase: v1alpha1.PhasePreflight, set: func(x *fixture) { x.Checks.Missing = "get x" }}, v1alpha1.PermissionMissing,
		},
		"a generation that could not be created": {
			wait{phase: v1alpha1.PhaseNewAnchor, set: func(*fixture) {}}, v1alpha1.IssuanceFailed,
		},
		"a generation that could not be issued": {
			wait{phase: v1alpha1.PhaseNewAnchor, set: func(x *fixture) { x.next(); x.Anchors[1].FailedAt = now.Add(-time.Hour) }}, v1alpha1.IssuanceFailed,
		},
		"an anchor in place that could not be renewed": {
			wait{phase: v1alpha1.PhaseNewAnchor, set: func(x *fixture) { x.inPlace(); x.Anchors[0].FailedAt = now.Add(-time.Hour) }}, v1alpha1.IssuanceFailed,
		},
	} {
		d := c.wait.at(t, 10*time.Minute+time.Second)
		if d.State.Outcome != lifecycle.Failed || d.Reason != c.want || d.Message == "" {
			t.Errorf("%s: %q, %s: %s", name, d.State.Outcome, d.Reason, d.Message)
		}
		for _, a := range d.Actions {
			if a.Verb == lifecycle.CreateAnchor || a.Verb == lifecycle.Renew {
				t.Errorf("%s: it has failed, and goes on with %s", name, a.Verb)
			}
		}
		if d := c.wait.at(t, 10*time.Minute); d.State.Outcome != "" {
			t.Errorf("%s: it failed on the dot", name)
		}
	}
}
