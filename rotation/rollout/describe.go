package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

func (p *planner) decide(reason v1alpha1.Reason, message string) {
	p.decision.Reason, p.decision.Message = reason, message
}

// describe says what limits the rolling, after all that may start has started.
func (p *planner) describe(shut, full bool, limit int) {
	switch {
	case p.lowest < 0:
		p.describeRest()
	case p.tooManyFailed():
		p.decide(v1alpha1.FailureThresholdExceeded, p.describeFailures())
	case len(p.state.InProgress) == 0:
		p.describeIdle(shut, full)
	case limit == 1 && p.facts.Policy.MaxConcurrent > 1 && p.state.Completed == 0:
		p.decide(v1alpha1.CanaryInFlight, p.waveName()+" begins with one workload alone")
	default:
		p.decide(v1alpha1.Rolling, fmt.Sprintf("%s in flight in %s, %d done, at most %d at a time",
			count(p.inFlight, "workload"), p.waveName(), p.state.Completed, limit))
	}
	if shut {
		p.again(p.change)
		p.again(p.facts.Breaks)
	}
}

// describeIdle says why nothing is in flight.
func (p *planner) describeIdle(shut, full bool) {
	switch {
	case shut:
		p.decide(v1alpha1.OutsideWindow, fmt.Sprintf("no window is open for %s in %s%s", count(len(p.candidates), "workload"), p.waveName(), p.untilWindow()))
	case full:
		p.decide(v1alpha1.BudgetExhausted, fmt.Sprintf("the budget is taken up by %s in flight that others began", count(p.inFlight, "rollout")))
	default:
		p.describeStandstill()
	}
}

// describeStandstill says why the lowest wave does not end although nothing
// rolls: a workload of it is blocked, or failed.
func (p *planner) describeStandstill() {
	for _, b := range p.decision.Blocked {
		if w := p.byKey[b.Key]; w.Wave == p.lowest && b.Reason != v1alpha1.OptedOut {
			p.decide(b.Reason, fmt.Sprintf("%s holds up %s: %s", b.Key, p.waveName(), b.Message))
			return
		}
	}
	for _, f := range p.state.Failed {
		if w := p.byKey[f.Key]; w != nil && w.Wave == p.lowest {
			p.decide(f.Reason, fmt.Sprintf("%s holds up %s: %s", f.Key, p.waveName(), f.Message))
			return
		}
	}
	p.decide(v1alpha1.Rolling, "nothing is in flight in "+p.waveName())
}

// describeRest says how it stands when there is nothing to start.
func (p *planner) describeRest() {
	switch {
	case len(p.state.Failed) > 0:
		p.decide(p.state.Failed[0].Reason, p.describeFailures())
	case len(p.state.InProgress) > 0:
		p.decide(v1alpha1.Rolling, fmt.Sprintf("%s in flight, nothing left to start", count(len(p.state.InProgress), "workload")))
	case slices.ContainsFunc(p.decision.Blocked, func(b Blocked) bool { return b.Reason == v1alpha1.RolloutInFlight }):
		p.decide(v1alpha1.RolloutInFlight, "what is left waits for rollouts that others began and that do not end")
	default:
		p.decide(v1alpha1.Converged, "every pod that may be rolled carries the bundle")
	}
}

func (p *planner) waveName() string {
	if p.lowest >= 0 && p.lowest < len(p.facts.Waves) {
		return "wave " + p.facts.Waves[p.lowest]
	}
	return fmt.Sprintf("wave %d", p.lowest)
}

func (p *planner) untilWindow() string {
	return until(p.change)
}

func (p *planner) describeFailures() string {
	names := make([]string, 0, len(p.state.Failed))
	for _, f := range p.state.Failed {
		names = append(names, f.Key.String())
	}
	slices.Sort(names)
	if len(names) > 5 {
		names = append(names[:5], fmt.Sprintf("and %d more", len(names)-5))
	}
	message := fmt.Sprintf("%s failed to roll (%s)", count(len(p.state.Failed), "workload"), strings.Join(names, ", "))
	if p.tooManyFailed() {
		message += ": nothing new starts until they are in order or failureThreshold is raised"
	}
	return message
}

func failureMessage(w *Workload, reason v1alpha1.Reason, policy Policy) string {
	switch reason {
	case v1alpha1.StillStale:
		return "its new pods do not carry the bundle either; look at what writes the bundle into them"
	case v1alpha1.EvictionBlocked:
		return "its eviction is refused by " + w.Refused + "; let it allow a disruption"
	default:
		look := "look at its pods"
		switch {
		case w.Refused != "":
			look = "the change is refused: " + w.Refused
		case w.Verb == v1alpha1.VerbAnnotate:
			look = "look at its operator and its pods"
		}
		return fmt.Sprintf("no progress for %s (%s stale, %d terminating, %d of %d available); %s",
			policy.ProgressDeadline, count(len(w.StalePods), "pod"), w.Terminating, w.Owner.Available, w.Owner.Desired, look)
	}
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func until(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return ", until " + clock(t)
}
