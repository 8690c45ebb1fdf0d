package anchorrotation

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/lifecycle"
	"github.com/reanchor/reanchor/rotation/record"
)

// Reporter tells people and machines what was decided and done. Nothing reads
// it back.
type Reporter struct {
	events  record.Events
	metrics *Metrics

	mu sync.Mutex
	// written is when the status of each mesh's run was written last.
	written map[string]time.Time
	// lacking is which rights were said last to be missing, for each mesh.
	lacking map[string]string
}

// NewReporter returns a Reporter that writes events and sets metrics.
func NewReporter(recorder events.EventRecorder, metrics *Metrics) *Reporter {
	return &Reporter{events: record.NewEvents(recorder), metrics: metrics, written: map[string]time.Time{}, lacking: map[string]string{}}
}

func (r *Reporter) statusDue(mesh string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return now.Sub(r.written[mesh]) >= statusEvery
}

func (r *Reporter) statusWritten(mesh string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written[mesh] = now
}

// lacks notes which rights are missing, and reports whether that is news.
func (r *Reporter) lacks(mesh, rights string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.lacking[mesh]
	r.lacking[mesh] = rights
	return rights != "" && rights != before
}

func (r *Reporter) forget(mesh string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.written, mesh)
	delete(r.lacking, mesh)
	r.metrics.forget(mesh)
}

// decided shows what was decided on.
func (r *Reporter) decided(mt *v1alpha1.MeshTrust, run *v1alpha1.AnchorRotation, d lifecycle.Decision, now time.Time) {
	s := shown{exposed: d.Exposed}
	if run != nil && d.State.Outcome == "" {
		s.phase, s.since = d.State.Phase, since(d.State, now)
		if d.Blocked {
			s.blocked = d.Reason
		}
	}
	r.metrics.show(mt.Name, s)
}

// waits shows a run that nothing can be decided on.
func (r *Reporter) waits(mesh string, run *v1alpha1.AnchorRotation, why v1alpha1.Reason) {
	s := shown{phase: v1alpha1.PhasePreflight, since: run.CreationTimestamp.Time, blocked: why}
	if n := len(run.Status.Steps); n > 0 {
		s.phase, s.since = run.Status.Steps[n-1].Phase, run.Status.Steps[n-1].StartedAt.Time
	}
	r.metrics.show(mesh, s)
}

// since is when the present phase was entered.
func since(s lifecycle.State, now time.Time) time.Time {
	if n := len(s.Steps); n > 0 {
		return s.Steps[n-1].StartedAt
	}
	return now
}

// changed writes an event for every condition that a stored status changed, and
// counts runs that ended.
func (r *Reporter) changed(before, after *v1alpha1.AnchorRotation) {
	for _, kind := range v1alpha1.AnchorRotationConditions() {
		was, is := apimeta.FindStatusCondition(before.Status.Conditions, kind), apimeta.FindStatusCondition(after.Status.Conditions, kind)
		if !turned(kind, was, is) {
			continue
		}
		bad := is.Status == metav1.ConditionTrue && (kind == v1alpha1.ConditionFailed || kind == v1alpha1.ConditionBlocked || kind == v1alpha1.ConditionSigningExposed)
		r.events.Write(record.Event{On: after, Type: eventTypeOf(bad), Reason: is.Reason, Action: "Rotate"}, "%s is %s: %s", kind, is.Status, is.Message)
	}
	if outcome := outcomeOf(after); outcome != "" && outcomeOf(before) == "" {
		r.metrics.ended(after.Spec.MeshTrustRef.Name, outcome)
	}
}

// turned reports whether a condition changed in a way that is news: the first
// False of something that has not happened is none.
func turned(kind string, was, is *metav1.Condition) bool {
	switch {
	case is == nil:
		return false
	case was == nil:
		return is.Status == metav1.ConditionTrue
	default:
		return was.Status != is.Status || was.Reason != is.Reason && (is.Status == metav1.ConditionTrue || kind == v1alpha1.ConditionProgressing)
	}
}

// about is what an event is on: the run, or the MeshTrust where there is none.
func about(w *world) runtime.Object {
	if w.run != nil {
		return w.run
	}
	return w.mt
}

func (r *Reporter) acted(w *world, reason v1alpha1.Reason, a lifecycle.Action) {
	r.metrics.wrote(w.mt.Name, a.Verb)
	r.events.Write(record.Event{On: about(w), Type: corev1.EventTypeNormal, Reason: string(reason), Action: string(a.Verb)}, "%s", describe(a))
}

// failed tells of a write that was refused. Errors name objects and reasons,
// never what a Secret holds.
func (r *Reporter) failed(w *world, reason v1alpha1.Reason, a lifecycle.Action, err error) {
	r.metrics.failed(w.mt.Name, a.Verb)
	r.events.Write(record.Event{On: about(w), Type: corev1.EventTypeWarning, Reason: string(reason), Action: string(a.Verb)}, "%s: %s", describe(a), err)
}

func (r *Reporter) opened(mt *v1alpha1.MeshTrust, run client.Object, why string) {
	r.events.Write(record.Event{On: mt, Type: corev1.EventTypeNormal, Reason: string(v1alpha1.RotationOpened), Action: "Open"}, "opened AnchorRotation %s: %s", run.GetName(), why)
}

func (r *Reporter) forbidden(mt *v1alpha1.MeshTrust, message string) {
	r.events.Write(record.Event{On: mt, Type: corev1.EventTypeWarning, Reason: string(v1alpha1.PermissionMissing), Action: "Observe"}, "%s", message)
}

// abandoned tells of a run that is deleted midway and that nothing follows.
func (r *Reporter) abandoned(run *v1alpha1.AnchorRotation, why string) {
	r.events.Write(record.Event{On: run, Type: corev1.EventTypeWarning, Reason: string(v1alpha1.InvalidSpec), Action: "Release"}, "%s", why)
}

func (r *Reporter) misscheduled(mt *v1alpha1.MeshTrust, err error) {
	r.events.Write(record.Event{On: mt, Type: corev1.EventTypeWarning, Reason: string(v1alpha1.InvalidSpec), Action: "Rotate"}, "%s", err)
}

// describe says in a few words what a write does.
func describe(a lifecycle.Action) string {
	on := "Certificate " + a.Object.Namespace + "/" + a.Object.Name
	switch a.Verb {
	case lifecycle.WriteArchive:
		return "keeping the certificates of the own anchors in the archive"
	case lifecycle.WriteCarrier:
		return "writing the anchors that no other source brings"
	case lifecycle.WriteBundle:
		return "writing the bundle " + short(a.Set.Hash())
	case lifecycle.KeepAnchor:
		return "keeping a copy of the anchor's Secret in Secret " + a.Secret
	case lifecycle.DropKept:
		return "deleting the copy of the old anchor's Secret, " + a.Secret
	case lifecycle.PointIssuer:
		return "pointing the ClusterIssuer at Secret " + a.Secret
	case lifecycle.RestartIdentity:
		return "restarting the signing service, " + a.Workload.String()
	default:
		return describeCertificate(a, on)
	}
}

func describeCertificate(a lifecycle.Action, on string) string {
	switch {
	case a.Verb == lifecycle.CreateAnchor:
		return "creating the next generation of the anchor, " + on
	case a.Verb == lifecycle.DeleteAnchor:
		return "deleting a generation that nothing needs, " + on
	case a.Verb == lifecycle.Renew:
		return "asking for a renewal of " + on
	case a.Verb == lifecycle.LabelAnchor && a.On:
		return "adding an anchor to the sources of the bundle, " + on
	case a.Verb == lifecycle.LabelAnchor:
		return "taking an anchor from the sources of the bundle, " + on
	case a.On:
		return "holding back renewals by itself of " + on
	default:
		return "letting renewals by itself go on of " + on
	}
}

// short keeps enough of a hash for a person to compare.
func short(hash string) string { return hash[:min(len(hash), 11)] }
