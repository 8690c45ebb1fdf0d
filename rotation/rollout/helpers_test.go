package rollout_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/rollout"
)

const (
	newHash = "v1:new"
	oldHash = "v1:old"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// script plays decisions one after the other: what Next returns is stored and
// handed to it again.
type script struct {
	t     *testing.T
	facts rollout.Facts
	now   time.Time
}

// newScript begins at noon, two hours after the bundle was published, with a
// generous policy and no fence.
func newScript(t *testing.T, workloads ...rollout.Workload) *script {
	return &script{t: t, now: noon, facts: rollout.Facts{
		Bundle: rollout.Bundle{Hash: newHash, PublishedAt: noon.Add(-2 * time.Hour), SeenAt: noon.Add(-2 * time.Hour)},
		Policy: rollout.Policy{
			MaxConcurrent: 100, MaxConcurrentPerNamespace: 100, FailureThreshold: 3, ProgressDeadline: 10 * time.Minute, MaxAttempts: 3,
			Retired: v1alpha1.RetiredNever, EnvDelay: 10 * time.Second,
		},
		Waves: []string{"control-plane", "first", "rest"}, Workloads: workloads,
	}}
}

// next decides, checks that the facts were left alone, and keeps the state.
func (s *script) next() rollout.Decision {
	s.t.Helper()
	before := fmt.Sprintf("%+v", s.facts)
	d := rollout.Next(s.facts, s.now)
	if after := fmt.Sprintf("%+v", s.facts); after != before {
		s.t.Errorf("Next changed the facts:\n%s\n%s", before, after)
	}
	if d.Reason == "" || d.Message == "" {
		s.t.Errorf("no reason given: %+v", d)
	}
	s.facts.State = d.State
	return d
}

func (s *script) pass(d time.Duration) *script {
	s.now = s.now.Add(d)
	return s
}

// workload finds one by its name.
func (s *script) workload(name string) *rollout.Workload {
	s.t.Helper()
	i := slices.IndexFunc(s.facts.Workloads, func(w rollout.Workload) bool { return w.Key.Name == name })
	if i < 0 {
		s.t.Fatalf("no workload %s", name)
	}
	return &s.facts.Workloads[i]
}

// want compares what a decision writes, and why, in short.
func (s *script) want(d rollout.Decision, reason v1alpha1.Reason, actions ...string) {
	s.t.Helper()
	if diff := cmp.Diff(append([]string{string(reason)}, actions...), append([]string{string(d.Reason)}, short(d)...)); diff != "" {
		s.t.Errorf("decision (-want +got):\n%s\n%s\n%+v", diff, d.Message, d.State)
	}
}

// short is "Restart x v1:new" or "Evict x pod".
func short(d rollout.Decision) []string {
	var out []string
	for _, a := range d.Actions {
		switch a.Verb {
		case v1alpha1.VerbEvict:
			out = append(out, "Evict "+a.Key.Name+" "+a.Pod.Name)
		case v1alpha1.VerbRestartAt:
			out = append(out, "RestartAt "+a.Key.Name+" "+a.RestartAt.Format("15:04:05"))
		case v1alpha1.VerbAnnotate:
			out = append(out, "Annotate "+a.Key.Name+" "+a.Value)
		default:
			out = append(out, "Restart "+a.Key.Name+" "+a.Mark)
		}
	}
	return out
}

// blockedBy lists what is blocked, and why.
func blockedBy(d rollout.Decision) []string {
	var out []string
	for _, b := range d.Blocked {
		out = append(out, b.Key.Name+" "+string(b.Reason))
	}
	return out
}

// stale is a Deployment of wave 2 with two ready stale pods, an hour old.
func stale(namespace, name string, edits ...func(*rollout.Workload)) rollout.Workload {
	w := rollout.Workload{
		Key: rollout.Key{Group: "apps", Kind: "Deployment", Namespace: namespace, Name: name}, Wave: 2, Verb: v1alpha1.VerbRestart,
		NewestPod: noon.Add(-time.Hour), OldestPod: noon.Add(-time.Hour), Pods: 2, Ready: 2,
		Owner: rollout.Owner{Observed: true, Desired: 2, Updated: 2, Total: 2, Available: 2, ByTemplate: true},
	}
	w.StalePods = pods(name, noon.Add(-time.Hour), 2)
	for _, edit := range edits {
		edit(&w)
	}
	return w
}

// pods are n ready pods of a time; the ordinals run from 0.
func pods(name string, at time.Time, n int) []rollout.Pod {
	var out []rollout.Pod
	for i := range n {
		out = append(out, rollout.Pod{Name: fmt.Sprintf("%s-%d", name, i), UID: fmt.Sprintf("%s-%d-%d", name, i, at.Unix()), CreatedAt: at, Ready: true, Ordinal: i})
	}
	return out
}

// leavesOnly makes them pods that carry the bundle, and are replaced for their
// leaves.
func leavesOnly(pods []rollout.Pod) {
	for i := range pods {
		pods[i].LeafOnly = true
	}
}

func wave(n int) func(*rollout.Workload) { return func(w *rollout.Workload) { w.Wave = n } }

func verb(v v1alpha1.Verb) func(*rollout.Workload) {
	return func(w *rollout.Workload) {
		w.Verb = v
		w.Owner.ByTemplate = v == v1alpha1.VerbRestart
	}
}

// busy shows it in the middle of a rollout, whose newest pod is a minute old.
func busy(w *rollout.Workload) { w.Owner.Updated, w.NewestPod = 1, noon.Add(-time.Minute) }

// halted shows it in a rollout that has brought no pod for ten minutes.
func halted(w *rollout.Workload) { w.Owner.Updated, w.NewestPod = 1, noon.Add(-10*time.Minute) }

// argo makes it an Argo Rollout of ten pods, two of which are stale.
func argo(w *rollout.Workload) {
	verb(v1alpha1.VerbRestartAt)(w)
	w.Key.Group, w.Key.Kind, w.Pods, w.Ready = "argoproj.io", "Rollout", 10, 10
	w.Owner.Desired, w.Owner.Updated, w.Owner.Total, w.Owner.Available = 10, 10, 10, 10
}

func block(r v1alpha1.Reason) func(*rollout.Workload) {
	return func(w *rollout.Workload) { w.Verb, w.Block = "", rollout.Hold{Reason: r, Message: "because"} }
}

// lowerPart makes it a StatefulSet that was rolled for the bundle, but for the one
// pod below its partition.
func lowerPart(w *rollout.Workload) {
	w.Key.Kind, w.RestartedFor, w.Outdated, w.StalePods = "StatefulSet", newHash, 1, w.StalePods[:1]
	w.Owner.Partition, w.Owner.Updated = 1, 1
}

// ordered makes it a StatefulSet whose stale pod 0 is not ready.
func ordered(w *rollout.Workload) {
	w.Key.Kind, w.StalePods[0].Ready, w.Ready, w.Owner.Available = "StatefulSet", false, 1, 1
}

// lame shows a workload of ten pods, some of which are not available.
func lame(available int) func(*rollout.Workload) {
	return func(w *rollout.Workload) {
		w.StalePods, w.Pods, w.Ready = pods("x", noon.Add(-time.Hour), 10), 10, available
		w.Owner.Desired, w.Owner.Updated, w.Owner.Total, w.Owner.Available = 10, 10, 10, available
		for i := range w.StalePods {
			w.StalePods[i].Ready = i < available
		}
	}
}

// replacedBut shows the workload after a roll whose new pods are not all available.
func (s *script) replacedBut(name, mark string, available int) *rollout.Workload {
	w := s.rolled(name, mark)
	w.Ready, w.Owner.Available = available, available
	return w
}

// quorum makes it a StatefulSet of three members.
func quorum(w *rollout.Workload) {
	w.Key.Kind, w.StalePods, w.Pods, w.Ready = "StatefulSet", pods("x", noon.Add(-time.Hour), 3), 3, 3
	w.Owner.Desired, w.Owner.Updated, w.Owner.Total, w.Owner.Available = 3, 3, 3, 3
}

// current makes the workload one whose pods all carry the bundle.
func current(w *rollout.Workload) { w.StalePods, w.RetiredPods = nil, nil }

// retired makes the stale pods merely retired ones.
func retired(w *rollout.Workload) { w.StalePods, w.RetiredPods = nil, w.StalePods }

// rolled shows the workload after a roll with a mark: new ready pods, none of
// them stale.
func (s *script) rolled(name, mark string) *rollout.Workload {
	w := s.workload(name)
	current(w)
	w.RestartedFor, w.NewestPod, w.OldestPod, w.Terminating, w.Outdated = mark, s.now, s.now, 0, 0
	w.Pods, w.Ready = w.Owner.Desired, w.Owner.Desired
	w.Owner.Lags, w.Owner.Observed = false, true
	w.Owner.Updated, w.Owner.Total, w.Owner.Available = w.Owner.Desired, w.Owner.Desired, w.Owner.Desired
	return w
}

// staleAgain shows the workload after a roll whose new pods are stale too.
func (s *script) staleAgain(name, mark string) {
	w := s.rolled(name, mark)
	w.StalePods = pods(name, s.now, w.Owner.Desired)
	for i := range w.StalePods {
		w.StalePods[i].RestartedFor = mark
	}
}

// underWay shows the workload in the middle of its rollout.
func (s *script) underWay(name, mark string) *rollout.Workload {
	w := s.workload(name)
	w.RestartedFor, w.NewestPod = mark, s.now
	w.Owner.Updated, w.Owner.Total = 1, w.Owner.Desired+1
	w.Pods = w.Owner.Total
	return w
}
