package mesh_test

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/mesh"
)

func TestAResolverAnswersAsResolveDoes(t *testing.T) {
	history, a, b := threeBundles(t)
	gap := append(mesh.History{}, history...)
	gap[1].LastSeen = at(14, 0)
	claims := []mesh.Claim{
		{Knowledge: mesh.Known},
		{Knowledge: mesh.Known, Literals: string(a.PEM()) + "\x00"},
		{Knowledge: mesh.Known, Literals: string(a.PEM()) + "\x00" + string(b.PEM()) + "\x00"},
		{Knowledge: mesh.Known, Literals: "-----BEGIN \x00"},
		{Knowledge: mesh.Reloads},
		{Why: "a reason"},
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	m := linkerd()
	for _, h := range []mesh.History{history, gap, nil} {
		w := mesh.World{History: h, Now: at(40, 0)}
		resolver := m.NewResolver(w)
		for range 3000 {
			e := mesh.Evidence{Claim: claims[rnd.IntN(len(claims))], CreatedAt: at(rnd.IntN(30)-2, rnd.IntN(60))}
			for range rnd.IntN(4) {
				s := mesh.Start{File: rnd.IntN(2) == 0}
				if rnd.IntN(8) > 0 {
					s.At = e.CreatedAt.Add(time.Duration(rnd.IntN(900)) * time.Second).Unix()
				}
				e.Starts = append(e.Starts, s)
			}
			if got, want := *resolver.Trust(e), m.Resolve(e, w); !reflect.DeepEqual(got, want) {
				t.Fatalf("resolver: %v %q with %d anchors, want %v %q with %d, for %+v",
					got.Knowledge, got.Why, got.Sure.Len(), want.Knowledge, want.Why, want.Sure.Len(), e)
			}
		}
	}
}

func TestPodsThatReadTheSameShareOneTrust(t *testing.T) {
	history, _, _ := threeBundles(t)
	resolver := linkerd().NewResolver(mesh.World{History: history, Now: at(40, 0)})
	read := func(minute int) *mesh.Trust {
		return resolver.Trust(mesh.Evidence{
			Claim: mesh.Claim{Knowledge: mesh.Known}, CreatedAt: at(minute, 0), Starts: []mesh.Start{{At: at(minute, 1).Unix()}},
		})
	}
	if read(12) != read(15) || read(12) == read(3) {
		t.Error("pods of one publication share a Trust, pods of two do not")
	}
}

func alsoStarted(e mesh.Evidence) mesh.Evidence {
	e.CreatedAt, e.Starts = now, []mesh.Start{{At: now.Unix()}}
	return e
}

func TestEvidenceThatProvesNothingIsUnknown(t *testing.T) {
	literal := func(value string) mesh.Evidence {
		return linkerd().Inspect(proxyWith(mesh.EnvVar{Name: "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", Value: value}))
	}
	a := bundletest.NewRoot(t, "a", bundletest.From(now, time.Hour))
	for name, e := range map[string]mesh.Evidence{
		"the zero value":                        {},
		"a claim to know without any reading":   {Claim: mesh.Claim{Knowledge: mesh.Known}},
		"a literal with a NUL in it":            literal(a.PEM() + "\x00" + a.PEM()),
		"a literal that refers to a variable":   literal(a.PEM() + "$(MORE)"),
		"a start that no history tells of":      {Claim: mesh.Claim{Knowledge: mesh.Known}, CreatedAt: now, Starts: []mesh.Start{{At: now.Unix()}}},
		"a literal beside a start of that kind": alsoStarted(literal(a.PEM())),
		"a literal that is too large":           literal(a.PEM() + strings.Repeat(" ", 128<<10)),
	} {
		if got := linkerd().Resolve(e, mesh.World{Now: now}); got.Knowledge != mesh.Unknown || got.Why == "" {
			t.Errorf("%s: got %v %q, want unknown with a reason", name, got.Knowledge, got.Why)
		}
	}
	if got := linkerd().Resolve(literal(""), mesh.World{Now: now}); !got.None() {
		t.Error("an empty literal is proof that nothing is trusted")
	}
	if got := linkerd().Resolve(literal(a.PEM()+strings.Repeat(" ", 128<<10-len(a.PEM()))), mesh.World{Now: now}); !got.Sure.Equal(bundle.Of(a.Cert)) {
		t.Error("what a process can be started with is evidence")
	}
	if got := linkerd().Inspect(proxyWith(mesh.EnvVar{Name: "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", Value: strings.Repeat(" ", 1<<20)})); got.Literals != "" {
		t.Errorf("%d bytes are kept of what no process can be started with", len(got.Literals))
	}
	if got := linkerd().Resolve(literal(a.PEM()), mesh.World{Now: now}); !got.Sure.Equal(bundle.Of(a.Cert)) {
		t.Error("a literal is what the proxy trusts")
	}
}

func TestWhatChangesTheInspectionOfPods(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*mesh.Mesh)
		same   bool
	}{
		"nothing":                  {func(*mesh.Mesh) {}, true},
		"a propagation delay":      {func(m *mesh.Mesh) { m.FileDelay = time.Hour }, true},
		"the clock skew":           {func(m *mesh.Mesh) { m.ClockSkew = time.Hour }, true},
		"another published object": {func(m *mesh.Mesh) { m.Bundle.Name = "other" }, false},
		"another key of it":        {func(m *mesh.Mesh) { m.Bundle.Key = "other" }, false},
		"another namespace":        {func(m *mesh.Mesh) { m.Namespace = "other" }, false},
		"another name":             {func(m *mesh.Mesh) { m.Name = "other" }, false},
		"another profile":          {func(m *mesh.Mesh) { m.Profile = mesh.Istio }, false},
		"another variable":         {func(m *mesh.Mesh) { m.Literal = "CA" }, false},
		"other containers":         {func(m *mesh.Mesh) { m.Containers = []string{"a"} }, false},
		"whether members reload":   {func(m *mesh.Mesh) { m.Reloads = true }, false},
	} {
		m := linkerd()
		tc.change(m)
		if got := m.SameInspection(linkerd()); got != tc.same {
			t.Errorf("%s: same inspection %v, want %v", name, got, tc.same)
		}
	}
	if n := reflect.TypeFor[mesh.Mesh]().NumField(); n != 10 {
		t.Errorf("Mesh has %d fields: say here whether a change of the new one means to look at all pods again", n)
	}
}
