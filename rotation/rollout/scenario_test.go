package rollout_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// TestARollTakesItsCourse plays several decisions one after the other.
func TestARollTakesItsCourse(t *testing.T) {
	for name, play := range map[string]func(*testing.T){
		"a written mark is not written again once it shows": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.want(s.next(), v1alpha1.CanaryInFlight, "Restart x v1:new")
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight, "Restart x v1:new") // the write may have been lost
			s.underWay("x", newHash)
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
			s.rolled("x", newHash)
			d := s.pass(time.Minute).next()
			s.want(d, v1alpha1.Converged)
			if len(d.Ended) != 1 || d.Ended[0].Failed || d.State.Measured != 1 || d.State.MeasuredTotal != 62*time.Second {
				t.Errorf("the end is not told: %+v", d)
			}
		},
		"an own write counts until it shows": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.next()
			w := s.workload("x")
			w.Owner.Lags, w.WrittenAt = true, s.now
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
			current(w) // the pods are seen before the owner is
			if d := s.pass(time.Second).next(); len(d.State.InProgress) != 1 {
				t.Errorf("the roll ended unseen: %+v", d.State)
			}
		},
		"a workload is not done while an old pod terminates": func(t *testing.T) {
			s := newScript(t, stale("a", "x"), stale("b", "y"))
			s.next()
			s.rolled("x", newHash).Terminating = 1
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
			s.workload("x").Terminating = 0
			s.want(s.pass(time.Second).next(), v1alpha1.Rolling, "Restart y v1:new")
		},
		"nor while an old pod that is not stale is seen": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.next()
			s.rolled("x", newHash).Outdated = 1
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
		},
		"nor while more pods are seen than its owner counts": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.next()
			s.rolled("x", newHash).Pods = 3
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
		},
		"a workload that left the mesh is done": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.next()
			s.underWay("x", newHash)
			s.pass(time.Second).next()
			w := s.rolled("x", newHash)
			w.Pods, w.Ready = 0, 0
			s.want(s.pass(time.Second).next(), v1alpha1.Converged)
		},
		"a workload without pods is in flight for a while": func(t *testing.T) {
			s := newScript(t, stale("a", "x", verb(v1alpha1.VerbEvict)), stale("b", "y"))
			s.facts.Policy.MaxConcurrent = 1
			s.next()
			s.facts.Workloads = s.facts.Workloads[1:]
			s.want(s.pass(time.Second).next(), v1alpha1.Rolling)
			s.want(s.pass(30*time.Second).next(), v1alpha1.Rolling)
			s.want(s.pass(time.Minute).next(), v1alpha1.Rolling, "Restart y v1:new")
		},
		"pods that come back stale are rolled again, maxAttempts times": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.next()
			for _, mark := range []string{newHash, newHash + ".2"} {
				s.pass(time.Minute).staleAgain("x", mark)
				s.workload("x").Owner.Observed = true
				next := map[string]string{newHash: newHash + ".2", newHash + ".2": newHash + ".3"}[mark]
				s.want(s.next(), v1alpha1.CanaryInFlight, "Restart x "+next)
			}
			s.pass(time.Minute).staleAgain("x", newHash+".3")
			d := s.next()
			s.want(d, v1alpha1.StillStale)
			if diff := cmp.Diff([]rollout.Attempts{{Key: s.workload("x").Key, Count: 3, LastAt: s.now}}, d.State.Attempts); diff != "" {
				t.Error(diff)
			}
			s.want(s.pass(24*time.Hour).next(), v1alpha1.StillStale) // not tried again
			s.rolled("x", "")
			s.want(s.next(), v1alpha1.Converged) // put right by somebody
		},
		"old pods that are still seen do not call for a second attempt": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.next()
			old := s.workload("x").StalePods
			s.pass(time.Minute).rolled("x", newHash).StalePods = old
			s.want(s.next(), v1alpha1.CanaryInFlight)
			s.want(s.pass(time.Minute).next(), v1alpha1.CanaryInFlight)
		},
		"where no mark shows, pods created after the newest of before do": func(t *testing.T) {
			s := newScript(t, stale("a", "x", verb(v1alpha1.VerbRestartAt)))
			s.next()
			w := s.rolled("x", "")
			w.StalePods, w.RestartAt = pods("x", noon.Add(-time.Hour), 2), noon.Add(time.Second-time.Hour)
			s.want(s.pass(time.Minute).next(), v1alpha1.CanaryInFlight)
			w.StalePods, w.NewestPod = pods("x", s.now, 2), s.now
			s.want(s.next(), v1alpha1.CanaryInFlight, "RestartAt x 12:01:01")
		},
		"a second attempt passes the fence and the windows too": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.next()
			s.pass(time.Minute).staleAgain("x", newHash)
			s.facts.Policy.Paused = true
			s.want(s.next(), v1alpha1.Paused)
			s.facts.Policy.Paused = false
			s.want(s.next(), v1alpha1.CanaryInFlight, "Restart x v1:new.2")
		},

		"a stored roll that was not written is written by the successor": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.next() // and killed before it writes
			s.want(s.pass(time.Minute).next(), v1alpha1.CanaryInFlight, "Restart x v1:new")
		},
		"a roll that is not in the state is taken up": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.underWay("x", newHash+".2").StalePods = pods("x", noon.Add(-time.Hour), 1)
			d := s.next()
			s.want(d, v1alpha1.CanaryInFlight)
			if len(d.State.InProgress) != 1 || d.State.InProgress[0].Attempt != 2 || !d.State.InProgress[0].Applied || len(d.Blocked) != 0 {
				t.Errorf("not taken up: %+v", d)
			}
			s.pass(time.Minute).rolled("x", newHash+".2")
			s.want(s.next(), v1alpha1.Converged)
		},
		"an Argo restart that is not in the state is taken up": func(t *testing.T) {
			s := newScript(t, stale("a", "x", verb(v1alpha1.VerbRestartAt)))
			s.want(s.next(), v1alpha1.CanaryInFlight, "RestartAt x 11:00:01")
			w := s.workload("x")
			w.RestartAt, w.NewestPod, w.StalePods = noon.Add(-time.Hour+time.Second), noon, w.StalePods[:1]
			s.facts.State = rollout.State{}
			s.want(s.next(), v1alpha1.CanaryInFlight) // and not restarted for the pods that are new
			current(w)
			w.OldestPod = noon
			s.want(s.pass(time.Minute).next(), v1alpha1.Converged)
		},
		"an Argo restart is in flight until those pods too are restarted that carry the bundle": func(t *testing.T) {
			s := newScript(t, stale("a", "x", argo), stale("b", "y"))
			s.facts.Policy.MaxConcurrent = 1
			s.want(s.next(), v1alpha1.Rolling, "RestartAt x 11:00:01")
			w := s.workload("x")
			w.RestartAt, w.Outdated = noon.Add(time.Second-time.Hour), 10
			s.want(s.pass(time.Second).next(), v1alpha1.Rolling)
			current(w) // the stale ones went first
			for w.Outdated = 8; w.Outdated > 0; w.Outdated-- {
				w.NewestPod = s.pass(9 * time.Minute).now
				s.want(s.next(), v1alpha1.Rolling) // a pause between two of them
			}
			w.OldestPod = noon.Add(time.Minute)
			s.want(s.pass(time.Second).next(), v1alpha1.Rolling, "Restart y v1:new")
		},
		"an Argo restart that takes no further pod ends well, where none is stale any more": func(t *testing.T) {
			s := newScript(t, stale("a", "x", argo))
			s.next()
			w := s.workload("x")
			w.RestartAt, w.Outdated = noon.Add(time.Second-time.Hour), 10
			s.pass(time.Second).next()
			current(w)
			w.Outdated = 8
			s.want(s.pass(time.Minute).next(), v1alpha1.CanaryInFlight)
			s.want(s.pass(10*time.Minute-time.Second).next(), v1alpha1.CanaryInFlight)
			d := s.pass(time.Second).next()
			s.want(d, v1alpha1.Converged)
			if len(d.Ended) != 1 || d.Ended[0].Failed {
				t.Errorf("it did not end well: %+v", d.Ended)
			}
		},
		"a restart that Argo was not asked for is not waited for": func(t *testing.T) {
			s := newScript(t, stale("a", "x", argo))
			s.next()
			current(s.workload("x")) // before the time was written
			s.want(s.pass(time.Second).next(), v1alpha1.Converged)
		},
		"an Argo Rollout's own update is waited for, and counts": func(t *testing.T) {
			s := newScript(t, stale("a", "x", argo), stale("b", "y"))
			s.facts.Policy.MaxConcurrent = 1
			w := s.workload("x")
			w.Owner.Progressing, w.NewestPod = true, noon
			d := s.next()
			s.want(d, v1alpha1.BudgetExhausted)
			if diff := cmp.Diff([]string{"x RolloutInFlight"}, blockedBy(d)); diff != "" {
				t.Error(diff)
			}
			w.Owner.Progressing = false
			s.want(s.pass(time.Minute).next(), v1alpha1.Rolling, "RestartAt x 12:00:01")
			w.Owner.Progressing, w.RestartAt = true, noon.Add(time.Second) // by now it is ours
			s.rolled("x", "")
			w.RestartAt = noon.Add(time.Second)
			s.want(s.pass(time.Minute).next(), v1alpha1.Rolling)
			w.Owner.Progressing = false
			s.want(s.pass(time.Second).next(), v1alpha1.Rolling, "Restart y v1:new")
		},
		"a later Argo restart by somebody else will do": func(t *testing.T) {
			s := newScript(t, stale("a", "x", verb(v1alpha1.VerbRestartAt)))
			s.next()
			s.workload("x").RestartAt = noon
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
		},

		"paused in the middle, a roll by template goes on by itself": func(t *testing.T) {
			s := newScript(t, stale("a", "x"), stale("b", "y"))
			s.next()
			s.underWay("x", newHash)
			s.next()
			s.facts.Policy.Paused = true
			s.want(s.pass(time.Second).next(), v1alpha1.Paused)
			s.rolled("x", newHash)
			d := s.pass(time.Second).next()
			s.want(d, v1alpha1.Paused)
			if len(d.Ended) != 1 || len(d.State.InProgress) != 0 {
				t.Errorf("the roll did not end: %+v", d)
			}
			s.facts.Policy.Paused = false
			s.want(s.next(), v1alpha1.Rolling, "Restart y v1:new")
		},
		"suspended in the middle, no further pod is evicted, and no time runs": func(t *testing.T) {
			s := newScript(t, stale("a", "x", verb(v1alpha1.VerbEvict)))
			s.want(s.next(), v1alpha1.CanaryInFlight, "Evict x x-1")
			w := s.workload("x")
			w.StalePods, w.NewestPod = w.StalePods[:1], s.now
			s.facts.Policy.Suspend = true
			s.want(s.pass(time.Minute).next(), v1alpha1.Suspended)
			s.want(s.pass(24*time.Hour).next(), v1alpha1.Suspended)
			s.facts.Policy.Suspend = false
			s.want(s.next(), v1alpha1.CanaryInFlight, "Evict x x-0")
		},
		"a window that closes stops the next eviction, and the roll gives up its place": func(t *testing.T) {
			s := newScript(t, stale("a", "x", verb(v1alpha1.VerbEvict)), stale("b", "y", func(w *rollout.Workload) { w.Key.Name = "y" }))
			s.facts.Policy.Windows, s.facts.Policy.WhenBroken, s.facts.Policy.MaxConcurrent = night(t), true, 1
			s.now = noon.Add(10*time.Hour + 59*time.Minute)
			s.want(s.next(), v1alpha1.Rolling, "Evict x x-1")
			w := s.workload("x")
			w.StalePods, w.NewestPod = w.StalePods[:1], s.now
			s.want(s.pass(2*time.Minute).next(), v1alpha1.OutsideWindow)
			s.workload("y").Broken = true // it may be repaired now
			s.want(s.pass(time.Minute).next(), v1alpha1.Rolling, "Restart y v1:new")
		},
		"no time runs out for a partition's roll while nothing may be written": func(t *testing.T) {
			s := newScript(t, stale("a", "x", func(w *rollout.Workload) { w.Key.Kind, w.Owner.Partition = "StatefulSet", 1 }))
			s.next()
			w := s.rolled("x", newHash)
			w.StalePods, w.Outdated, w.Owner.Updated = pods("x", noon.Add(-time.Hour), 1), 1, 1
			s.want(s.pass(time.Minute).next(), v1alpha1.CanaryInFlight, "Evict x x-0")
			s.facts.Policy.Paused = true
			for range 5 {
				s.want(s.pass(9*time.Minute).next(), v1alpha1.Paused)
			}
			s.facts.Policy.Paused = false
			s.want(s.pass(9*time.Minute).next(), v1alpha1.CanaryInFlight, "Evict x x-0")
		},
		"opted out in the middle, the roll comes to rest; opted in again, it goes on": func(t *testing.T) {
			s := newScript(t, stale("a", "x", verb(v1alpha1.VerbEvict)))
			s.next()
			w := s.workload("x")
			w.StalePods, w.Terminating, w.Pods, w.Ready = w.StalePods[:1], 1, 1, 1
			w.Block = rollout.Hold{Reason: v1alpha1.OptedOut, Message: "because"}
			d := s.pass(time.Second).next()
			s.want(d, v1alpha1.CanaryInFlight)
			if len(d.State.InProgress) != 1 {
				t.Error("the roll ended although a pod terminates")
			}
			w.Terminating, w.Pods, w.Ready = 0, 2, 2
			d = s.pass(time.Second).next()
			s.want(d, v1alpha1.Converged)
			if diff := cmp.Diff([]string{"x OptedOut"}, blockedBy(d)); diff != "" {
				t.Error(diff)
			}
			w.Block = rollout.Hold{}
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight, "Evict x x-0")
		},
		"a user who prefers eviction before the mark is written gets it": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.next()
			s.workload("x").Verb = v1alpha1.VerbEvict
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight, "Evict x x-1")
		},

		"a roll without progress fails at the deadline": func(t *testing.T) {
			s := newScript(t, stale("a", "x"), stale("b", "y"))
			s.next()
			s.underWay("x", newHash)
			s.pass(time.Second).next()
			d := s.pass(10*time.Minute - time.Second).next()
			s.want(d, v1alpha1.CanaryInFlight)
			if !d.Again.Equal(s.now.Add(time.Second)) {
				t.Errorf("decides again at %s", d.Again)
			}
			d = s.pass(time.Second).next()
			s.want(d, v1alpha1.CanaryInFlight, "Restart y v1:new") // the next one is the canary
			if len(d.State.Failed) != 1 || d.State.Failed[0].Reason != v1alpha1.ProgressDeadlineExceeded || len(d.Ended) != 1 || !d.Ended[0].Failed {
				t.Errorf("not failed: %+v", d)
			}
		},
		"what was not whole before is done at the deadline when it is so no less": func(t *testing.T) {
			for name, c := range map[string]struct {
				before, after int
				edit, always  func(*rollout.Workload)
				done          bool
			}{
				"as many":            {before: 9, after: 9, done: true},
				"none before":        {before: 0, after: 0, done: true},
				"one fewer":          {before: 9, after: 8},
				"all before":         {before: 10, after: 9},
				"one is stale":       {before: 9, after: 9, edit: func(w *rollout.Workload) { w.StalePods, w.Outdated = pods("x", noon.Add(-time.Hour), 1), 1 }},
				"one is stale again": {before: 9, after: 9, edit: func(w *rollout.Workload) { w.StalePods = marked(stale("a", "x"), newHash).StalePods }},
				"one ends":           {before: 9, after: 9, edit: func(w *rollout.Workload) { w.Terminating = 1 }},
				"one is not updated": {before: 9, after: 9, edit: func(w *rollout.Workload) { w.Owner.Updated = 9 }},
				"one is left over":   {before: 9, after: 9, edit: func(w *rollout.Workload) { w.Owner.Total = 11 }},
				"an old one is seen": {before: 9, after: 9, edit: func(w *rollout.Workload) { w.Outdated = 1 }},
				"one is missing":     {before: 9, after: 9, edit: func(w *rollout.Workload) { w.Pods = 9 }},
				"the control plane":  {before: 9, after: 9, always: func(w *rollout.Workload) { w.Wave = 0 }},
				"handshakes fail":    {before: 9, after: 9, always: func(w *rollout.Workload) { w.Broken = len(w.StalePods) > 0 }},
				"the bundle ended":   {before: 9, after: 9, always: func(w *rollout.Workload) { w.Expired = len(w.StalePods) > 0 }},
			} {
				if c.always == nil {
					c.always = func(*rollout.Workload) {}
				}
				s := newScript(t, stale("a", "x", lame(c.before), c.always))
				s.next()
				s.underWay("x", newHash)
				s.pass(time.Second).next()
				w := s.replacedBut("x", newHash, c.after)
				c.always(w)
				if c.edit != nil {
					c.edit(w)
				}
				s.pass(time.Second).next()
				if d := s.pass(10*time.Minute - time.Second).next(); len(d.Ended) > 0 {
					t.Errorf("%s: it ended before the deadline: %+v", name, d.Ended)
				}
				d := s.pass(time.Second).next()
				if len(d.Ended) != 1 || d.Ended[0].Failed == c.done || len(d.State.Failed) == 0 != c.done {
					t.Errorf("%s: %+v", name, d.Ended)
				}
				if want := fmt.Sprintf("all its pods carry the bundle; %d of 10 are available, no fewer than when the roll began (%d)", c.after, c.before); c.done && d.Ended[0].Message != want {
					t.Errorf("%s: %q", name, d.Ended[0].Message)
				}
				if c.done && (d.State.Completed == 0) != (c.after == 0) || d.State.Measured > 0 {
					t.Errorf("%s: %d are done of the wave, %d measured", name, d.State.Completed, d.State.Measured)
				}
			}
		},
		"an old pod that was not ready for a moment when the roll began counts": func(t *testing.T) {
			s := newScript(t, stale("a", "x", lame(9)))
			s.next()
			w := s.workload("x")
			w.StalePods[9].Ready = true
			s.pass(time.Second).next()
			s.replacedBut("x", newHash, 9)
			s.pass(time.Second).next()
			if d := s.pass(10 * time.Minute).next(); len(d.State.Failed) != 1 {
				t.Errorf("not failed: %+v", d)
			}
		},
		"what failed, or was tried before, is held to be whole": func(t *testing.T) {
			key := stale("a", "x").Key
			for name, state := range map[string]rollout.State{
				"failed": {BundleHash: newHash, Wave: 2, Failed: []rollout.Failure{{Key: key, Reason: v1alpha1.ProgressDeadlineExceeded, Since: noon.Add(-time.Hour)}}},
				"tried":  {BundleHash: newHash, Wave: 2, Attempts: []rollout.Attempts{{Key: key, Count: 1}}},
			} {
				s := newScript(t, stale("a", "x", lame(9)))
				s.facts.State = state
				mark := s.next().Actions[0].Mark
				s.replacedBut("x", mark, 9)
				s.pass(time.Second).next()
				if d := s.pass(10 * time.Minute).next(); len(d.State.Failed) != 1 || len(d.State.InProgress) != 0 {
					t.Errorf("%s: not failed: %+v", name, d.State)
				}
			}
		},
		"progress resets the deadline": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.next()
			w := s.underWay("x", newHash)
			s.pass(9 * time.Minute).next()
			w.StalePods = w.StalePods[:1]
			s.next()
			if d := s.pass(9 * time.Minute).next(); len(d.State.Failed) != 0 {
				t.Errorf("failed: %+v", d.State)
			}
		},
		"a pod that becomes ready again and again is no progress": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.next()
			w := s.underWay("x", newHash)
			current(w)
			for range 12 {
				w.Owner.Available = 1
				s.pass(30 * time.Second).next()
				w.Owner.Available = 2
				s.pass(30 * time.Second).next()
			}
			if len(s.facts.State.Failed) != 1 {
				t.Errorf("not failed: %+v", s.facts.State)
			}
		},
		"past the threshold nothing new starts, until one is in order again": func(t *testing.T) {
			s := newScript(t, stale("a", "x"), stale("b", "y"), stale("c", "z"))
			s.facts.Policy.FailureThreshold = 2
			for _, name := range []string{"x", "y"} {
				s.next()
				s.underWay(name, newHash)
				s.next()
				s.pass(11 * time.Minute)
			}
			d := s.next()
			s.want(d, v1alpha1.FailureThresholdExceeded)
			if !strings.Contains(d.Message, "Deployment a/x, Deployment b/y") {
				t.Errorf("the message names nobody: %s", d.Message)
			}
			s.rolled("x", newHash)
			s.want(s.pass(time.Second).next(), v1alpha1.Rolling, "Restart z v1:new")
		},
		"past the threshold no further pod is evicted either": func(t *testing.T) {
			s := newScript(t, stale("a", "x"), stale("b", "y", verb(v1alpha1.VerbEvict)))
			s.facts.Policy.FailureThreshold = 1
			s.facts.State = rollout.State{BundleHash: newHash, Wave: 2, Completed: 3}
			s.want(s.next(), v1alpha1.Rolling, "Restart x v1:new", "Evict y y-1")
			s.underWay("x", newHash)
			y := s.workload("y")
			y.StalePods = y.StalePods[:1]
			s.facts.Policy.Paused = true
			s.pass(time.Second).next()
			s.facts.Policy.Paused = false
			s.pass(10 * time.Minute)
			s.want(s.next(), v1alpha1.FailureThresholdExceeded)
		},
		"the threshold does not outlast the failures": func(t *testing.T) {
			s := newScript(t, stale("a", "x"), stale("b", "y"))
			s.facts.Policy.FailureThreshold = 1
			s.facts.State = rollout.State{BundleHash: newHash, Failed: []rollout.Failure{{Key: s.workload("x").Key, Reason: v1alpha1.StillStale, Since: noon}}}
			s.want(s.next(), v1alpha1.FailureThresholdExceeded)
			s.rolled("x", "")
			s.want(s.next(), v1alpha1.Rolling, "Restart y v1:new") // in the same decision
		},
		"a new bundle forgets failures and attempts": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.facts.State = rollout.State{BundleHash: oldHash, Completed: 9, FencedAt: noon, Measured: 2, MeasuredTotal: time.Minute,
				Failed:   []rollout.Failure{{Key: s.workload("x").Key, Reason: v1alpha1.StillStale, Since: noon}},
				Attempts: []rollout.Attempts{{Key: s.workload("x").Key, Count: 3}}}
			d := s.next()
			s.want(d, v1alpha1.CanaryInFlight, "Restart x v1:new")
			if d.State.Measured != 2 || d.State.Completed != 0 || !d.State.FencedAt.IsZero() {
				t.Errorf("%+v", d.State)
			}
		},

		"an eviction that is refused waits, then is EvictionBlocked, then is tried again": func(t *testing.T) {
			s := newScript(t, stale("a", "x", verb(v1alpha1.VerbEvict)))
			s.want(s.next(), v1alpha1.CanaryInFlight, "Evict x x-1")
			s.workload("x").Refused = "the budget keep-two"
			d := s.pass(time.Second).next()
			s.want(d, v1alpha1.CanaryInFlight, "Evict x x-1")
			if !strings.Contains(d.State.InProgress[0].Message, "keep-two") {
				t.Errorf("the message does not name the budget: %+v", d.State.InProgress)
			}
			d = s.pass(10 * time.Minute).next()
			s.want(d, v1alpha1.EvictionBlocked)
			if !strings.Contains(d.State.Failed[0].Message, "keep-two") || !d.Again.Equal(s.now.Add(10*time.Minute)) {
				t.Errorf("%+v", d)
			}
			s.workload("x").Refused = ""
			d = s.pass(10 * time.Minute).next()
			s.want(d, v1alpha1.EvictionBlocked, "Evict x x-1")
			if len(d.State.Failed) != 1 {
				t.Errorf("it does not count any more before it succeeded: %+v", d.State)
			}
			s.rolled("x", "")
			s.want(s.pass(time.Minute).next(), v1alpha1.Converged)
		},
		"what was refused is asked for again after all other writes": func(t *testing.T) {
			evicted := verb(v1alpha1.VerbEvict)
			s := newScript(t, stale("a", "a", evicted), stale("a", "b", evicted), stale("a", "c", evicted), stale("b", "d"), stale("b", "e", evicted))
			s.facts.State = rollout.State{BundleHash: newHash, Wave: 2, Completed: 7}
			s.want(s.next(), v1alpha1.Rolling, "Evict a a-1", "Evict b b-1", "Evict c c-1", "Restart d v1:new", "Evict e e-1")
			for _, name := range []string{"a", "b", "c"} { // two seconds each, of which a decision has five
				s.workload(name).Refused = "the server, which gave no answer"
			}
			s.want(s.pass(time.Second).next(), v1alpha1.Rolling, "Restart d v1:new", "Evict e e-1", "Evict a a-1", "Evict b b-1", "Evict c c-1")
			s.facts.Workloads = append(s.facts.Workloads, stale("c", "f"))
			s.workload("b").Refused = ""
			s.want(s.pass(time.Second).next(), v1alpha1.Rolling,
				"Evict b b-1", "Restart d v1:new", "Evict e e-1", "Restart f v1:new", "Evict a a-1", "Evict c c-1")
		},
		"an eviction that is granted late has the whole deadline for its replacement": func(t *testing.T) {
			s := newScript(t, stale("a", "x", verb(v1alpha1.VerbEvict)), stale("b", "y"))
			s.facts.Policy.MaxConcurrent = 1
			s.next()
			w := s.workload("x")
			w.Refused = "the budget keep-two"
			s.want(s.pass(10*time.Minute-time.Second).next(), v1alpha1.Rolling, "Evict x x-1")
			w.Refused, w.Owner.Lags = "", true // granted, and not seen yet
			s.want(s.pass(2*time.Second).next(), v1alpha1.Rolling)
			w.Owner.Lags, w.StalePods, w.Pods, w.Ready, w.Terminating = false, w.StalePods[:1], 1, 1, 1
			s.want(s.pass(time.Second).next(), v1alpha1.Rolling)
			w.Terminating, w.Owner.Available = 0, 1 // gone, and nothing is there for it
			s.want(s.pass(10*time.Minute-time.Second).next(), v1alpha1.Rolling)
			s.want(s.pass(time.Second).next(), v1alpha1.Rolling, "Restart y v1:new")
		},
		"nor does it lose any of it to other pods that are not ready any more": func(t *testing.T) {
			s := newScript(t, stale("a", "x", verb(v1alpha1.VerbEvict), func(w *rollout.Workload) {
				w.Pods, w.Ready, w.Owner.Desired, w.Owner.Total, w.Owner.Updated, w.Owner.Available = 5, 5, 5, 5, 5, 5
			}))
			s.next()
			w := s.workload("x")
			w.Ready, w.Owner.Available = 2, 2
			w.StalePods, w.Pods, w.Terminating = w.StalePods[:1], 4, 1
			s.pass(9 * time.Minute).next()
			w.Terminating = 0
			s.want(s.pass(9*time.Minute).next(), v1alpha1.CanaryInFlight)
		},
		"a roll that was put back has the whole deadline for what was added meanwhile": func(t *testing.T) {
			s := newScript(t, stale("a", "x", verb(v1alpha1.VerbEvict)))
			s.next()
			w := s.workload("x")
			old := w.StalePods
			w.StalePods, w.Ready, w.Owner.Available = old[:1], 1, 1
			s.pass(time.Minute).next()
			s.facts.Policy.Paused, w.StalePods, w.StalePods[0].Ready = true, old, false
			s.want(s.pass(time.Minute).next(), v1alpha1.Paused)
			s.facts.Policy.Paused = false
			s.want(s.pass(9*time.Minute).next(), v1alpha1.CanaryInFlight, "Evict x x-0")
			w.StalePods, w.Terminating, w.Pods = old[1:], 1, 1
			s.want(s.pass(30*time.Second).next(), v1alpha1.CanaryInFlight)
			s.want(s.pass(9*time.Minute).next(), v1alpha1.CanaryInFlight)
		},
		"a roll whose bundle was not in force for a while has the whole deadline from then on": func(t *testing.T) {
			s := newScript(t, stale("a", "x", verb(v1alpha1.VerbEvict)))
			s.next()
			w := s.workload("x")
			old := w.StalePods
			s.facts.Bundle.Hash, w.StalePods, w.Terminating = oldHash, nil, 1
			s.pass(time.Minute).next()
			s.facts.Bundle.Hash, w.StalePods = newHash, old[:1]
			s.want(s.pass(8*time.Minute).next(), v1alpha1.CanaryInFlight)
			s.want(s.pass(8*time.Minute).next(), v1alpha1.CanaryInFlight)
		},
		"pods that are to go since do not hide the progress of the rest": func(t *testing.T) {
			s := newScript(t, stale("a", "x", verb(v1alpha1.VerbEvict)))
			s.next()
			w := s.workload("x")
			old := w.StalePods
			w.StalePods = old[:1]
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight, "Evict x x-0")
			w.StalePods, w.Terminating = slices.Concat(old[1:], pods("y", noon.Add(-time.Hour), 1)), 1 // those of a node that was away
			s.want(s.pass(8*time.Minute).next(), v1alpha1.CanaryInFlight)
			w.StalePods, w.Terminating = old[1:], 0
			s.want(s.pass(time.Minute).next(), v1alpha1.CanaryInFlight, "Evict x x-1")
			s.want(s.pass(9*time.Minute).next(), v1alpha1.CanaryInFlight, "Evict x x-1")
		},
		"what comes back stale does not hide the progress of the rest": func(t *testing.T) {
			s := newScript(t, stale("a", "x", verb(v1alpha1.VerbEvict), func(w *rollout.Workload) {
				w.StalePods = pods("x", noon.Add(-time.Hour), 3)
				w.Pods, w.Ready, w.Owner = 3, 3, rollout.Owner{Observed: true, Desired: 3, Updated: 3, Total: 3, Available: 3}
			}))
			w := s.workload("x")
			for _, name := range []string{"x-2", "x-1", "x-0"} {
				s.want(s.next(), v1alpha1.CanaryInFlight, "Evict x "+name)
				w.NewestPod = s.pass(9 * time.Minute).now
				w.StalePods[slices.IndexFunc(w.StalePods, func(p rollout.Pod) bool { return p.Name == name })].CreatedAt = w.NewestPod
			}
			s.want(s.next(), v1alpha1.CanaryInFlight, "Evict x x-2") // the second attempt
		},
		"a template that a policy refuses makes no progress, and the policy is named": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.want(s.next(), v1alpha1.CanaryInFlight, "Restart x v1:new")
			s.workload("x").Refused = "policy require-owner"
			d := s.pass(time.Second).next()
			s.want(d, v1alpha1.CanaryInFlight, "Restart x v1:new")
			if !strings.Contains(d.State.InProgress[0].Message, "require-owner") {
				t.Errorf("the policy is not named: %+v", d.State.InProgress)
			}
			d = s.pass(10 * time.Minute).next()
			if len(d.Ended) != 1 || d.Ended[0].Reason != v1alpha1.ProgressDeadlineExceeded || !strings.Contains(d.Ended[0].Message, "require-owner") {
				t.Errorf("the failure does not tell why: %+v", d.Ended)
			}
		},
		"what failed and is tried again holds up neither the canary nor later waves": func(t *testing.T) {
			s := newScript(t, stale("a", "x", wave(1), verb(v1alpha1.VerbEvict)), stale("b", "y"))
			s.facts.State = rollout.State{BundleHash: newHash, Wave: 2,
				Failed: []rollout.Failure{{Key: s.workload("x").Key, Reason: v1alpha1.EvictionBlocked, Since: noon.Add(-time.Hour)}}}
			s.want(s.next(), v1alpha1.CanaryInFlight, "Restart y v1:new", "Evict x x-1")
		},
		"pods are evicted one at a time, each when all others are ready": func(t *testing.T) {
			s := newScript(t, stale("a", "x", verb(v1alpha1.VerbEvict), func(w *rollout.Workload) {
				w.StalePods = pods("x", noon.Add(-time.Hour), 3)
				w.Pods, w.Ready, w.Owner.Desired, w.Owner.Updated, w.Owner.Total, w.Owner.Available = 3, 3, 3, 3, 3, 3
			}))
			s.want(s.next(), v1alpha1.CanaryInFlight, "Evict x x-2")
			w := s.workload("x")
			w.StalePods, w.Pods, w.Ready, w.Terminating = w.StalePods[:2], 2, 2, 1
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight) // it terminates
			w.Terminating = 0
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight) // its replacement is not there
			w.Pods, w.NewestPod = 3, s.now
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight) // nor ready
			w.Ready = 3
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight, "Evict x x-1")
		},
		"a stale pod that is not ready goes at once": func(t *testing.T) {
			s := newScript(t, stale("a", "x", verb(v1alpha1.VerbEvict), func(w *rollout.Workload) { w.StalePods[0].Ready, w.Ready = false, 1 }))
			s.want(s.next(), v1alpha1.CanaryInFlight, "Evict x x-0")
		},
		"an evicted roll is done when the last replacement is ready": func(t *testing.T) {
			s := newScript(t, stale("a", "x", verb(v1alpha1.VerbEvict), func(w *rollout.Workload) { w.StalePods = w.StalePods[:1] }))
			s.next()
			w := s.workload("x")
			current(w)
			w.Pods, w.Ready = 1, 1 // the owner's status is older
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
			w.Pods, w.Ready = 2, 2
			s.want(s.pass(time.Second).next(), v1alpha1.Converged)
		},
		"an evicted roll whose pods come back stale ends after maxAttempts": func(t *testing.T) {
			s := newScript(t, stale("a", "x", verb(v1alpha1.VerbEvict)))
			for range 3 {
				s.want(s.next(), v1alpha1.CanaryInFlight, "Evict x x-1")
				w := s.workload("x")
				s.pass(time.Minute)
				w.StalePods, w.NewestPod = pods("x", s.now, 2), s.now
			}
			s.want(s.next(), v1alpha1.StillStale)
		},
		"pods that are replaced for their leaves alone are no proof that a roll did not succeed": func(t *testing.T) {
			for _, c := range []struct {
				mark, again   string
				tries, most   int
				mayTryForMore bool
			}{
				{mark: newHash, again: newHash + ".2", most: 1},
				{mark: newHash, again: newHash + ".2", most: 2, mayTryForMore: true},
				{mark: newHash + ".3", again: newHash + ".4", tries: 3, most: 3},
			} {
				s := newScript(t, stale("a", "x"))
				s.facts.Policy.MaxAttempts = c.most
				if c.tries > 0 {
					s.facts.State = rollout.State{BundleHash: newHash, Attempts: []rollout.Attempts{{Key: s.workload("x").Key, Count: c.tries}}}
				}
				s.staleAgain("x", c.mark)
				leavesOnly(s.workload("x").StalePods)
				s.want(s.next(), v1alpha1.CanaryInFlight, "Restart x "+c.again)
				s.pass(time.Minute).rolled("x", c.again)
				s.want(s.next(), v1alpha1.Converged)
				s.pass(time.Minute).staleAgain("x", c.again) // but this is one
				if d := s.next(); len(d.Actions) > 0 != c.mayTryForMore || len(d.State.Failed) > 0 == c.mayTryForMore {
					t.Errorf("%+v: %+v", c, d)
				}
			}
		},
		"nor are they beside an older one that lacks the bundle": func(t *testing.T) {
			s := newScript(t, stale("a", "x", func(w *rollout.Workload) { w.RestartedFor = newHash }))
			s.facts.Policy.MaxAttempts = 1
			w := s.workload("x")
			w.StalePods[0].CreatedAt = noon.Add(-3 * time.Hour) // of another mark, before the bundle was published
			w.StalePods[1].RestartedFor = newHash
			leavesOnly(w.StalePods[1:])
			s.want(s.next(), v1alpha1.CanaryInFlight, "Restart x v1:new.2")
		},
		"a roll that was under way when leaves began to count is none either": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.facts.Policy.MaxAttempts = 1
			s.next()
			s.pass(time.Minute).staleAgain("x", newHash)
			leavesOnly(s.workload("x").StalePods)
			s.want(s.next(), v1alpha1.CanaryInFlight, "Restart x v1:new.2")
		},
		"retired pods that come back retired are left": func(t *testing.T) {
			s := newScript(t, stale("a", "x", retired, verb(v1alpha1.VerbEvict)))
			s.facts.Policy.Retired = v1alpha1.RetiredAlways
			s.want(s.next(), v1alpha1.CanaryInFlight, "Evict x x-1")
			w := s.workload("x")
			s.pass(time.Minute)
			w.RetiredPods, w.NewestPod = pods("x", s.now, 2), s.now
			s.want(s.next(), v1alpha1.Converged)
			s.want(s.pass(time.Hour).next(), v1alpha1.Converged)
		},
		"a partition's upper part is rolled by its template, the lower evicted": func(t *testing.T) {
			s := newScript(t, stale("a", "x", func(w *rollout.Workload) { w.Key.Kind, w.Owner.Partition = "StatefulSet", 1 }))
			s.want(s.next(), v1alpha1.CanaryInFlight, "Restart x v1:new")
			w := s.underWay("x", newHash)
			w.Owner.Updated, w.Owner.Total, w.Pods = 0, 2, 2
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
			w = s.rolled("x", newHash)
			w.Owner.Updated, w.Outdated, w.StalePods = 1, 1, pods("x", noon.Add(-time.Hour), 1)
			s.want(s.pass(time.Minute).next(), v1alpha1.CanaryInFlight, "Evict x x-0")
			current(w)
			s.want(s.pass(time.Minute).next(), v1alpha1.Converged)
		},
		"the lower part begins where the ordinals do": func(t *testing.T) {
			s := newScript(t, stale("a", "x", func(w *rollout.Workload) {
				w.Key.Kind, w.Owner.Partition, w.Owner.FirstOrdinal = "StatefulSet", 1, 5
				w.StalePods = pods("x", noon.Add(-time.Hour), 7)[5:]
			}))
			s.want(s.next(), v1alpha1.CanaryInFlight, "Restart x v1:new")
			w := s.rolled("x", newHash)
			w.Owner.Updated, w.Outdated, w.StalePods = 1, 1, pods("x", noon.Add(-time.Hour), 6)[5:]
			s.want(s.pass(time.Minute).next(), v1alpha1.CanaryInFlight, "Evict x x-5")
			current(w)
			s.want(s.pass(time.Minute).next(), v1alpha1.Converged)
		},
		"the lower part is evicted under all the rules for a start when the roll is not in the state": func(t *testing.T) {
			s := newScript(t, stale("a", "x", lowerPart), stale("b", "y", wave(1)))
			s.facts.Policy.MaxConcurrent = 1
			s.want(s.next(), v1alpha1.Rolling, "Restart y v1:new") // an earlier wave goes first
			s.rolled("y", newHash).Owner.Updated = 1               // somebody rolls it again, which takes up the budget
			s.want(s.pass(time.Minute).next(), v1alpha1.Rolling)
			s.facts.State = rollout.State{}
			s.want(s.next(), v1alpha1.BudgetExhausted)
			s.workload("x").Terminating = 1 // which somebody else took away
			s.want(s.next(), v1alpha1.BudgetExhausted)
			s.workload("x").Terminating, s.workload("y").Owner.Updated = 0, 2
			d := s.next()
			s.want(d, v1alpha1.Rolling, "Evict x x-0")
			if r := d.State.InProgress[0]; !r.Applied || r.Attempt != 1 || len(d.State.Attempts) != 0 {
				t.Errorf("not the same attempt: %+v", d.State)
			}
			current(s.workload("x"))
			s.want(s.pass(time.Minute).next(), v1alpha1.Converged)
		},
		"the lower part that comes back stale is evicted maxAttempts times, and the upper one not rolled again": func(t *testing.T) {
			s := newScript(t, stale("a", "x", lowerPart))
			for range 3 {
				s.want(s.next(), v1alpha1.CanaryInFlight, "Evict x x-0")
				w := s.workload("x")
				w.StalePods, w.NewestPod = pods("x", s.pass(time.Minute).now, 1), s.now
			}
			s.want(s.next(), v1alpha1.StillStale)
		},
		"of a workload that is only partly in the mesh no more pods are expected than it had": func(t *testing.T) {
			s := newScript(t, stale("a", "x", func(w *rollout.Workload) {
				w.Key.Kind, w.StalePods, w.Pods, w.Ready = "StatefulSet", pods("x", noon.Add(-time.Hour), 5)[2:], 3, 3
				w.Owner = rollout.Owner{Observed: true, Desired: 5, Updated: 3, Total: 5, Available: 5, ByTemplate: true, Partition: 2}
			}))
			s.want(s.next(), v1alpha1.CanaryInFlight, "Restart x v1:new")
			w := s.rolled("x", newHash)
			w.Pods, w.Ready, w.Owner.Updated = 3, 2, 3
			s.want(s.pass(time.Minute).next(), v1alpha1.CanaryInFlight)
			w.Ready = 3
			s.want(s.pass(time.Second).next(), v1alpha1.Converged)
		},
		"and its pods are evicted while those are available too that are no members": func(t *testing.T) {
			s := newScript(t, stale("a", "x", verb(v1alpha1.VerbEvict), func(w *rollout.Workload) {
				w.StalePods, w.Pods, w.Ready, w.Owner.Desired, w.Owner.Available = w.StalePods[:1], 1, 1, 3, 2
			}))
			d := s.next()
			s.want(d, v1alpha1.CanaryInFlight)
			if m := d.State.InProgress[0].Message; !strings.Contains(m, "other pods") {
				t.Errorf("it is not told what is waited for: %q", m)
			}
			w := s.workload("x")
			w.Owner.Available = 3
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight, "Evict x x-0")
			current(w)
			w.Pods, w.Ready = 0, 0 // its owner's status is older
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
			w.Pods, w.Ready = 1, 1
			s.want(s.pass(time.Second).next(), v1alpha1.Converged)
		},
		"but pods that came since the roll began are": func(t *testing.T) {
			s := newScript(t, stale("a", "x", verb(v1alpha1.VerbEvict)))
			s.next()
			w := s.workload("x")
			w.Owner.Desired, w.Owner.Updated, w.Owner.Total, w.Owner.Available, w.Pods, w.Ready = 3, 3, 3, 3, 3, 3
			w.StalePods = w.StalePods[:1]
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight, "Evict x x-0")
			current(w)
			w.Pods, w.Ready = 2, 2 // its owner's status is older
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
			w.Pods, w.Ready = 3, 3
			s.want(s.pass(time.Second).next(), v1alpha1.Converged)
		},
		"a workload that failed since its pods left the mesh is in order after as long": func(t *testing.T) {
			s := newScript(t, stale("a", "x", verb(v1alpha1.VerbEvict), func(w *rollout.Workload) { w.StalePods = w.StalePods[:1] }))
			s.next()
			w := s.workload("x")
			current(w)
			w.Pods, w.Ready = 1, 1 // what took the place of the other is no member
			s.want(s.pass(time.Minute).next(), v1alpha1.CanaryInFlight)
			s.want(s.pass(10*time.Minute).next(), v1alpha1.ProgressDeadlineExceeded)
			d := s.pass(time.Minute).next()
			s.want(d, v1alpha1.ProgressDeadlineExceeded) // it may still come
			if !d.Again.Equal(s.now.Add(9 * time.Minute)) {
				t.Errorf("decides again at %s", d.Again)
			}
			s.want(s.pass(9*time.Minute).next(), v1alpha1.Converged)
		},

		"a stale pod that is not ready holds up an ordered roll, and is evicted": func(t *testing.T) {
			s := newScript(t, stale("a", "x", ordered))
			s.want(s.next(), v1alpha1.CanaryInFlight, "Restart x v1:new")
			w := s.workload("x")
			w.RestartedFor, w.Owner.Updated, w.Outdated = newHash, 0, 2
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight) // it may be ready again in a moment
			s.want(s.pass(5*time.Minute-time.Second).next(), v1alpha1.CanaryInFlight)
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight, "Evict x x-0")
			w.StalePods, w.Terminating, w.Pods = w.StalePods[1:], 1, 1
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
			w.Terminating, w.Pods, w.Owner.Updated, w.NewestPod = 0, 2, 1, s.now // its replacement starts
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
			w.Ready, w.Owner.Available = 2, 2 // and its controller goes on with the roll
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
			s.rolled("x", newHash)
			s.want(s.pass(time.Minute).next(), v1alpha1.Converged)
		},
		"one that is not ready for a moment while another is replaced is not, and the roll goes on": func(t *testing.T) {
			s := newScript(t, stale("a", "x", quorum))
			s.want(s.next(), v1alpha1.CanaryInFlight, "Restart x v1:new")
			w := s.workload("x")
			w.RestartedFor, w.Owner.Updated, w.Outdated = newHash, 0, 3
			s.pass(time.Second).next()
			w.StalePods, w.Pods, w.Outdated, w.Terminating = w.StalePods[:2], 2, 2, 1
			w.StalePods[0].Ready, w.Ready, w.Owner.Available = false, 1, 1
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
			w.Terminating, w.Pods, w.Owner.Updated, w.NewestPod = 0, 3, 1, s.now // its replacement starts, and takes long
			d := s.pass(time.Second).next()
			s.want(d, v1alpha1.CanaryInFlight)
			if m := d.State.InProgress[0].Message; !strings.Contains(m, "for a moment") {
				t.Errorf("it is not told what is waited for: %q", m)
			}
			s.want(s.pass(4*time.Minute).next(), v1alpha1.CanaryInFlight)
			w.StalePods[0].Ready, w.Ready, w.Owner.Available = true, 3, 3
			s.want(s.pass(time.Minute).next(), v1alpha1.CanaryInFlight)
			s.rolled("x", newHash)
			s.want(s.pass(time.Minute).next(), v1alpha1.Converged)
		},
		"nor when pods are evicted, while another is missing": func(t *testing.T) {
			s := newScript(t, stale("a", "x", quorum, verb(v1alpha1.VerbEvict)))
			s.want(s.next(), v1alpha1.CanaryInFlight, "Evict x x-2")
			w := s.workload("x")
			w.StalePods, w.Pods = w.StalePods[:2], 2
			w.StalePods[0].Ready, w.Ready, w.Owner.Available = false, 1, 1
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
			s.want(s.pass(5*time.Minute-time.Second).next(), v1alpha1.CanaryInFlight)
			w.Pods, w.NewestPod, w.Ready, w.Owner.Available = 3, s.now, 2, 2 // it came back, the one that is not ready did not
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight, "Evict x x-0")
		},
		"unless that lasts for half of the deadline": func(t *testing.T) {
			s := newScript(t, stale("a", "x", quorum, verb(v1alpha1.VerbEvict)))
			s.next()
			w := s.workload("x")
			w.StalePods, w.Pods = w.StalePods[:2], 2
			w.StalePods[0].Ready, w.Ready, w.Owner.Available = false, 1, 1
			s.pass(time.Second).next()
			s.want(s.pass(5*time.Minute).next(), v1alpha1.CanaryInFlight, "Evict x x-0")
		},
		"or nothing is lost with it": func(t *testing.T) {
			for name, edit := range map[string]func(*rollout.Workload){
				"it fails handshakes": func(w *rollout.Workload) { w.Broken = true },
				"it has expired":      func(w *rollout.Workload) { w.Expired = true },
				"none is ready": func(w *rollout.Workload) {
					w.StalePods[1].Ready, w.Ready, w.Owner.Available = false, 0, 0
				},
			} {
				for _, v := range []v1alpha1.Verb{v1alpha1.VerbEvict, v1alpha1.VerbRestart} {
					s := newScript(t, stale("a", "x", quorum, verb(v)))
					s.next()
					w := s.workload("x")
					w.StalePods, w.Pods = w.StalePods[:2], 2
					w.StalePods[0].Ready, w.Ready, w.Owner.Available = false, 1, 1
					edit(w)
					if v == v1alpha1.VerbRestart {
						w.RestartedFor, w.Outdated, w.Owner.Updated = newHash, 2, 1
					}
					if d := s.pass(time.Second).next(); len(d.Actions) != 1 || d.Actions[0].Verb != v1alpha1.VerbEvict {
						t.Errorf("%s, %s: %v", name, v, short(d))
					}
				}
			}
		},
		"one that came with the roll is not, nor one of another kind": func(t *testing.T) {
			for name, edit := range map[string]func(*rollout.Workload){
				"came with the roll": func(w *rollout.Workload) {
					w.StalePods[0].CreatedAt, w.NewestPod = noon.Add(time.Second), noon.Add(time.Second)
				},
				"another kind":      func(w *rollout.Workload) { w.Key.Kind = "DaemonSet" },
				"not one at a time": func(w *rollout.Workload) { w.Terminating = 1 },
			} {
				s := newScript(t, stale("a", "x", ordered))
				s.next()
				w := s.workload("x")
				w.RestartedFor, w.Owner.Updated, w.Outdated = newHash, 0, 2
				edit(w)
				s.facts.State.InProgress[0].Key = w.Key
				s.pass(2 * time.Second).next()
				if d := s.pass(6 * time.Minute).next(); len(d.Actions) > 0 {
					t.Errorf("%s: %v", name, short(d))
				}
			}
		},
		"an ordered roll whose eviction was refused is tried again, without another mark": func(t *testing.T) {
			s := newScript(t, stale("a", "x", ordered))
			s.next()
			w := s.workload("x")
			w.RestartedFor, w.Owner.Updated, w.Outdated, w.Refused = newHash, 0, 2, "the budget keep-two"
			s.pass(time.Second).next()
			s.want(s.pass(5*time.Minute).next(), v1alpha1.CanaryInFlight, "Evict x x-0")
			s.want(s.pass(5*time.Minute).next(), v1alpha1.EvictionBlocked)
			w.Refused = ""
			s.want(s.pass(10*time.Minute).next(), v1alpha1.EvictionBlocked)
			s.want(s.pass(5*time.Minute).next(), v1alpha1.EvictionBlocked, "Evict x x-0")
			s.rolled("x", newHash)
			s.want(s.pass(time.Minute).next(), v1alpha1.Converged)
		},
		"a pod of the roll that is stale and not ready calls for the next attempt once all stands still": func(t *testing.T) {
			s := newScript(t, stale("a", "x", ordered, func(w *rollout.Workload) {
				w.StalePods, w.RestartedFor, w.Owner.Updated, w.Outdated = w.StalePods[:1], newHash, 1, 1
				w.StalePods[0].RestartedFor, w.StalePods[0].CreatedAt, w.NewestPod = newHash, noon, noon
			}))
			s.want(s.next(), v1alpha1.RolloutInFlight)
			s.want(s.pass(10*time.Minute).next(), v1alpha1.CanaryInFlight, "Restart x v1:new.2")
			s.workload("x").RestartedFor = newHash + ".2"
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
			s.want(s.pass(5*time.Minute).next(), v1alpha1.CanaryInFlight, "Evict x x-0")
		},
		"an ordered roll that is not in the state goes on with the eviction under all the rules for a start": func(t *testing.T) {
			s := newScript(t, stale("a", "x", ordered, func(w *rollout.Workload) { w.RestartedFor, w.Owner.Updated, w.Outdated = newHash, 0, 2 }), stale("b", "y", wave(1)))
			s.want(s.next(), v1alpha1.CanaryInFlight, "Restart y v1:new")
			s.rolled("y", newHash)
			s.want(s.pass(time.Minute).next(), v1alpha1.CanaryInFlight)
			s.want(s.pass(5*time.Minute).next(), v1alpha1.CanaryInFlight, "Evict x x-0")
		},

		"a mark that is removed is written again, the second time pods are evicted": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.next()
			w := s.workload("x")
			for reverts := 1; reverts <= 2; reverts++ {
				w.RestartedFor = newHash
				s.pass(time.Second).next()
				w.RestartedFor = ""
				d := s.pass(time.Second).next()
				if got := d.State.Attempts[0].Reverts; got != reverts {
					t.Errorf("%d reverts are counted, want %d", got, reverts)
				}
				s.want(d, v1alpha1.CanaryInFlight, map[int]string{1: "Restart x v1:new", 2: "Evict x x-1"}[reverts])
			}
			if d := s.next(); d.State.Attempts[0].Reverts != 2 {
				t.Errorf("a revert is counted twice: %+v", d.State)
			}
		},
		"a mark that is removed before it shows counts too": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.next()
			w := s.workload("x")
			for range 2 {
				w.WrittenAt = s.pass(2 * time.Second).now // written, and gone by the time it could show
				s.pass(2 * time.Second).next()
			}
			s.want(s.next(), v1alpha1.CanaryInFlight, "Evict x x-1")
		},
		"nothing is done when the pods are current after the mark was removed": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.next()
			s.workload("x").RestartedFor = newHash
			s.pass(time.Second).next()
			s.pass(time.Minute).rolled("x", "")
			s.want(s.next(), v1alpha1.Converged)
			s.want(s.pass(time.Hour).next(), v1alpha1.Converged)
		},
		"the rollout that removes the mark is waited for": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.next()
			s.workload("x").RestartedFor = newHash
			s.pass(time.Second).next()
			s.underWay("x", "")
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
		},

		"a roll towards an earlier bundle comes to rest before the next one begins": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.facts.Bundle.Hash = oldHash
			s.want(s.next(), v1alpha1.CanaryInFlight, "Restart x v1:old")
			s.underWay("x", oldHash)
			s.pass(time.Second).next()
			s.facts.Bundle.Hash = newHash
			d := s.pass(time.Second).next()
			s.want(d, v1alpha1.CanaryInFlight)
			if len(d.State.InProgress) != 1 || d.State.InProgress[0].For != oldHash || d.Again.IsZero() {
				t.Errorf("%+v", d)
			}
			w := s.rolled("x", oldHash)
			w.StalePods = pods("x", s.now, 2)
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight, "Restart x v1:new")
		},
		"a roll towards an earlier bundle that was not written is dropped in time": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.facts.Bundle.Hash = oldHash
			s.next()
			s.facts.Bundle.Hash = newHash
			s.want(s.pass(30*time.Second).next(), v1alpha1.CanaryInFlight) // it may show yet
			s.want(s.pass(31*time.Second).next(), v1alpha1.CanaryInFlight, "Restart x v1:new")
		},
		"one whose mark was taken away comes to rest when its workload is whole": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.facts.Bundle.Hash = oldHash
			s.next()
			w := s.workload("x")
			for _, mark := range []string{oldHash, ""} {
				w.RestartedFor = mark
				s.pass(time.Second).next()
			}
			s.facts.Bundle.Hash, w.Ready, w.Owner.Available = newHash, 1, 1
			s.want(s.pass(2*time.Minute).next(), v1alpha1.CanaryInFlight)
			w.Ready, w.Owner.Available, w.Outdated = 2, 2, 1 // a pod of its mark is still seen
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
			w.Outdated = 0
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight, "Restart x v1:new")
		},
		"a roll towards an earlier bundle that never ends is let go": func(t *testing.T) {
			s := newScript(t, stale("a", "x"), stale("b", "y"))
			s.facts.Bundle.Hash = oldHash
			s.next()
			s.underWay("x", oldHash)
			s.next()
			s.facts.Bundle.Hash = newHash
			s.workload("x").StalePods = nil
			s.pass(time.Second).next()
			s.want(s.pass(11*time.Minute).next(), v1alpha1.CanaryInFlight, "Restart y v1:new")
		},

		"the fence is stored and asked for once": func(t *testing.T) {
			s := newScript(t, stale("a", "x"), stale("b", "y"))
			s.facts.Fence = rollout.FenceEvidence{Needed: true, Known: true, Probe: rollout.AllFresh}
			if d := s.next(); !d.State.FencedAt.Equal(noon) {
				t.Errorf("not stored: %+v", d.State)
			}
			s.facts.Fence = rollout.FenceEvidence{Needed: true}
			s.rolled("x", newHash)
			s.want(s.pass(time.Minute).next(), v1alpha1.Rolling, "Restart y v1:new")
		},
		"nor again by a leader whose clock is behind that of the one that saw the bundle": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.facts.Fence = rollout.FenceEvidence{Needed: true, Known: true, Probe: rollout.AllFresh}
			s.facts.Bundle.SeenAt = noon.Add(4 * time.Minute)
			s.want(s.next(), v1alpha1.CanaryInFlight, "Restart x v1:new")
		},
		"without the fence in a test's planner nothing is waited for": func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.facts.Fence.Needed, s.facts.Policy.NoFence = true, true
			s.want(s.next(), v1alpha1.CanaryInFlight, "Restart x v1:new")
		},
		"each wave begins with its own canary": func(t *testing.T) {
			s := newScript(t, stale("a", "x", wave(1)), stale("b", "y"), stale("c", "z"))
			s.facts.State = rollout.State{BundleHash: newHash, Wave: 1, Completed: 7}
			s.want(s.next(), v1alpha1.Rolling, "Restart x v1:new")
			s.rolled("x", newHash)
			s.want(s.pass(time.Minute).next(), v1alpha1.CanaryInFlight, "Restart y v1:new")
		},
		"when time is short the budget is used at once, after the canary": func(t *testing.T) {
			var many []rollout.Workload
			for _, name := range []string{"p", "q", "r", "s", "t", "u", "v", "w"} {
				many = append(many, stale(name, name))
			}
			s := newScript(t, many...)
			s.facts.Breaks, s.facts.Policy.MaxConcurrent = noon.Add(time.Hour), 4
			s.facts.State = rollout.State{BundleHash: newHash, Wave: 2, Completed: 1, Measured: 1, MeasuredTotal: time.Hour}
			d := s.next()
			if len(d.Actions) != 4 || !d.AtRisk || !d.ETA.Equal(noon.Add(2*time.Hour)) {
				t.Errorf("%d writes, at risk %t, ETA %s", len(d.Actions), d.AtRisk, d.ETA)
			}
			s.facts.State = rollout.State{BundleHash: newHash, Wave: 2, Measured: 1, MeasuredTotal: time.Hour}
			if d = s.next(); len(d.Actions) != 1 {
				t.Errorf("%d writes without a canary", len(d.Actions))
			}
		},
		"a decision made twice starts nothing more": func(t *testing.T) {
			s := newScript(t, stale("a", "x"), stale("b", "y"), stale("c", "z", verb(v1alpha1.VerbEvict)))
			s.facts.State = rollout.State{BundleHash: newHash, Wave: 2, Completed: 1}
			first := s.next()
			if diff := cmp.Diff(first, s.next()); diff != "" {
				t.Errorf("(-first +second):\n%s", diff)
			}
		},
	} {
		t.Run(name, play)
	}
}
