package rotation

import (
	"testing"

	"github.com/reanchor/reanchor/api/v1alpha1"
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
