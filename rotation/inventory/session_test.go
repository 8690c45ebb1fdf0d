package inventory

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reanchor/reanchor/mesh"
)

// contents is all that an index can be asked about its pods.
func contents(tb testing.TB, x *Index, q Question) map[string][]string {
	tb.Helper()
	all := map[string][]string{}
	for _, name := range []string{"linkerd", "erlang"} {
		for _, w := range ask(tb, x, name, q) {
			all[name] = append(all[name], fmt.Sprintf("%v %+v ready=%d terminating=%d newest=%v", w.Key, w.Counts, w.Ready, w.Terminating, w.NewestPod))
			for pod := range w.Pods() {
				trust := pod.Trust
				pod.Trust = nil
				all[name] = append(all[name], fmt.Sprintf("  %+v %v %s %s", pod, trust.Knowledge, trust.Why, trust.Sure.Hash()))
			}
		}
	}
	return all
}

func TestTheStoreKeepsItsContract(t *testing.T) {
	ca := newAnchors(t)
	q := Question{Current: setOf(ca.next), Now: now}
	a, b := meshedPod("shop", "a", ca.old.PEM()), meshedPod("shop", "b", ca.old.PEM())
	changed := meshedPod("shop", "a", ca.next.PEM())
	left := meshedPod("shop", "a", ca.old.PEM())
	left.Spec.InitContainers = nil
	moved := meshedPod("shop", "a", ca.old.PEM())
	moved.Labels = map[string]string{mesh.MeshLabel: "erlang"}
	moved.Spec = erlangPod("a", now, now).Spec
	other := meshedPod("office", "a", ca.old.PEM())
	type step func(*session) error
	add := func(p *corev1.Pod) step { return func(s *session) error { return s.Add(compact(s.meshes, p)) } }
	update := func(p *corev1.Pod) step { return func(s *session) error { return s.Update(compact(s.meshes, p)) } }
	remove := func(p *corev1.Pod) step { return func(s *session) error { return s.Delete(compact(s.meshes, p)) } }
	list := func(pods ...*corev1.Pod) step {
		return func(s *session) error { replace(t, s, pods...); return nil }
	}
	for name, tc := range map[string]struct {
		steps []step
		want  []*corev1.Pod
	}{
		"an added pod is there":                           {[]step{add(a)}, []*corev1.Pod{a}},
		"one that is added twice is there once":           {[]step{add(a), add(a)}, []*corev1.Pod{a}},
		"adding what is there replaces it":                {[]step{add(a), add(changed)}, []*corev1.Pod{changed}},
		"an update replaces":                              {[]step{add(a), add(b), update(changed)}, []*corev1.Pod{changed, b}},
		"an update of what is not there adds":             {[]step{update(a)}, []*corev1.Pod{a}},
		"a deleted pod is gone":                           {[]step{add(a), add(b), remove(a)}, []*corev1.Pod{b}},
		"deleting what is not there does nothing":         {[]step{add(a), remove(b)}, []*corev1.Pod{a}},
		"pods of one name in two namespaces are two":      {[]step{add(a), add(other), remove(a)}, []*corev1.Pod{other}},
		"a pod that loses its membership is gone":         {[]step{add(a), update(left)}, nil},
		"a pod may change from one mesh to another":       {[]step{add(a), update(moved)}, []*corev1.Pod{moved}},
		"a list replaces everything":                      {[]step{add(a), list(changed, b)}, []*corev1.Pod{changed, b}},
		"a list that is empty leaves nothing":             {[]step{add(a), list()}, nil},
		"a list that exchanges one pod for another":       {[]step{add(a), list(b)}, []*corev1.Pod{b}},
		"a list that brings nothing new changes nothing":  {[]step{add(a), add(b), list(b, a)}, []*corev1.Pod{a, b}},
		"events go on after a list":                       {[]step{list(a), add(b), update(changed)}, []*corev1.Pod{changed, b}},
		"a resync changes nothing":                        {[]step{add(a), func(s *session) error { return s.Resync() }}, []*corev1.Pod{a}},
		"what is no compacted pod is refused, not stored": {[]step{add(a), refused(a), refused(&metav1.Status{})}, []*corev1.Pod{a}},
	} {
		t.Run(name, func(t *testing.T) {
			x := indexOf(t)
			for i, step := range tc.steps {
				if err := step(x.session); err != nil {
					t.Fatalf("step %d: %v", i, err)
				}
			}
			if diff := cmp.Diff(contents(t, indexOf(t, tc.want...), q), contents(t, x, q)); diff != "" {
				t.Errorf("contents (-want +got):\n%s", diff)
			}
		})
	}
}

func refused(obj any) func(*session) error {
	return func(s *session) error {
		if s.Add(obj) == nil || s.Update(obj) == nil || s.Delete(obj) == nil || s.Replace([]any{obj}, "") == nil {
			return fmt.Errorf("a %T was taken", obj)
		}
		return nil
	}
}

// Announcing too little leaves the roller asleep, and too much wakes it at every
// heartbeat of every pod.
func TestWhatMattersIsAnnouncedAndNothingElse(t *testing.T) {
	ca := newAnchors(t)
	for name, tc := range map[string]struct {
		change func(*corev1.Pod)
		want   bool
	}{
		"nothing":               {func(*corev1.Pod) {}, false},
		"a resource version":    {func(p *corev1.Pod) { p.ResourceVersion = "9" }, false},
		"an annotation":         {func(p *corev1.Pod) { p.Annotations = map[string]string{"a": "b"} }, false},
		"the stamp":             {func(p *corev1.Pod) { p.Annotations = map[string]string{"reanchor.dev/trust-bundle-hash": "v1:0"} }, false},
		"another condition":     {func(p *corev1.Pod) { p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: "X"}) }, false},
		"the bundle":            {func(p *corev1.Pod) { setAnchors(p, ca.next.PEM()) }, true},
		"readiness":             {func(p *corev1.Pod) { p.Status.Conditions = nil }, true},
		"the phase":             {func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }, true},
		"its end":               {func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, true},
		"that it terminates":    {func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: now} }, true},
		"the node":              {func(p *corev1.Pod) { p.Spec.NodeName = "node-2" }, true},
		"the owner":             {func(p *corev1.Pod) { ownedBy(p, "apps/v1", "DaemonSet", "other") }, true},
		"the template revision": {func(p *corev1.Pod) { p.Labels["controller-revision-hash"] = "2" }, true},
		"opting out":            {func(p *corev1.Pod) { p.Annotations = map[string]string{"reanchor.dev/opt-out": "true"} }, true},
		"the UID: another pod":  {func(p *corev1.Pod) { p.UID = "another" }, true},
		"its creation":          {func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(now) }, true},
		"the start of a container that reads a reference": {func(p *corev1.Pod) {
			p.Status.ContainerStatuses = erlangPod("a", now, now).Status.ContainerStatuses
		}, true},
	} {
		before := meshedPod("erlang", "a", ca.old.PEM())
		reference := erlangPod("a", now.Add(-time.Hour), now.Add(-time.Hour))
		before.Labels[mesh.MeshLabel] = "erlang" // it is a member of both meshes
		before.Spec.Containers, before.Spec.Volumes = reference.Spec.Containers, reference.Spec.Volumes
		before.Status.ContainerStatuses = reference.Status.ContainerStatuses
		after := before.DeepCopy()
		tc.change(after)
		for how, bring := range map[string]func(*session){
			"an event": func(s *session) { _ = s.Update(compact(s.meshes, after)) },
			"a list":   func(s *session) { replace(t, s, after) },
		} {
			x := indexOf(t, before)
			f := x.Source().(*feed)
			x.addFeed(f)
			f.take()
			bring(x.session)
			if got := len(f.take()) > 0; got != tc.want {
				t.Errorf("%s, by %s: announced %v, want %v", name, how, got, tc.want)
			}
		}
	}
}

// randomPod returns one of a few pods in one of many states, of either mesh, of
// both, or of none.
func randomPod(rnd *rand.Rand, ca anchors) *corev1.Pod {
	name := fmt.Sprintf("p-%d", rnd.IntN(12))
	pod := meshedPod([]string{"shop", "erlang"}[rnd.IntN(2)], name, []string{ca.old.PEM(), ca.next.PEM(), ca.gone.PEM(), "$(X)"}[rnd.IntN(4)])
	started := now.Add(-time.Duration(rnd.IntN(180)) * time.Minute)
	if rnd.IntN(2) == 0 {
		reference := erlangPod(name, started, started)
		pod.Labels[mesh.MeshLabel] = "erlang"
		pod.Spec.Containers, pod.Spec.Volumes = reference.Spec.Containers, reference.Spec.Volumes
		pod.Status.ContainerStatuses = reference.Status.ContainerStatuses
	}
	if rnd.IntN(3) == 0 {
		pod.Spec.InitContainers = nil
	}
	pod.Status.Phase = []corev1.PodPhase{corev1.PodRunning, corev1.PodRunning, corev1.PodPending, corev1.PodSucceeded}[rnd.IntN(4)]
	if rnd.IntN(2) == 0 {
		ownedBy(pod, "apps/v1", "StatefulSet", "p")
	}
	if rnd.IntN(4) == 0 {
		pod.DeletionTimestamp = &metav1.Time{Time: now}
	}
	pod.UID = types.UID(fmt.Sprintf("uid-%d", rnd.IntN(3)))
	return pod
}

// Whatever the events were, the index is that of the state they lead to.
func TestAnyEventsLeadToTheIndexOfTheirFinalState(t *testing.T) {
	ca := newAnchors(t)
	q := Question{Current: setOf(ca.next), Now: now, History: mesh.History{
		{Set: setOf(ca.old), PublishedAt: now.Add(-2 * time.Hour), LastSeen: now.Add(-time.Hour)},
		{Set: setOf(ca.next), PublishedAt: now.Add(-time.Hour), LastSeen: now},
	}}
	rnd := rand.New(rand.NewPCG(3, 4))
	for round := range 60 {
		state := map[string]*corev1.Pod{}
		x := indexOf(t)
		for range rnd.IntN(80) {
			pod := randomPod(rnd, ca)
			switch rnd.IntN(10) {
			case 0: // a relist, with events that were missed before
				state = map[string]*corev1.Pod{}
				for range rnd.IntN(20) {
					p := randomPod(rnd, ca)
					state[p.Namespace+"/"+p.Name] = p
				}
				replace(t, x.session, values(state)...)
			case 1, 2:
				delete(state, pod.Namespace+"/"+pod.Name)
				if err := x.session.Delete(compact(x.session.meshes, pod)); err != nil {
					t.Fatal(err)
				}
			default:
				state[pod.Namespace+"/"+pod.Name] = pod
				if err := x.session.Update(compact(x.session.meshes, pod)); err != nil {
					t.Fatal(err)
				}
			}
		}
		want := contents(t, indexOf(t, values(state)...), q)
		if diff := cmp.Diff(want, contents(t, x, q)); diff != "" {
			t.Fatalf("round %d (-want +got):\n%s", round, diff)
		}
	}
}

func values(m map[string]*corev1.Pod) []*corev1.Pod {
	var all []*corev1.Pod
	for _, pod := range m {
		all = append(all, pod)
	}
	return all
}

func TestWhatChangesForPodsNeedsAnotherList(t *testing.T) {
	ca := newAnchors(t)
	x := indexOf(t, meshedPod("shop", "a", ca.old.PEM()), erlangPod("b", now, now))
	first := x.session

	slower := linkerd()
	slower.FileDelay = time.Hour
	x.SetMeshes(erlang(), slower)
	if x.session != first || !x.Synced() {
		t.Error("a delay matters to verdicts, not to what is kept")
	}

	moved := erlang()
	moved.Bundle.Name = "another-ca"
	x.SetMeshes(linkerd(), moved)
	if x.session == first || x.HasSynced("erlang") || !x.HasSynced("linkerd") || x.Synced() {
		t.Error("the mesh whose pods are read in another way waits for a list, the other goes on")
	}
	select {
	case <-first.superseded:
	default:
		t.Error("the first session was not told to end")
	}
	if len(ask(t, x, "linkerd", Question{Now: now})) != 1 {
		t.Error("the pods of the other mesh are gone")
	}

	replace(t, first, erlangPod("late", now, now))
	if x.HasSynced("erlang") {
		t.Error("a late list of the first session was taken for one of the second")
	}
	replace(t, x.session, meshedPod("shop", "a", ca.old.PEM()), erlangPod("c", now, now))
	if w, _ := only(t, ask(t, x, "erlang", Question{Now: now})); !x.Synced() || w.Key.Name != "c" {
		t.Errorf("got %v, want what the second session listed", w.Key)
	}

	x.SetMeshes(linkerd())
	if x.HasSynced("erlang") || !x.HasSynced("linkerd") {
		t.Error("a mesh that is not named any more is unknown, the other stays")
	}
}

func TestQuestionsAndEventsMayComeAtTheSameTime(t *testing.T) {
	ca := newAnchors(t)
	x := indexOf(t)
	s := x.session
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	writers.Go(func() {
		rnd := rand.New(rand.NewPCG(5, 6))
		for range 2000 {
			if err := s.Update(compact(s.meshes, randomPod(rnd, ca))); err != nil {
				t.Error(err)
			}
		}
	})
	writers.Go(func() {
		for i := range 200 {
			m := linkerd()
			m.FileDelay = time.Duration(i)
			x.SetMeshes(m, erlang())
		}
	})
	for range 2 {
		readers.Go(func() {
			for {
				for _, w := range ask(t, x, "linkerd", Question{Current: setOf(ca.next), Now: now}) {
					if n := w.Counts.Total; n != len(w.pods) {
						t.Errorf("%d pods counted of %d", n, len(w.pods))
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
}
