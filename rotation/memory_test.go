package rotation

import (
	"testing"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/inventory"
	"github.com/reanchor/reanchor/rotation/owner"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// A write counts until the cache shows it. An object that was deleted and created
// again begins with the first generation, and never shows it.
func TestAWriteIsAwaitedOnTheObjectThatWasWritten(t *testing.T) {
	web := rollout.Key{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}
	for name, c := range map[string]struct {
		seen  owner.Owner
		lags  bool
		wrote bool
	}{
		"the object before the write": {owner.Owner{UID: "one", Generation: 6}, true, true},
		"the object after it":         {owner.Owner{UID: "one", Generation: 7}, false, true},
		"another of its name":         {owner.Owner{UID: "two", Generation: 1}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			m.wrote("m", rollout.Action{Key: web, Verb: v1alpha1.VerbRestart}, owner.Written{UID: "one", Generation: 7}, at(0))
			c.seen.Spec = rollout.OwnerSpec{Key: web, Found: true}
			for range 2 {
				w := (&surveyor{memory: m.of("m")}).begin(c.seen)
				if w.Owner.Lags != c.lags || w.WrittenAt.IsZero() == c.wrote {
					t.Errorf("it lags: %t, want %t; written at %s", w.Owner.Lags, c.lags, w.WrittenAt)
				}
				m.caughtUp("m", []rollout.Workload{w})
			}
		})
	}
}

// A pod may be a member of two meshes. What one has just written to its workload is
// in flight for the other as well, until the cache shows it, and no longer.
func TestWhatWasWrittenForOneMeshIsInFlightForTheOther(t *testing.T) {
	db := rollout.Key{Group: "apps", Kind: "StatefulSet", Namespace: "shop", Name: "db"}
	old := owner.Owner{UID: "one", Generation: 6, Spec: rollout.OwnerSpec{Key: db, Found: true}}
	shown := old
	shown.Generation = 7
	pod := inventory.Pod{Name: "db-0", UID: "pod"}
	ending := pod
	ending.Terminating = true
	for name, c := range map[string]struct {
		action        rollout.Action
		before, after owner.Owner
		pod, then     inventory.Pod
	}{
		"a mark":      {rollout.Action{Key: db, Verb: v1alpha1.VerbRestart}, old, shown, pod, pod},
		"an eviction": {rollout.Action{Key: db, Verb: v1alpha1.VerbEvict, Pod: rollout.Pod{Name: pod.Name, UID: string(pod.UID)}}, old, old, pod, ending},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			m.wrote("a", c.action, owner.Written{UID: "one", Generation: 7}, at(0))
			look := func(mesh string, o owner.Owner, p inventory.Pod) rollout.Workload {
				s := surveyorOf()
				s.memory = m.of(mesh)
				w := s.describe(o, []inventory.Pod{p})
				m.caughtUp(mesh, []rollout.Workload{w})
				return w
			}
			for range 2 {
				if w := look("b", c.before, c.pod); !w.Owner.Lags || !w.WrittenAt.IsZero() {
					t.Errorf("it lags: %t, want true; written by this mesh at %s, want never", w.Owner.Lags, w.WrittenAt)
				}
			}
			for _, mesh := range []string{"a", "b"} {
				if w := look(mesh, c.after, c.then); w.Owner.Lags {
					t.Errorf("mesh %s waits for what its cache shows", mesh)
				}
			}
			if got := m.of("b"); len(got.evicted) > 0 {
				t.Errorf("evictions are remembered that have been seen: %v", got.evicted)
			}
		})
	}
}
