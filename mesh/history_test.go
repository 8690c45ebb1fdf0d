package mesh_test

import (
	"testing"
	"time"

	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/mesh"
)

func at(minute, second int) time.Time {
	return now.Add(time.Duration(minute)*time.Minute + time.Duration(second)*time.Second)
}

// The history of these tests: {a} from minute 0 to 10, {a,b} from 10 to 20,
// and {b} from 20 on; now is minute 60.
func threeBundles(t *testing.T) (history mesh.History, a, b bundle.Set) {
	a = set(bundletest.NewRoot(t, "a", bundletest.From(now.Add(-time.Hour), 24*time.Hour)))
	b = set(bundletest.NewRoot(t, "b", bundletest.From(now.Add(-time.Hour), 24*time.Hour)))
	return mesh.History{
		{Set: a, PublishedAt: at(0, 0), LastSeen: at(10, 0)},
		{Set: a.Union(b), PublishedAt: at(10, 0), LastSeen: at(20, 0)},
		{Set: b, PublishedAt: at(20, 0), LastSeen: at(60, 0)},
	}, a, b
}

func TestAControlPlanePodTrustsWhatItReadAtItsStart(t *testing.T) {
	history, a, b := threeBundles(t)
	gap := append(mesh.History{}, history...)
	gap[0].LastSeen = at(5, 0)
	both := a.Union(b)
	for name, tc := range map[string]struct {
		history          mesh.History
		created, started time.Time
		sure, maybe      bundle.Set
		unknown          bool
	}{
		"created well inside one publication":                    {history, at(12, 0), at(12, 5), both, both, false},
		"created within the propagation delay of a new bundle":   {history, at(10, 5), at(10, 6), a, both, false},
		"created just after the propagation delay":               {history, at(10, 11), at(10, 12), both, both, false},
		"within the second to which the API cuts its times":      {history, at(10, 10), at(10, 11), a, both, false},
		"a node's clock that is behind does not matter":          {history, at(12, 0), at(9, 0), both, both, false},
		"a container that started again long after its pod":      {history, at(2, 0), at(15, 0), both, both, false},
		"a node's clock may be ahead, so a start near a change":  {history, at(19, 50), at(19, 50), b, both, false},
		"not started yet: any bundle since its creation":         {history, at(12, 0), time.Time{}, b, both, false},
		"created before the first bundle that was observed":      {history, at(-5, 0), at(-5, 0), bundle.Set{}, bundle.Set{}, true},
		"created so early that it may have read an earlier one":  {history, at(0, 5), at(0, 6), bundle.Set{}, bundle.Set{}, true},
		"a gap in the record in which it may have read anything": {gap, at(7, 0), at(7, 1), bundle.Set{}, bundle.Set{}, true},
		"a gap behind it does not matter":                        {gap, at(12, 0), at(12, 1), both, both, false},
		"no history at all":                                      {nil, at(12, 0), at(12, 1), bundle.Set{}, bundle.Set{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := linkerd()
			p := mesh.ViewOf(fixturePod(t, "pod-control-plane-proxy-injector.json"))
			p.CreatedAt = tc.created
			for i := range p.Containers {
				p.Containers[i].StartedAt = tc.started
			}
			got := m.Trust(p, mesh.World{History: tc.history, Now: at(60, 0)})
			if (got.Knowledge == mesh.Unknown) != tc.unknown {
				t.Fatalf("knowledge %v (%s), want unknown: %v", got.Knowledge, got.Why, tc.unknown)
			}
			if !got.Sure.Equal(tc.sure) || !got.Maybe.Equal(tc.maybe) {
				t.Errorf("surely %d and maybe %d anchors, want %d and %d", got.Sure.Len(), got.Maybe.Len(), tc.sure.Len(), tc.maybe.Len())
			}
		})
	}
}

func TestIdentityAlsoReadsItsMountedFile(t *testing.T) {
	history, a, b := threeBundles(t)
	p := mesh.ViewOf(fixturePod(t, "pod-control-plane-identity.json"))
	p.CreatedAt = at(2, 0)
	start := func(name string, when time.Time) {
		for i := range p.Containers {
			if p.Containers[i].Name == name {
				p.Containers[i].StartedAt = when
			}
		}
	}
	start("linkerd-proxy", at(15, 0))
	start("identity", at(11, 0)) // again, a minute after the change: its file may still be the old one
	got := linkerd().Trust(p, mesh.World{History: history, Now: at(60, 0)})
	if !got.Sure.Equal(a) || !got.Maybe.Equal(a.Union(b)) {
		t.Errorf("surely %d and maybe %d anchors, want the old one surely and both maybe", got.Sure.Len(), got.Maybe.Len())
	}
	p.Volumes = nil
	if got := linkerd().Trust(p, mesh.World{History: history, Now: at(60, 0)}); got.Knowledge != mesh.Unknown {
		t.Error("an identity pod that does not mount the bundle has unknown trust")
	}
}

func TestGenericMembers(t *testing.T) {
	history, a, b := threeBundles(t)
	bundleRef := mesh.Reference{Object: mesh.Object{Kind: mesh.Secret, Name: "erlang-ca"}, Key: "ca.crt"}
	base := mesh.Mesh{
		Name: "erlang", Profile: mesh.Generic, Namespace: "erlang", Bundle: bundleRef,
		EnvDelay: 10 * time.Second, FileDelay: 150 * time.Second, ClockSkew: 5 * time.Second,
	}
	mounted := mesh.Container{Name: "node", StartedAt: at(2, 0), Mounts: []mesh.Mount{{Volume: "ca"}}}
	byEnv := mesh.Container{Name: "node", StartedAt: at(12, 0), Env: []mesh.EnvVar{{Name: "CA", From: &bundleRef}}}
	literal := mesh.Container{Name: "node", Env: []mesh.EnvVar{{Name: "CA", Value: string(b.PEM())}}}
	other := mesh.Container{Name: "log-shipper", StartedAt: at(2, 0)}
	volume := []mesh.Volume{{Name: "ca", Objects: []mesh.Object{bundleRef.Object}}}
	with := func(change func(*mesh.Mesh)) mesh.Mesh { m := base; change(&m); return m }
	for name, tc := range map[string]struct {
		mesh       mesh.Mesh
		namespace  string
		containers []mesh.Container
		want       mesh.Knowledge
		sure       bundle.Set
	}{
		"a Secret mounted as a file, read at start":            {base, "erlang", []mesh.Container{mounted, other}, mesh.Known, a},
		"a Secret as a variable":                               {base, "erlang", []mesh.Container{byEnv}, mesh.Known, a.Union(b)},
		"a Secret in another namespace is another object":      {base, "shop", []mesh.Container{mounted}, mesh.Unknown, bundle.Set{}},
		"all keys of the Secret as variables":                  {base, "erlang", []mesh.Container{{Name: "node", StartedAt: at(2, 0), EnvFrom: []mesh.Object{bundleRef.Object}}}, mesh.Known, a},
		"no container uses the bundle":                         {base, "erlang", []mesh.Container{other}, mesh.Unknown, bundle.Set{}},
		"a named container that does not use it":               {with(func(m *mesh.Mesh) { m.Containers = []string{"log-shipper"} }), "erlang", []mesh.Container{mounted, other}, mesh.Unknown, bundle.Set{}},
		"a literal of the configured name":                     {with(func(m *mesh.Mesh) { m.Literal = "CA" }), "shop", []mesh.Container{literal}, mesh.Known, b},
		"file and variable differ: only what is in both holds": {base, "erlang", []mesh.Container{mounted, {Name: "side", StartedAt: at(30, 0), Env: byEnv.Env}}, mesh.Known, bundle.Set{}},
		"members that reload are never stale":                  {with(func(m *mesh.Mesh) { m.Reloads = true }), "erlang", []mesh.Container{mounted}, mesh.Reloads, bundle.Set{}},
	} {
		t.Run(name, func(t *testing.T) {
			p := &mesh.Pod{Namespace: tc.namespace, Labels: map[string]string{mesh.MeshLabel: "erlang"}, CreatedAt: at(1, 0), Containers: tc.containers, Volumes: volume}
			if !tc.mesh.Member(p) {
				t.Fatal("the label makes it a member")
			}
			got := tc.mesh.Trust(p, mesh.World{History: history, Now: at(60, 0)})
			if got.Knowledge != tc.want {
				t.Fatalf("knowledge %v (%s), want %v", got.Knowledge, got.Why, tc.want)
			}
			if !got.Sure.Equal(tc.sure) {
				t.Errorf("surely %d anchors, want %d", got.Sure.Len(), tc.sure.Len())
			}
		})
	}
	if base.Member(&mesh.Pod{Labels: map[string]string{mesh.MeshLabel: "kafka"}}) {
		t.Error("the label of another mesh does not make a member")
	}
}

func TestAPodAtAdmissionReadsThePresentBundle(t *testing.T) {
	history, _, b := threeBundles(t)
	p := mesh.ViewOf(fixturePod(t, "pod-control-plane-proxy-injector.json"))
	p.CreatedAt = time.Time{}
	for i := range p.Containers {
		p.Containers[i].StartedAt = time.Time{}
	}
	got := linkerd().Trust(p, mesh.World{History: history, Now: at(60, 0)})
	if got.Knowledge != mesh.Known || !got.Sure.Equal(b) {
		t.Errorf("got %v with %d anchors, want the bundle in force", got.Knowledge, got.Sure.Len())
	}
}
