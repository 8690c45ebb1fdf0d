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
	wave := p.waveName()
	rolling := len(p.state.InProgress)
	left := len(p.candidates)
	switch {
	case rolling == 0 && shut:
		p.decide(v1alpha1.OutsideWindow, fmt.Sprintf("%s in %s waits for a window%s", count(left, "workload"), wave, p.untilWindow()))
	case rolling == 0 && p.inFlight == 0 && !full:
		p.decide(v1alpha1.Rolling, "what is left in "+wave+" is blocked or failed: see status.rollout")
	case limit == 1 && p.facts.Policy.MaxConcurrent > 1 && p.state.Completed == 0:
		p.decide(v1alpha1.CanaryInFlight, wave+" begins with one workload alone")
	default:
		p.decide(v1alpha1.Rolling, fmt.Sprintf("%s in flight in %s, %d done, at most %d at a time", count(p.inFlight, "workload"), wave, p.state.Completed, limit))
	}
	if shut {
		p.again(nextChange(p.facts.Policy.Windows, p.now))
	}
}

func (p *planner) waveName() string {
	if p.lowest >= 0 && p.lowest < len(p.facts.Waves) {
		return "wave " + p.facts.Waves[p.lowest]
	}
	return fmt.Sprintf("wave %d", p.lowest)
}

func (p *planner) untilWindow() string {
	return until(nextChange(p.facts.Policy.Windows, p.now))
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
	return fmt.Sprintf("%s failed to roll (%s): nothing new starts until they are in order or failureThreshold is raised",
		count(len(p.state.Failed), "workload"), strings.Join(names, ", "))
}

// finish adds what follows from all the rest.
func (p *planner) finish() Decision {
	if p.decision.ETA.IsZero() {
		p.estimate(p.facts.Policy.MaxConcurrent)
	}
	slices.SortFunc(p.state.InProgress, func(a, b Roll) int { return a.Key.compare(b.Key) })
	slices.SortFunc(p.state.Failed, func(a, b Failure) int { return a.Key.compare(b.Key) })
	slices.SortFunc(p.state.Attempts, func(a, b Attempts) int { return a.Key.compare(b.Key) })
	if len(p.state.InProgress) > 0 {
		p.again(p.now.Add(recheck))
	}
	return p.decision
}

func failureMessage(w *Workload, reason v1alpha1.Reason, policy Policy) string {
	switch reason {
	case v1alpha1.StillStale:
		return "its new pods do not carry the bundle either; look at what writes the bundle into them"
	case v1alpha1.EvictionBlocked:
		return "its eviction is refused by " + w.EvictionRefused + "; let it allow a disruption"
	default:
		return fmt.Sprintf("no progress for %s; look at its pods", policy.ProgressDeadline)
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
