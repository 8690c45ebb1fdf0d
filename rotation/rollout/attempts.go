package rollout

import (
	"slices"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// consider makes the workload a candidate, or a failure when it has had all its
// attempts. One that is in flight is counted already, and one whose template is
// marked already goes on with the evictions.
func (p *planner) consider(w *Workload, inPlace, begun bool) {
	counted, marked := p.state.counted(w.Key), attemptOf(w.RestartedFor, p.facts.Bundle.Hash)
	tries := p.tried(w, begun)
	spent := tries >= p.facts.Policy.MaxAttempts && !onlyLeaves(w)
	if spent {
		p.fail(w, v1alpha1.StillStale, tries)
	}
	failed := p.state.failure(w.Key) != nil
	if !failed || w.Wave == 0 {
		p.reach(w.Wave)
	}
	if spent {
		return
	}
	c := candidate{w: w, verb: w.Verb, attempt: max(counted.Count, marked) + 1, tries: nextTry(w, tries), again: failed, counted: inPlace}
	switch {
	case begun:
		c.attempt, c.marked = marked, true
	case c.verb == v1alpha1.VerbRestart && counted.Reverts >= maxReverts:
		c.verb = v1alpha1.VerbEvict
	}
	p.candidates = append(p.candidates, c)
}

// onlyLeaves reports whether the workload is to be rolled for its leaves alone.
// That is no attempt to bring it the bundle, which its pods carry, and it ends by
// itself: a pod that is created now has a new leaf.
func onlyLeaves(w *Workload) bool {
	return len(w.StalePods) > 0 && !slices.ContainsFunc(w.StalePods, func(x Pod) bool { return !x.LeafOnly })
}

// nextTry is the number of the next try after so many.
func nextTry(w *Workload, tries int) int {
	if onlyLeaves(w) {
		return max(tries, 1)
	}
	return tries + 1
}

// tried is how often the workload was rolled for this bundle, without what has
// begun: by the state, or by its mark when the state does not tell.
func (p *planner) tried(w *Workload, begun bool) int {
	if n := p.state.counted(w.Key).Count; n > 0 || begun || !p.sincePublished(w.StalePods) {
		return n
	}
	return attemptOf(w.RestartedFor, p.facts.Bundle.Hash)
}

// sincePublished reports whether one of the pods that lack the bundle was created
// since it was published. If none was, a mark of this bundle is from an earlier time
// that the same bundle was in force, and no attempt of now.
func (p *planner) sincePublished(pods []Pod) bool {
	return slices.ContainsFunc(pods, func(x Pod) bool { return !x.LeafOnly && !x.CreatedAt.Before(p.facts.Bundle.PublishedAt) })
}
