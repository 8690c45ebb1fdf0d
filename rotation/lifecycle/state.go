package lifecycle

import (
	"slices"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// Run is the AnchorRotation in force.
type Run struct {
	Name, UID string
	// Suspend, Abort and Deleting are the user's.
	Suspend, Abort, Deleting bool
	Approvals                []v1alpha1.Gate
	Acknowledge              []v1alpha1.Acknowledgement
	// State is what was stored by the last Decision.
	State State
}

// State is what a run must remember because it cannot be observed again. Times
// are in seconds, as the API keeps them, and never earlier than what they tell.
type State struct {
	// Phase is empty before the first decision.
	Phase v1alpha1.Phase
	Path  v1alpha1.Path
	// From is the anchor to be replaced; To the one that replaces it. To has no
	// fingerprint while it is to be issued.
	From, To *Replaced
	// IssuerBefore is the issuer in use before the switch.
	IssuerBefore bundle.Fingerprint
	// SwitchIntendedAt is stored before the issuer is switched; SwitchedAt is
	// when it was first seen signed by the target; InUseAt when leaves were
	// proven to come from it.
	SwitchIntendedAt, SwitchedAt, InUseAt time.Time
	// AbortedFrom is the phase that an abort ended; empty without one.
	AbortedFrom v1alpha1.Phase
	// Steps are the phases entered, each with the time of its last entry.
	Steps []Step
	// Acknowledged is when each entry of spec.acknowledge was first seen.
	Acknowledged []AcknowledgedAt
	// Outcome is how the run ended; empty while it runs.
	Outcome Outcome
}

// Replaced is an anchor as it was when the run took note of it.
type Replaced struct {
	// Anchor tells its fingerprint, subject and validity.
	Anchor bundle.Anchor
	// Certificate, UID, Revision and SecretName are of its Certificate.
	Certificate v1alpha1.ObjectRef
	UID         string
	Revision    int64
	SecretName  string
}

// known reports whether it has been issued.
func (r *Replaced) known() bool { return r != nil && r.Anchor.Fingerprint != (bundle.Fingerprint{}) }

// is reports whether it is the anchor with the fingerprint.
func (r *Replaced) is(f bundle.Fingerprint) bool { return r.known() && r.Anchor.Fingerprint == f }

// Step is a phase that was entered.
type Step struct {
	Phase              v1alpha1.Phase
	StartedAt, EndedAt time.Time
}

// AcknowledgedAt is when an entry of spec.acknowledge was first seen.
type AcknowledgedAt struct {
	Entry string
	At    time.Time
}

// Outcome is how a run ended.
type Outcome string

// The outcomes.
const (
	// Complete: on the new anchor.
	Complete Outcome = "Complete"
	// Failed: on the old anchor, before anything was changed or by an abort.
	Failed Outcome = "Failed"
)

// clone returns a copy that shares nothing that is written to.
func (s State) clone() State {
	s.Steps = slices.Clone(s.Steps)
	s.Acknowledged = slices.Clone(s.Acknowledged)
	return s
}

// enter ends the phase that runs and begins another.
func (s *State) enter(phase v1alpha1.Phase, now time.Time) {
	at := ceil(now)
	for i := range s.Steps {
		if s.Steps[i].Phase == s.Phase && s.Steps[i].EndedAt.IsZero() {
			s.Steps[i].EndedAt = at
		}
	}
	s.Phase = phase
	s.Steps = slices.DeleteFunc(s.Steps, func(x Step) bool { return x.Phase == phase })
	s.Steps = append(s.Steps, Step{Phase: phase, StartedAt: at})
}

// since is when the present phase was entered.
func (s *State) since() time.Time {
	for _, x := range s.Steps {
		if x.Phase == s.Phase {
			return x.StartedAt
		}
	}
	return time.Time{}
}

// end ends the run.
func (s *State) end(o Outcome, now time.Time) {
	if o == Complete {
		s.enter(v1alpha1.PhaseComplete, now)
	}
	s.Steps[len(s.Steps)-1].EndedAt = ceil(now)
	s.Outcome = o
}

// order returns the phases of a path in their order.
func order(p v1alpha1.Path) []v1alpha1.Phase {
	if p == v1alpha1.PathRecover {
		return []v1alpha1.Phase{
			v1alpha1.PhasePreflight, v1alpha1.PhaseNewAnchor, v1alpha1.PhaseWiden, v1alpha1.PhaseSwitchIssuer, v1alpha1.PhaseConfirmIssuer,
			v1alpha1.PhaseRolling, v1alpha1.PhaseDrainLeaves, v1alpha1.PhaseNarrow, v1alpha1.PhaseVerify, v1alpha1.PhaseComplete,
		}
	}
	return []v1alpha1.Phase{
		v1alpha1.PhasePreflight, v1alpha1.PhaseNewAnchor, v1alpha1.PhaseWiden, v1alpha1.PhaseRolling, v1alpha1.PhaseSwitchIssuer,
		v1alpha1.PhaseConfirmIssuer, v1alpha1.PhaseDrainLeaves, v1alpha1.PhaseNarrow, v1alpha1.PhaseVerify, v1alpha1.PhaseComplete,
	}
}

// reached reports whether the run is in phase or behind it, on its own path.
func (s *State) reached(phase v1alpha1.Phase) bool {
	all := order(s.Path)
	return slices.Index(all, s.Phase) >= slices.Index(all, phase)
}

// ceil cuts a time to what the API keeps, never to an earlier one: waits are
// counted from it.
func ceil(t time.Time) time.Time {
	cut := t.Truncate(time.Second)
	if cut.Before(t) {
		cut = cut.Add(time.Second)
	}
	return cut
}
