package rotation

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/record"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// reporter tells people and machines what was decided and done: events on the
// MeshTrust and on workloads, and metrics. Nothing reads it back.
type reporter struct {
	events  record.Events
	metrics *Metrics

	mu sync.Mutex
	// written is when each status was written last.
	written map[string]time.Time
}

func newReporter(recorder events.EventRecorder, metrics *Metrics) *reporter {
	return &reporter{events: record.NewEvents(recorder), metrics: metrics, written: map[string]time.Time{}}
}

func (r *reporter) statusDue(name string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return now.Sub(r.written[name]) >= statusEvery
}

func (r *reporter) statusWritten(name string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written[name] = now
}

func (r *reporter) forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.written, name)
	r.metrics.forget(name)
}

// decided reports a decision that has been stored.
func (r *reporter) decided(before, mt *v1alpha1.MeshTrust, d rollout.Decision, find finder) {
	r.metrics.observe(mt, d)
	for _, kind := range v1alpha1.MeshTrustConditions() {
		was, is := apimeta.FindStatusCondition(before.Status.Conditions, kind), apimeta.FindStatusCondition(mt.Status.Conditions, kind)
		if worthAnEvent(kind, was, is) {
			r.events.Write(record.Event{On: mt, Type: eventType(kind, string(is.Status)), Reason: is.Reason, Action: "Observe"}, "%s is %s: %s", kind, is.Status, is.Message)
		}
	}
	for _, e := range d.Ended {
		kind := corev1.EventTypeNormal
		if e.Failed {
			kind = corev1.EventTypeWarning
		}
		r.both(mt, find(e.Key), note{kind, e.Reason, "Roll", e.Message})
	}
	for _, key := range givenWay(before, mt) {
		r.both(mt, find(key), note{corev1.EventTypeWarning, v1alpha1.RevertedTwice, "Roll",
			"somebody removes the annotation " + v1alpha1.RestartedForAnnotation + " from its template; its pods are evicted instead"})
	}
}

// refused reports that a MeshTrust is left alone, and why.
func (r *reporter) refused(before, mt *v1alpha1.MeshTrust) {
	r.metrics.show(mt)
	was := apimeta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionReady)
	is := apimeta.FindStatusCondition(mt.Status.Conditions, v1alpha1.ConditionReady)
	if is != nil && (was == nil || was.Reason != is.Reason) {
		r.events.Write(record.Event{On: mt, Type: corev1.EventTypeWarning, Reason: is.Reason, Action: "Observe"}, "%s", is.Message)
	}
}

// worthAnEvent reports whether a condition changed in more than its message.
// Ready only sums up the others, but for the order of webhooks, which no other
// tells of.
func worthAnEvent(kind string, was, is *metav1.Condition) bool {
	if is == nil || kind == v1alpha1.ConditionReady && is.Reason != string(v1alpha1.StampOrder) {
		return false
	}
	return was == nil || was.Status != is.Status || was.Reason != is.Reason
}

// givenWay returns the workloads that begin to be rolled by eviction, since the
// mark was removed from their template again and again.
func givenWay(before, mt *v1alpha1.MeshTrust) []rollout.Key {
	evicted, reverted := map[rollout.Key]bool{}, map[rollout.Key]bool{}
	for _, w := range before.Status.Rollout.InProgress {
		evicted[keyOf(w.WorkloadRef)] = w.Verb == v1alpha1.VerbEvict
	}
	for _, a := range mt.Status.Rollout.Attempts {
		reverted[keyOf(a.WorkloadRef)] = a.Reverts > 0
	}
	var out []rollout.Key
	for _, w := range mt.Status.Rollout.InProgress {
		if key := keyOf(w.WorkloadRef); w.Verb == v1alpha1.VerbEvict && !evicted[key] && reverted[key] {
			out = append(out, key)
		}
	}
	return out
}

// eventType: what keeps pods stale or rolls failing is a warning; that rolling
// goes on, or that a step is not safe yet, is not.
func eventType(condition, status string) string {
	switch condition {
	case v1alpha1.ConditionConverged, v1alpha1.ConditionSafeToSwitchIssuer, v1alpha1.ConditionSafeToNarrow:
		return corev1.EventTypeNormal
	}
	if status == "False" {
		return corev1.EventTypeWarning
	}
	return corev1.EventTypeNormal
}

// acted reports a write to a workload.
func (r *reporter) acted(mt *v1alpha1.MeshTrust, a rollout.Action, find finder) {
	r.metrics.wrote(mt.Name, a.Verb)
	if a.Verb == v1alpha1.VerbEvict {
		r.both(mt, find(a.Key), note{corev1.EventTypeNormal, v1alpha1.Evicted, "Evict", "evicted pod " + a.Pod.Name + " to replace its trust bundle"})
		return
	}
	r.both(mt, find(a.Key), note{corev1.EventTypeNormal, v1alpha1.Restarted, "Roll", "rolled for trust bundle " + shortHash(rollout.Mark(mt.Status.Rollout.BundleHash, a.Attempt))})
}

// note is what an event says.
type note struct {
	kind    string
	reason  v1alpha1.Reason
	action  string
	message string
}

// both writes an event on the MeshTrust and one on the workload.
func (r *reporter) both(mt *v1alpha1.MeshTrust, workload *corev1.ObjectReference, n note) {
	r.events.Write(record.Event{On: mt, With: workload, Type: n.kind, Reason: string(n.reason), Action: n.action}, "%s %s/%s: %s", workload.Kind, workload.Namespace, workload.Name, n.message)
	r.events.Write(record.Event{On: workload, With: mt, Type: n.kind, Reason: string(n.reason), Action: n.action}, "%s (MeshTrust %s)", n.message, mt.Name)
}

// finder returns the reference to a workload.
type finder func(rollout.Key) *corev1.ObjectReference

// referenceTo refers to a workload. kubectl describe shows the events with the
// UID of the object only; it is empty where the workload has gone.
func referenceTo(key rollout.Key, uid types.UID) *corev1.ObjectReference {
	version := "v1"
	if key.Group == "argoproj.io" {
		version = "v1alpha1"
	}
	if key.Group != "" {
		version = key.Group + "/" + version
	}
	return &corev1.ObjectReference{APIVersion: version, Kind: key.Kind, Namespace: key.Namespace, Name: key.Name, UID: uid}
}

// shortHash keeps enough of a mark for a person to compare.
func shortHash(mark string) string {
	const most = 15
	if len(mark) <= most {
		return mark
	}
	return mark[:most] + "..."
}
