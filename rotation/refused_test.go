package rotation

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/published"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// A mesh is looked at whenever one of its pods changes: what was refused is not tried
// at each look, and nothing else waits for it.
func TestARefusedWriteIsTriedAgainWithPatience(t *testing.T) {
	w := newActing(t)
	var tries []int
	refuses := true
	w.seen.writer.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, options ...client.ApplyOption) error {
			tries = append(tries, int(w.clock.Since(now).Seconds()))
			if refuses {
				return apierrors.NewForbidden(schema.GroupResource{}, "a", errors.New("a policy says no"))
			}
			return c.Apply(ctx, o, options...)
		},
	})
	look := func(actions ...rollout.Action) time.Duration {
		w.seen.decidedAt = w.clock.Now()
		soon, err := w.act(t.Context(), w.trust, w.seen, rollout.Decision{Actions: actions})
		if err != nil {
			t.Fatal(err)
		}
		return soon
	}
	want := []int{0, 1, 3, 7, 15, 31, 47}
	for range 600 {
		before := len(tries)
		soon := look(w.actions[0])
		if next := w.clock.Now().Add(soon); len(tries) > before && len(tries) < len(want) && int(next.Sub(now).Seconds()) != want[len(tries)] {
			t.Errorf("after the try at %d s the next look is in %s", tries[before], soon)
		}
		w.clock.Step(100 * time.Millisecond)
	}
	if diff := cmp.Diff(want, tries); diff != "" {
		t.Errorf("tried at (-want +got):\n%s", diff)
	}

	refuses = false
	if soon := look(w.actions[0], w.actions[1]); soon != outcomeWithin || !cmp.Equal(w.written, []string{"b"}) {
		t.Errorf("beside what was refused %v is written, and the next look is in %s", w.written, soon)
	}
	w.clock.Step(patience(5))
	look(w.actions[0])
	if !cmp.Equal(w.written, []string{"b", "a"}) || len(w.memory.of("linkerd").refused) > 0 {
		t.Errorf("written to %v, and %v is remembered as refused", w.written, w.memory.of("linkerd").refused)
	}
}

// What refused a write that nobody wants any more is no reason for what happens later.
func TestARefusalEndsWithTheWriteThatItWasOf(t *testing.T) {
	w := newActing(t)
	gone := w.actions[0]
	gone.Key.Name = "gone"
	w.memory.wasRefused("linkerd", gone.Key, "a budget", now.Add(-time.Minute))
	if _, err := w.act(t.Context(), w.trust, w.seen, rollout.Decision{Actions: []rollout.Action{gone}}); err != nil {
		t.Fatal(err)
	}
	if r := w.memory.of("linkerd").refused; len(r) > 0 {
		t.Errorf("%v is remembered as refused", r)
	}
}

// A burst is followed by another for the same bundle only after a while, and by one
// for another bundle at once.
func TestBurstsOfProbesHaveAPace(t *testing.T) {
	probes := 0
	f := newFence(interceptor.NewClient(fake.NewFakeClient(), interceptor.Funcs{
		Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
			probes++
			return errors.New("no")
		},
	}), "probe")
	o := &observation{mesh: mesh.Mesh{Profile: mesh.Linkerd}}
	o.facts.Bundle = rollout.Bundle{Hash: "v1:a", PublishedAt: at(0), SeenAt: at(1)}
	made := 0
	for look := at(10); look.Before(at(10).Add(4 * probeEvery)); look = look.Add(time.Second) {
		if f.probe(t.Context(), "m", o, look) {
			made++
		}
	}
	o.facts.Bundle.Hash = "v1:b"
	if other := f.probe(t.Context(), "m", o, at(10).Add(4*probeEvery)); made != 4 || !other || probes == 0 {
		t.Errorf("%d bursts in %s, and one for the next bundle: %t", made, 4*probeEvery, other)
	}
}

// A bundle that cannot be used holds everything back, whatever is said of the issuer.
func TestNothingIsRolledTowardsABundleThatCannotBeUsed(t *testing.T) {
	for reason, want := range map[v1alpha1.Reason]v1alpha1.Reason{
		v1alpha1.BundleUsable: v1alpha1.IssuerNotTrusted, v1alpha1.BundleInvalid: v1alpha1.BundleInvalid,
		v1alpha1.BundleEmpty: v1alpha1.BundleEmpty, v1alpha1.BundleNotFound: v1alpha1.BundleNotFound,
	} {
		o := &observation{bundle: published.Bundle{Reason: reason, Message: "m"}, gate: rollout.Hold{Reason: v1alpha1.IssuerNotTrusted}}
		if got := o.hold(); got.Reason != want {
			t.Errorf("with a bundle that is %s everything waits for %q, want %q", reason, got.Reason, want)
		}
	}
}
