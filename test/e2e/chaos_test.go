package e2e

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle/bundletest"
)

// The scenarios of this file kill and stop the controller that all scenarios
// share. They do not run in parallel, so that none of the others is under way.

// The controller is killed three times while it rolls, each time when a
// decision was stored a moment before: each workload is rolled once all the
// same, and the budget holds across its lives.
func TestEachWorkloadIsRolledOnceThoughTheControllerIsKilled(t *testing.T) {
	const most = 3
	m := newMesh(t, meshOptions{})
	f := newFleet(m, 12)
	history, decided := m.record(), m.decisions()
	next := m.rotate()
	spec := quick()
	spec.Rollout.MaxConcurrent = new(intstr.FromInt32(most))
	m.trust(*spec)
	for _, done := range []int32{0, 3, 7} {
		decided.await(func(s *v1alpha1.RolloutStatus) bool { return begun(s) > 0 && s.Wave.Completed >= done })
		env.leader.Kill()
		restartLeader(t)
	}
	mt := m.awaitConverged(90*time.Second, m.root, next)

	f.rolledOnce(history, mt.Status.Bundle.Hash)
	f.carry(m.root, next)
	f.within(history, most)
}

// A leader is stopped in its tracks when it has stored a decision and not
// carried it out. Its successor does so, and rolls all towards yet another
// bundle. The sleeper wakes up: nothing of what it had decided is done.
func TestALeaderThatSleptDoesNotActOnWhatItHadDecided(t *testing.T) {
	m := newMesh(t, meshOptions{})
	f := newFleet(m, 8)
	history, decided := m.record(), m.decisions()
	standby := startStandby(t)
	next := m.rotate()
	m.trust(*quick())
	decided.await(func(s *v1alpha1.RolloutStatus) bool { return begun(s) > 0 && s.Wave.Completed >= 3 })
	sleeper := env.leader
	if err := sleeper.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	env.leader = standby
	first := m.awaitConverged(time.Minute, m.root, next).Status.Bundle.Hash
	f.rolledOnce(history, first)
	third := bundletest.NewRoot(t, "root.linkerd.cluster.local", lifetime())
	m.publish(m.root, next, third)
	second := m.awaitConverged(time.Minute, m.root, next, third).Status.Bundle.Hash

	runs := sleeper.Runs()
	if err := sleeper.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, func() error {
		if sleeper.Runs() == runs {
			return errors.New("a leader that lost its lease goes on")
		}
		return nil
	})
	stays(t, 2*time.Second, func() error { return f.marks(history, first, second) })
	f.carry(m.root, next, third)
}

// startStandby starts a second replica. When the test ends the one that is
// stopped by then is killed, and the other goes on for the other scenarios.
func startStandby(t *testing.T) *controller {
	t.Helper()
	dir, first := filepath.Dir(env.leader.Log), env.leader
	standby, err := startController(dir, "standby", filepath.Join(dir, "reanchor-controller.kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if first.Kill(); env.leader == first {
			env.leader = standby
		}
	})
	return standby
}

// fleet is a namespace full of workloads: Deployments, StatefulSets and a
// DaemonSet, which are rolled by template, and a StatefulSet that is rolled by
// eviction.
type fleet struct {
	t         *testing.T
	namespace string
	size      int
	before    []corev1.Pod
}

func newFleet(m *meshWorld, size int) *fleet {
	m.t.Helper()
	f := &fleet{t: m.t, namespace: m.namespace("fleet"), size: size}
	for i := range size {
		deployment(m.t, f.namespace, f.name(i), 1, nil)
	}
	statefulSet(m.t, f.namespace, "ordinals", 2, appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType})
	for _, name := range f.spares() {
		statefulSet(m.t, f.namespace, name, 1, appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType})
	}
	daemonSet(m.t, f.namespace, "nodes", 2, appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType})
	statefulSet(m.t, f.namespace, "evicted", 3, appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType})
	ready(m.t, f.namespace, size+2+len(f.spares())+2+3)
	atRest(m.t, f.namespace)
	f.before = pods(m.t, f.namespace)
	return f
}

func (f *fleet) name(i int) string { return fmt.Sprintf("app-%d", i) }

// spares are more StatefulSets, of one pod each. The turn of StatefulSets comes last,
// when nothing else is left to fill the budget: they alone are more than it allows.
func (f *fleet) spares() []string { return []string{"spare-a", "spare-b"} }

// marked returns the workloads that are rolled by template, as KIND NAME.
func (f *fleet) marked() []string {
	out := []string{"StatefulSet ordinals", "DaemonSet nodes"}
	for _, name := range f.spares() {
		out = append(out, "StatefulSet "+name)
	}
	for i := range f.size {
		out = append(out, "Deployment "+f.name(i))
	}
	return out
}

// rolledOnce checks that each workload that is rolled by template was marked for
// the bundle and has one more revision, and that each pod there was at first was
// ended, and no other.
func (f *fleet) rolledOnce(history *timeline, hash string) {
	f.t.Helper()
	if err := f.marks(history, hash); err != nil {
		f.t.Error(err)
	}
	have := revisions(f.t, f.namespace)
	for i := range f.size {
		if n := have[f.name(i)]; n != 2 {
			f.t.Errorf("%s has %d revisions, want two", f.name(i), n)
		}
		if n := len(history.endings(f.namespace, f.name(i))); n != 1 {
			f.t.Errorf("%d pods of %s were replaced, want one", n, f.name(i))
		}
	}
	for name, want := range map[string]int{"ordinals": 2, "spare-a": 2, "spare-b": 2, "nodes": 2, "evicted": 1} {
		if n := revisionsOf(f.t, f.namespace, name); n != want {
			f.t.Errorf("%s has %d revisions, want %d", name, n, want)
		}
	}
	for name, want := range map[string][]string{"ordinals": ordinals("ordinals", 1, 0), "spare-a": {"spare-a-0"}, "spare-b": {"spare-b-0"}, "evicted": ordinals("evicted", 2, 1, 0)} {
		if diff := cmp.Diff(want, history.endings(f.namespace, name)); diff != "" {
			f.t.Errorf("endings of pods of StatefulSet %s (-want +got):\n%s", name, diff)
		}
	}
	if ended := history.endings(f.namespace, "nodes"); len(ended) != 2 {
		f.t.Errorf("pods %v of the DaemonSet were replaced, want two", ended)
	}
}

// sets are the fleet's workloads other than Deployments, as KIND NAMESPACE/NAME,
// and the number of their pods.
func (f *fleet) sets() map[string]int {
	out := map[string]int{
		"StatefulSet " + f.namespace + "/ordinals": 2,
		"DaemonSet " + f.namespace + "/nodes":      2,
		"StatefulSet " + f.namespace + "/evicted":  3,
	}
	for _, name := range f.spares() {
		out["StatefulSet "+f.namespace+"/"+name] = 1
	}
	return out
}

// within checks that at no instant more workloads of any kind were in flight than
// the budget allows, and that each set was, so that what is counted is known to be
// seen.
func (f *fleet) within(history *timeline, most int) {
	f.t.Helper()
	rested, flown := map[string]bool{}, map[string]bool{}
	var worst []string
	history.replay(func(i *instant) {
		var flying []string
		for _, d := range i.deployments() {
			if inFlight(d, i.pods(d.Namespace, d.Name)) {
				flying = append(flying, "Deployment "+d.Name)
			}
		}
		for key, size := range f.sets() {
			switch settled := f.settled(i, key, size); {
			case settled:
				rested[key] = true
			case rested[key]: // before, its pods are still being listed
				flying, flown[key] = append(flying, key), true
			}
		}
		if len(flying) > len(worst) {
			worst = flying
		}
	})
	if len(worst) > most {
		f.t.Errorf("%d workloads were in flight at once, want at most %d: %v", len(worst), most, worst)
	}
	for key := range f.sets() {
		if !flown[key] {
			f.t.Errorf("%s was never seen in flight", key)
		}
	}
}

// settled reports whether a set is not being rolled: all its pods serve, are of its
// template and are either those of the beginning or all others.
func (f *fleet) settled(i *instant, key string, size int) bool {
	owner, ok := i.objects[key]
	if !ok {
		return false
	}
	pods, old, first := i.pods(f.namespace, owner.GetName()), 0, uids(f.before)
	for _, p := range pods {
		if mark(p) != mark(owner) {
			return false
		}
		if first[p.UID] {
			old++
		}
	}
	return len(pods) == size && up(pods) == size && (old == 0 || old == size)
}

// marks returns an error unless every workload that is rolled by template was
// marked for just the bundles, in that order.
func (f *fleet) marks(history *timeline, hashes ...string) error {
	f.t.Helper()
	have := map[string][]string{}
	history.replay(func(i *instant) {
		if o := i.change.object; i.change.kind != "Pod" && i.before != nil && mark(o) != mark(i.before) {
			key := i.change.kind + " " + o.GetName()
			have[key] = append(have[key], mark(o))
		}
	})
	for _, key := range f.marked() {
		if diff := cmp.Diff(hashes, have[key]); diff != "" {
			return fmt.Errorf("marks of %s (-want +got):\n%s", key, diff)
		}
	}
	return nil
}

// carry checks that every pod trusts the anchors.
func (f *fleet) carry(anchors ...*bundletest.CA) {
	f.t.Helper()
	now, old := pods(f.t, f.namespace), uids(f.before)
	if len(now) != len(f.before) {
		f.t.Errorf("there are %d pods, want %d", len(now), len(f.before))
	}
	for i := range now {
		if old[now[i].UID] || !anchorsOf(f.t, &now[i]).Equal(setOf(anchors...)) {
			f.t.Errorf("pod %s does not carry the bundle", now[i].Name)
		}
	}
}

// decisions follows what the controller stores before it acts.
type decisions struct {
	t      *testing.T
	name   string
	events watch.Interface
}

func (m *meshWorld) decisions() *decisions {
	m.t.Helper()
	objects, err := dynamic.NewForConfig(env.lab.Config())
	if err != nil {
		m.t.Fatal(err)
	}
	w, err := objects.Resource(v1alpha1.GroupVersion.WithResource("meshtrusts")).Watch(context.Background(), metav1.ListOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(w.Stop)
	return &decisions{t: m.t, name: m.name, events: w}
}

// await returns at the moment that a status is stored of which match is true.
func (d *decisions) await(match func(*v1alpha1.RolloutStatus) bool) {
	d.t.Helper()
	late := time.After(time.Minute)
	for {
		select {
		case <-late:
			d.t.Fatal("no such decision within a minute")
		case e, ok := <-d.events.ResultChan():
			if !ok {
				d.t.Fatal("the watch of MeshTrusts ended")
			}
			mt, err := d.trustOf(e)
			if err != nil {
				d.t.Fatal(err)
			}
			if mt != nil && mt.Status.Rollout.Wave != nil && match(&mt.Status.Rollout) {
				return
			}
		}
	}
}

// trustOf returns the MeshTrust that was stored, nil for one of another scenario.
func (d *decisions) trustOf(e watch.Event) (*v1alpha1.MeshTrust, error) {
	u, ok := e.Object.(*unstructured.Unstructured)
	if !ok || u.GetName() != d.name {
		return nil, nil
	}
	mt := &v1alpha1.MeshTrust{}
	return mt, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, mt)
}

// begun counts the rolls by template that are decided and not seen yet.
func begun(s *v1alpha1.RolloutStatus) int {
	n := 0
	for _, w := range s.InProgress {
		if w.Verb == v1alpha1.VerbRestart && !w.Applied {
			n++
		}
	}
	return n
}
