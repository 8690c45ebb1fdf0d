package rollout_test

import (
	"slices"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// operating is how the operator of a custom resource restarts pods, if the owner
// is one.
type operating int

const (
	notOperated operating = iota
	// byToken and byTime: it replaces the pods that lack the annotation's value.
	byToken
	byTime
	// byText: it replaces all pods that there are and removes the annotation, or
	// at times, as long as the world is disturbed, removes it without having looked.
	byText
	// byEviction: it makes up for pods that are gone.
	byEviction
	// byItself: so do Jobs, and kinds that nobody knows, by and by.
	byItself
	// byArgo: it replaces the pods that were created before a time, one by one, and
	// pauses in between.
	byArgo
)

func simOperators() rollout.Operators {
	at := func(value v1alpha1.RestartValue, text string) *v1alpha1.RestartAnnotation {
		return &v1alpha1.RestartAnnotation{Key: "example.com/restart", Path: v1alpha1.AnnotationsPath, Value: value, Text: text}
	}
	return rollout.Operators{
		{Group: "example.com", Kind: "ByToken", Annotation: at(v1alpha1.RestartToken, "")},
		{Group: "example.com", Kind: "ByTime", Annotation: at(v1alpha1.RestartTimestamp, "")},
		{Group: "example.com", Kind: "ByText", Annotation: at("", "true")},
		{Group: "example.com", Kind: "ByEviction", Evict: true},
	}
}

func groupOf(kind string) string {
	switch kind {
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet":
		return "apps"
	case "Job":
		return "batch"
	case "Rollout":
		return "argoproj.io"
	case "Pod", "Node", "ReplicationController":
		return ""
	default:
		return "example.com"
	}
}

// annotated says whether the owner's pods are replaced at an annotation.
func (o *simOwner) annotated() bool { return o.op == byToken || o.op == byTime || o.op == byText }

// restartsAll says whether its pods are replaced that carry the bundle, too.
func (o *simOwner) restartsAll() bool { return o.annotated() || o.op == byArgo }

// asked says whether the operator has something to do that it has not begun.
func (o *simOwner) asked() bool { return o.op == byText && o.mark != "" }

// outdatedPod says whether a pod is one that the owner's controller is to
// replace.
func (o *simOwner) outdatedPod(p *simPod) bool {
	if o.op == byArgo && p.created.Before(o.restartAt) {
		return true
	}
	return (o.byTemplate() || o.restartsAll()) && p.rev != o.rev && p.ordinal >= o.partition
}

// workArgo lets Argo's controller take one step: an update goes before a restart,
// of which the next pod goes when all are there and available.
func (w *world) workArgo(i int) {
	o := &w.owners[i]
	news, olds, ready, terminating := w.split(i)
	total := len(news) + len(olds)
	old := slices.IndexFunc(w.pods, func(p simPod) bool { return p.owner == i && !p.lost && p.created.Before(o.restartAt) })
	switch {
	case total < o.desired:
		w.create(i, w.freeOrdinal(i), o.rev, o.mark)
	case total > o.desired:
		w.terminate(&w.pods[append(olds, news...)[0]])
	case len(olds) > 0 && (!w.pods[olds[0]].ready || ready == o.desired):
		w.terminate(&w.pods[olds[0]])
	case len(olds) > 0 || terminating > 0 || ready < o.desired || w.now.Before(o.pausedUntil):
	case old >= 0:
		w.terminate(&w.pods[old])
		o.pausedUntil = w.now.Add(w.between(0, 30*time.Second))
	case !o.restartAt.Equal(o.restartedAt):
		o.restartedAt, w.dirty = o.restartAt, true
		w.logf("%s is restarted", o.key)
	}
}

// progressing is what Argo's phase tells.
func (w *world) progressing(i int) bool {
	o := &w.owners[i]
	_, olds, ready, _ := w.split(i)
	return !o.restartAt.Equal(o.restartedAt) || len(olds) > 0 || ready < o.desired
}

// workOperator lets an operator take one step.
func (w *world) workOperator(i int) {
	o := &w.owners[i]
	w.takeUp(i)
	news, olds, ready, terminating := w.split(i)
	total := len(news) + len(olds)
	switch {
	case total+terminating < o.desired && o.op == byItself && !w.backedOff(o):
	case total+terminating < o.desired:
		w.create(i, w.freeOrdinal(i), o.rev, o.mark)
	case total > o.desired:
		w.terminate(&w.pods[append(olds, news...)[0]])
	case !o.annotated() || terminating > 0:
	case len(olds) > 0 && (!w.pods[olds[0]].ready || ready == o.desired):
		w.terminate(&w.pods[olds[0]])
	case o.restarting && len(olds) == 0 && ready == o.desired:
		o.restarting, o.mark, o.markAt, w.dirty = false, "", time.Time{}, true
		w.logf("%s is restarted", o.key)
	}
}

// backedOff says whether one that makes up for pods by and by has waited enough.
func (w *world) backedOff(o *simOwner) bool {
	if o.pausedUntil.IsZero() {
		o.pausedUntil = w.now.Add(w.between(0, time.Minute))
	}
	if w.now.Before(o.pausedUntil) {
		return false
	}
	o.pausedUntil = time.Time{}
	return true
}

// takeUp lets an operator notice a text.
func (w *world) takeUp(i int) {
	o := &w.owners[i]
	switch {
	case !o.asked() || o.restarting:
	case !w.quiet && w.rng.IntN(6) == 0:
		w.logf("%s overlooks its annotation", o.key)
		w.tally["overlooked"]++
		o.mark, o.markAt, w.dirty = "", time.Time{}, true
		w.books[i].reverts++
		w.books[i].revertedSinceRoll = true
	default:
		w.logf("%s takes up its annotation", o.key)
		o.restarting, w.dirty = true, true
		o.userGen++
		o.retemplate()
	}
}

// expected is how many pods the owner has when it is whole. Nobody tells how many
// pods of an operator there should be: its roll answers for those that were seen
// when it was decided, and a pod that was missing before is not missed after it.
func (w *world) expected(i int) int {
	o := &w.owners[i]
	switch {
	case o.op != notOperated && o.op != byArgo:
		return min(o.desired, w.books[i].seen)
	case o.key.Kind == "DaemonSet":
		return o.desired - btoi(w.down >= 0)
	default:
		return o.desired
	}
}

func (w *world) freeOrdinal(i int) int {
	used := map[int]bool{}
	for _, n := range w.podsOf(i) {
		used[w.pods[n].ordinal] = true
	}
	ordinal := 0
	for used[ordinal] {
		ordinal++
	}
	return ordinal
}

// userRestart is a user who asks the operator for a restart.
func (w *world) userRestart(i int) {
	switch o := &w.owners[i]; {
	case w.books[i].ours:
	case o.op == byText:
		o.mark, o.markAt, w.dirty = "true", time.Time{}, true
	case o.op == byTime:
		o.mark, o.markAt, w.dirty = w.now.UTC().Format(time.RFC3339), time.Time{}, true
		o.retemplate()
	case o.op == byArgo:
		o.restartAt, w.dirty = w.now.Truncate(time.Second), true
		o.gen++
	}
}

// describeOperated fills in what is read, live, of an operator's custom resource.
func (w *world) describeOperated(o *simOwner, out *rollout.Workload) {
	if o.op == byArgo {
		out.RestartAt = o.restartAt
		out.Owner = rollout.Owner{
			Observed: o.observed >= o.gen, Desired: o.desired, Updated: o.total, Total: o.total, Available: o.available,
			Progressing: !o.phaseless && w.progressing(w.ownerOf(o.key)),
		}
		return
	}
	out.Owner = rollout.Owner{Observed: !o.asked(), ByPods: true}
	if kind := simOperators().For(o.key); kind != nil {
		out.Annotation = kind.Annotation
	}
	out.AskedAt = o.markAt.Truncate(time.Second)
	if o.op == byTime {
		out.RestartAt, _ = time.Parse(time.RFC3339, o.mark)
	}
}
