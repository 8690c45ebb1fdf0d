package lifecycle_test

import (
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

func TestSwitchGate(t *testing.T) {
	x := newFixture(t)
	root := bundletest.NewRoot(t, "b", bundletest.From(now, time.Hour))
	renewed := anchorOf(root.Renew(bundletest.From(now, 2*time.Hour)))
	to := anchorOf(root)
	surelyA, maybeB := set(x.a), set(x.a, to)
	for name, c := range map[string]struct {
		trust   *mesh.Trust
		signers bundle.Set
		open    bool
	}{
		"a pod that has the anchor":                                   {&mesh.Trust{Knowledge: mesh.Known, Sure: maybeB, Maybe: maybeB}, set(x.a), true},
		"a pod that has it by another certificate of the key":         {&mesh.Trust{Knowledge: mesh.Known, Sure: set(renewed), Maybe: set(renewed)}, set(x.a), true},
		"a pod that follows the published bundle":                     {&mesh.Trust{Knowledge: mesh.Reloads}, set(x.a), true},
		"a pod that only may have it":                                 {&mesh.Trust{Knowledge: mesh.Known, Sure: surelyA, Maybe: maybeB}, set(x.a), false},
		"a pod of which nothing is known":                             {&mesh.Trust{}, set(x.a), false},
		"a pod that nobody looked at":                                 {nil, set(x.a), false},
		"a pod that cannot verify today's issuer has nothing to lose": {&mesh.Trust{Knowledge: mesh.Known, Sure: set(x.foreign), Maybe: set(x.foreign)}, set(x.a), true},
		"but not when it is unknown who signed that":                  {&mesh.Trust{Knowledge: mesh.Known, Sure: set(x.foreign), Maybe: set(x.foreign)}, bundle.Set{}, false},
		"a pod that may verify today's issuer":                        {&mesh.Trust{Knowledge: mesh.Known, Maybe: surelyA}, set(x.a), false},
	} {
		p := pod("web", x.a)
		p.Trust = c.trust
		way := lifecycle.SwitchGate(lifecycle.SwitchQuestion{Pods: []lifecycle.Pod{p}, To: to, SignedBy: c.signers})
		if open := len(way) == 0; open != c.open {
			t.Errorf("%s: %v", name, way)
		}
	}
}

func TestBlockersAreNamedOnceByWorkloadOrPod(t *testing.T) {
	x := newFixture(t)
	first, second, bare := pod("web", x.a), pod("web", x.a), pod("debug", x.a)
	bare.Workload, bare.NotRolled = v1alpha1.WorkloadRef{}, v1alpha1.BarePod
	way := lifecycle.SwitchGate(lifecycle.SwitchQuestion{Pods: []lifecycle.Pod{first, bare, second}, To: x.b, SignedBy: set(x.a)})
	if len(way) != 2 || way[0].Workload.Name != "web" || way[1].Workload.Kind != "Pod" || way[1].Reason != v1alpha1.BarePod {
		t.Errorf("%+v", way)
	}
}

func TestLeafGate(t *testing.T) {
	x := newFixture(t)
	base := lifecycle.LeafQuestion{InUseAt: now, Lifetime: 24 * time.Hour, LeafSkew: 20 * time.Second, Skew: 5 * time.Minute}
	end := now.Add(24*time.Hour + 20*time.Second + 10*time.Minute)
	for name, c := range map[string]struct {
		started time.Time
		at      time.Time
		change  func(*lifecycle.LeafQuestion)
		open    bool
	}{
		"a proxy that started before may hold an old leaf":  {now.Add(-time.Hour), now.Add(time.Hour), nil, false},
		"one that started after, on any clock, does not":    {now.Add(5*time.Minute + time.Second), now.Add(time.Hour), nil, true},
		"one that started after on its own clock only may":  {now.Add(4 * time.Minute), now.Add(time.Hour), nil, false},
		"one whose start is not known may":                  {time.Time{}, now.Add(time.Hour), nil, false},
		"at the very end a leaf may still live":             {now.Add(-time.Hour), end, nil, false},
		"past the end none lives":                           {now.Add(-time.Hour), end.Add(time.Nanosecond), nil, true},
		"without a lifetime there is no end":                {now.Add(-time.Hour), now.Add(9999 * time.Hour), func(q *lifecycle.LeafQuestion) { q.Lifetime = 0 }, false},
		"before the issuer is in use every leaf may be old": {now.Add(time.Hour), now.Add(9999 * time.Hour), func(q *lifecycle.LeafQuestion) { q.InUseAt = time.Time{} }, false},
		"what was acknowledged is not waited for":           {now.Add(-time.Hour), now, func(q *lifecycle.LeafQuestion) { q.Covered = func(*lifecycle.Pod) bool { return true } }, true},
	} {
		q := base
		p := pod("web", x.a)
		p.StartedAt = c.started
		q.Pods = []lifecycle.Pod{p}
		if c.change != nil {
			c.change(&q)
		}
		if way := lifecycle.LeafGate(q, c.at); (len(way) == 0) != c.open {
			t.Errorf("%s: %v", name, way)
		}
	}
}

func TestSignedByLooksAtTheSignatureAndNotAtTheDate(t *testing.T) {
	old := bundletest.NewRoot(t, "old", bundletest.From(now.Add(-100*time.Hour), 50*time.Hour))
	other := bundletest.NewRoot(t, "old", bundletest.From(now.Add(-100*time.Hour), 500*time.Hour))
	renewed := old.Renew(bundletest.From(now.Add(-60*time.Hour), 500*time.Hour))
	issuer := old.Intermediate("issuer", bundletest.From(now.Add(-90*time.Hour), 200*time.Hour))
	known := set(anchorOf(old), anchorOf(other), anchorOf(renewed), bundle.Anchor{Fingerprint: bundle.Fingerprint{9}})
	got := lifecycle.SignedBy([]*x509.Certificate{issuer.Cert}, known)
	if !got.Equal(set(anchorOf(old), anchorOf(renewed))) {
		t.Errorf("%d anchors", got.Len())
	}
	if !lifecycle.SignedBy(nil, known).Empty() {
		t.Error("an empty chain is signed by somebody")
	}
}

func TestCompose(t *testing.T) {
	x := newFixture(t)
	expired := anchorOf(bundletest.NewRoot(t, "expired", bundletest.From(now.Add(-2*time.Hour), time.Hour)))
	expiredForeign := anchorOf(bundletest.NewRoot(t, "ef", bundletest.From(now.Add(-2*time.Hour), time.Hour)))
	own := set(x.a, x.b, expired)
	spares := []bundle.Anchor{x.a}
	for i := range 4 {
		spares = append(spares, anchorOf(bundletest.NewRoot(t, fmt.Sprint("spare", i), bundletest.From(now.Add(-time.Hour), 2*time.Hour))))
	}
	for name, c := range map[string]struct {
		in   lifecycle.Composition
		want bundle.Set
		hold bool
	}{
		"foreign anchors are kept, expired or not": {
			lifecycle.Composition{Present: set(x.a, x.foreign, expiredForeign), Own: own, Newest: x.a.Fingerprint}, set(x.a, x.foreign, expiredForeign), false},
		"an expired own anchor goes": {
			lifecycle.Composition{Present: set(x.a, expired), Own: own, Newest: x.a.Fingerprint}, set(x.a), false},
		"unless something needs it": {
			lifecycle.Composition{Present: set(x.a, expired), Own: own, Needed: set(expired), Newest: x.a.Fingerprint}, set(x.a, expired), false},
		"what is needed is added once": {
			lifecycle.Composition{Present: set(x.a), Own: own, Needed: set(x.a, x.b), Newest: x.b.Fingerprint, MaxCarryOver: 1}, set(x.a, x.b), false},
		"what is dropped goes, foreign anchors never": {
			lifecycle.Composition{Present: set(x.a, x.b, x.foreign), Own: own, Drop: set(x.a, x.foreign), Newest: x.b.Fingerprint}, set(x.b, x.foreign), false},
		"more than may be carried over holds, and drops nothing": {
			lifecycle.Composition{Present: set(x.a), Own: own, Needed: set(x.a, x.b), Newest: x.b.Fingerprint}, set(x.a), true},
		"what is there and not needed counts for nothing": {
			lifecycle.Composition{Present: set(x.a, x.b), Own: set(x.a, x.b, x.c), Needed: set(x.a, x.c), Newest: x.c.Fingerprint, MaxCarryOver: 1}, set(x.a, x.b, x.c), false},
		"but not for ever": {
			lifecycle.Composition{Present: set(spares...), Own: set(spares...).Union(set(x.c)), Needed: set(x.a, x.c), Newest: x.c.Fingerprint, MaxCarryOver: 1}, set(spares...), true},
		"one that vanished comes back beside them": {
			lifecycle.Composition{Present: set(append(spares[1:], x.c)...), Own: set(spares...).Union(set(x.c)), Needed: set(x.a, x.c), Newest: x.c.Fingerprint, MaxCarryOver: 1},
			set(spares...).Union(set(x.c)), false},
		"what is there already is not held for": {
			lifecycle.Composition{Present: set(x.a, x.b), Own: own, Newest: x.b.Fingerprint}, set(x.a, x.b), false},
	} {
		got, hold := lifecycle.Compose(c.in, now)
		if !got.Equal(c.want) || (hold.Reason != "") != c.hold {
			t.Errorf("%s: %s, %v", name, x.names(got), hold)
		}
	}
}

func TestWhatSignedTheIssuerIsOwnAndTheRestIsForeign(t *testing.T) {
	x := newFixture(t)
	x.Archive, x.Anchors = lifecycle.Carrier{}, nil
	if own := lifecycle.OwnAnchors(&x.Facts); !own.Equal(set(x.a)) {
		t.Errorf("own are %s", x.names(own))
	}
}
