package rollout

import (
	"slices"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// Operators are the owner kinds whose restart is configured.
type Operators []v1alpha1.OperatorKind

// For returns the entry for an owner, nil without one.
func (o Operators) For(k Key) *v1alpha1.OperatorKind {
	i := slices.IndexFunc(o, func(x v1alpha1.OperatorKind) bool { return x.Group == k.Group && x.Kind == k.Kind })
	if i < 0 {
		return nil
	}
	return &o[i]
}

// reckon fills in what an owner without a readable status does not tell: it
// should have the pods that it has, and while a roll is in flight no fewer than
// when that began, since a pod that is replaced is missing for a while. (An
// operator that makes new pods before it deletes old ones has more meanwhile.)
func (p *planner) reckon(w *Workload) {
	if !w.Owner.ByPods {
		return
	}
	w.Owner.Desired, w.Owner.Updated, w.Owner.Total, w.Owner.Available = w.Pods, w.Pods, w.Pods, w.Ready
	if r := p.state.roll(w.Key); r != nil {
		w.Owner.Desired = max(w.Pods, r.Pods)
		if r.Verb == v1alpha1.VerbEvict { // nobody makes pods ahead of an eviction
			r.Pods = w.Owner.Desired
		}
	}
}

// value is what the roll writes into the annotation. It follows from the stored
// state alone, so a repeat changes nothing.
func (r *Roll) value(a *v1alpha1.RestartAnnotation) string {
	switch {
	case a.Text != "":
		return a.Text
	case a.Value == v1alpha1.RestartTimestamp:
		return r.restartAt().UTC().Format(time.RFC3339)
	default:
		return r.mark()
	}
}

// annotated reports whether the owner carries what the roll writes, or a later
// time, which asks for as much.
func (r *Roll) annotated(w *Workload) bool {
	switch {
	case w.Annotation == nil:
		return false
	case w.Annotation.Value == v1alpha1.RestartTimestamp:
		return !w.RestartAt.Before(r.restartAt())
	default:
		return w.RestartedFor == r.value(w.Annotation)
	}
}

// followAnnotation notes whether the operator was asked. An annotation that has
// gone again is none of a revert: most often its operator has taken it up. One
// that removes a text is done by that; if it left pods as they were (it may have
// overlooked the text), it is asked again.
func (p *planner) followAnnotation(w *Workload, r *Roll) {
	switch shown := r.annotated(w); {
	case !r.Applied && (shown || p.wroteSince(w, r)):
		r.Applied, r.ProgressAt = true, p.now
		// Pods that came since the decision, but before the operator was asked, are
		// not of the roll either.
		r.Before = latest(r.Before, w.AskedAt.Add(-time.Second))
		r.Left = p.left(w, r)
	case !r.Applied && w.Verb == v1alpha1.VerbEvict:
		r.Verb = w.Verb // nothing was written yet, and the user prefers eviction by now
	case r.Applied && !shown && p.overlooked(w, r):
		p.reverted(w, r)
	}
}

func (p *planner) overlooked(w *Workload, r *Roll) bool {
	return w.Annotation != nil && w.Annotation.Text != "" && whole(w, r) && len(p.unwanted(w, r)) > 0 &&
		p.now.Sub(r.ProgressAt) > forgetUnseen && p.state.counted(r.Key).Reverts < maxReverts
}

// replaced reports whether the pods show that a restart is through that replaces
// all pods, those that carry the bundle included: until then it is in flight. An
// operator has no status of a rollout; Argo takes one pod after the other and
// pauses in between, in which all are there and available.
func replaced(w *Workload, r *Roll) bool {
	switch r.Verb {
	case v1alpha1.VerbAnnotate:
		return w.OldestPod.After(r.Before)
	case v1alpha1.VerbRestartAt: // PodRestarter in Argo's restart.go
		return !w.OldestPod.Before(w.RestartAt)
	default:
		return true
	}
}

// restartsAll reports whether the roll is a restart of all pods.
func (r *Roll) restartsAll() bool {
	return r.Verb == v1alpha1.VerbAnnotate || r.Verb == v1alpha1.VerbRestartAt
}

// enough reports whether a restart or an eviction did what the roll was for,
// though not all that was expected: there are fewer pods by now, or those are left
// alone that carry the bundle. Only time can tell.
func (p *planner) enough(w *Workload, r *Roll) bool {
	if !w.Owner.Observed || len(w.StalePods) > 0 || w.Terminating > 0 || w.Ready < w.Pods {
		return false
	}
	if !w.Owner.ByPods {
		return r.Verb == v1alpha1.VerbRestartAt && available(w)
	}
	return r.restartsAll() || len(p.unwanted(w, r)) == 0
}

// asked reports whether an operator was asked already for a restart that is not
// in the state, which may have been lost with the status: its annotation says
// so, and there are pods from before it was set that are to go.
func (p *planner) asked(w *Workload) bool {
	switch {
	case w.Annotation == nil || w.Annotation.Text != "":
		return false // a text that is there counts as a rollout of the owner's own
	case w.Annotation.Value != v1alpha1.RestartTimestamp && attemptOf(w.RestartedFor, p.facts.Bundle.Hash) == 0:
		return false
	default:
		return slices.ContainsFunc(p.toGo(w), func(x Pod) bool { return x.CreatedAt.Before(w.AskedUpTo()) })
	}
}

// AskedUpTo is the time up to which an operator or Argo replaces pods; zero when
// neither was asked.
func (w *Workload) AskedUpTo() time.Time { return latest(w.AskedAt, w.RestartAt) }

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
