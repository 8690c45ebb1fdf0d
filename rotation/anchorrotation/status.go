package anchorrotation

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/lifecycle"
	"github.com/reanchor/reanchor/rotation/record"
)

// statusEvery is the least time between two writes of a status in which only
// words and counts changed.
const statusEvery = 2 * time.Second

// store writes the decision into the run's status, with the resourceVersion that
// was decided on. It must succeed before anything is done.
func (r *Reconciler) store(ctx context.Context, w *world, d lifecycle.Decision, now time.Time) error {
	if w.run == nil {
		return nil
	}
	next := w.run.DeepCopy()
	render(next, d, now)
	if equality.Semantic.DeepEqual(next.Status, w.run.Status) {
		return nil
	}
	if equality.Semantic.DeepEqual(essence(&next.Status), essence(&w.run.Status)) && !r.Reporter.statusDue(w.mt.Name, now) {
		return nil
	}
	if err := record.UpdateStatus(ctx, r.Client, next); err != nil {
		return fmt.Errorf("writing the status of AnchorRotation %s: %w", next.Name, err)
	}
	r.Reporter.statusWritten(w.mt.Name, now)
	r.Reporter.changed(w.run, next)
	w.run = next
	return nil
}

// essence is a status without what changes with every pod.
func essence(s *v1alpha1.AnchorRotationStatus) v1alpha1.AnchorRotationStatus {
	out := *s.DeepCopy()
	out.Progress = ""
	for i := range out.Conditions {
		out.Conditions[i].Message = ""
	}
	for i := range out.BlockedBy {
		out.BlockedBy[i].Message = ""
	}
	for i := range out.Steps {
		out.Steps[i].Message = ""
	}
	return out
}

// render writes a decision into a status.
func render(run *v1alpha1.AnchorRotation, d lifecycle.Decision, now time.Time) {
	s := &run.Status
	s.ObservedGeneration = run.Generation
	storeState(s, &d.State)
	s.Progress = d.Progress
	if n := len(s.Steps); n > 0 && s.Steps[n-1].CompletedAt == nil {
		s.Steps[n-1].Message = record.Clip(d.Message)
	}
	s.BlockedBy, s.BlockedByTotal = nil, int32(len(d.BlockedBy))
	for _, b := range d.BlockedBy[:min(len(d.BlockedBy), v1alpha1.MaxBlocked)] {
		s.BlockedBy = append(s.BlockedBy, v1alpha1.BlockedWorkload{WorkloadRef: b.Workload, Reason: b.Reason, Message: record.Clip(b.Message)})
	}
	for _, c := range conditions(d) {
		setCondition(run, c, now)
	}
}

// setCondition adds a condition, with the message cut to what the API takes.
func setCondition(run *v1alpha1.AnchorRotation, c metav1.Condition, now time.Time) {
	c.Reason = cmp.Or(c.Reason, string(v1alpha1.NotObserved))
	c.Message = record.Clip(c.Message)
	c.ObservedGeneration, c.LastTransitionTime = run.Generation, metav1.NewTime(now.Truncate(time.Second))
	apimeta.SetStatusCondition(&run.Status.Conditions, c)
}

// conditions returns what a decision means to those who wait. An ended run's
// phase stays the one that it ended in.
func conditions(d lifecycle.Decision) []metav1.Condition {
	running := d.State.Outcome == ""
	phase := string(d.State.Phase)
	message := d.Message
	if d.AbortRefused != "" {
		message = "the abort is refused: " + d.AbortRefused + "; " + message
	}
	blocked := condition(v1alpha1.ConditionBlocked, running && d.Blocked, string(d.Reason), message)
	exposed := condition(v1alpha1.ConditionSigningExposed, d.Exposed, string(v1alpha1.PodsDoNotTrust),
		"an issuer that renews itself now would be signed by an anchor that not every pod trusts")
	if !d.Exposed {
		exposed.Reason, exposed.Message = string(v1alpha1.EveryPodTrusts), "what would sign an issuer next is trusted, or held back"
	}
	return []metav1.Condition{
		condition(v1alpha1.ConditionComplete, d.State.Outcome == lifecycle.Complete, string(d.Reason), message),
		condition(v1alpha1.ConditionFailed, d.State.Outcome == lifecycle.Failed, string(d.Reason), message),
		condition(v1alpha1.ConditionProgressing, running, phase, message),
		blocked, exposed,
	}
}

func condition(kind string, yes bool, reason, message string) metav1.Condition {
	status := metav1.ConditionFalse
	if yes {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
}
