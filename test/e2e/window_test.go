package e2e

import (
	"fmt"
	"maps"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/hack/lab"
)

// tokyo is nine hours ahead of UTC all year round.
const tokyo = "Asia/Tokyo"

// open is a window that has been open for half an hour and stays so for as
// long, if its schedule is read in the zone.
func open(t *testing.T, zone string) v1alpha1.Window {
	t.Helper()
	location, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().In(location).Add(-30 * time.Minute)
	return v1alpha1.Window{
		Schedule: fmt.Sprintf("%d %d * * *", at.Minute(), at.Hour()), Duration: metav1.Duration{Duration: time.Hour}, TimeZone: zone,
	}
}

// misread is the window of Tokyo read in UTC: it is closed.
func misread(t *testing.T) v1alpha1.Window {
	t.Helper()
	w := open(t, tokyo)
	w.TimeZone = ""
	return w
}

// slow lets the pods of a Deployment take their time, so that a roll can be
// caught half-way.
func slow(d *appsv1.Deployment) {
	d.Spec.Template.Annotations = map[string]string{lab.ReadyDelayAnnotation: "1500ms"}
}

// marks returns what the templates of a namespace are marked with: every write
// of the controller shows in it.
func marks(t *testing.T, namespace string) map[string]string {
	t.Helper()
	var list appsv1.DeploymentList
	if err := env.client.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for i := range list.Items {
		if mark, ok := list.Items[i].Spec.Template.Annotations[v1alpha1.RestartedForAnnotation]; ok {
			out[list.Items[i].Name] = mark
		}
	}
	return out
}

// noMoreMarks fails when a template is marked that was not yet.
func noMoreMarks(t *testing.T, namespace string, during time.Duration) {
	t.Helper()
	before := marks(t, namespace)
	holds(t, during, func() error {
		if now := marks(t, namespace); !maps.Equal(before, now) {
			return fmt.Errorf("written to %v, then to %v, want no write", before, now)
		}
		return nil
	})
}

// someMarked waits until a few Deployments of a namespace are marked.
func someMarked(t *testing.T, namespace string, least int) {
	t.Helper()
	eventually(t, time.Minute, func() error {
		if have := len(marks(t, namespace)); have < least {
			return fmt.Errorf("%d of %s are rolled, want %d", have, namespace, least)
		}
		return nil
	})
}

// oneByOne makes the rolls slow enough to step in.
func oneByOne() *v1alpha1.MeshTrustSpec {
	spec := quick()
	spec.Rollout.MaxConcurrent = new(intstr.FromInt32(1))
	return spec
}

// A closed window holds everything back, in its own time zone; one that closes
// half-way lets end what has begun and starts nothing more.
func TestWorkloadsAreRolledInsideWindowsOnly(t *testing.T) {
	t.Parallel()
	spec := oneByOne()
	spec.Rollout.Windows = []v1alpha1.Window{misread(t)}
	m := newMesh(t, meshOptions{spec: spec})
	ns := m.namespace("apps")
	const apps = 6
	for i := range apps {
		deployment(t, ns, fmt.Sprint("app-", i), 1, slow)
	}
	ready(t, ns, apps)
	m.awaitConverged(time.Minute, m.root)
	next := bundletest.NewRoot(t, "root.linkerd.cluster.local", lifetime())
	m.publish(m.root, next)
	m.await(time.Minute, v1alpha1.ConditionConverged, metav1.ConditionFalse, v1alpha1.OutsideWindow)
	noMoreMarks(t, ns, 5*time.Second)

	m.setWindow(open(t, tokyo))
	someMarked(t, ns, 2)
	m.setWindow(misread(t))
	m.observed()
	begun := len(marks(t, ns))
	if begun == apps {
		t.Fatal("all were rolled before the window could be closed")
	}
	noMoreMarks(t, ns, 6*time.Second)
	m.await(time.Minute, v1alpha1.ConditionConverged, metav1.ConditionFalse, v1alpha1.OutsideWindow)
	if s := m.status().Status; s.Rollout.InProgressTotal != 0 || int(s.Workloads.Current) != begun {
		t.Errorf("want the %d rolls that had begun to end, have %s", begun, describe(m.status()))
	}

	m.setWindow(open(t, "UTC"))
	m.awaitConverged(time.Minute, m.root, next)
	rolledOnce(t, ns, apps, setOf(m.root, next))
}

func (m *meshWorld) setWindow(w v1alpha1.Window) {
	m.t.Helper()
	m.update(func(mt *v1alpha1.MeshTrust) { mt.Spec.Rollout.Windows = []v1alpha1.Window{w} })
}

// An outage is repaired outside windows too, and nothing but the outage.
func TestOutsideWindowsOnlyBrokenWorkloadsAreRolled(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{})
	expired := bundletest.NewRoot(t, "expired", bundletest.From(time.Now().Add(-48*time.Hour), 42*time.Hour))
	next := bundletest.NewRoot(t, "root.linkerd.cluster.local", lifetime())
	third := bundletest.NewRoot(t, "foreign", lifetime())
	carrying := func(name string, anchors ...*bundletest.CA) string {
		m.publish(anchors...)
		eventually(t, time.Minute, func() error { return m.servesJust(anchors...) })
		ns := m.namespace(name)
		deployment(t, ns, name, 1, nil)
		ready(t, ns, 1)
		return ns
	}
	dead := carrying("expired", expired)
	broken := carrying("broken", m.root)
	works := carrying("works", m.root, next)
	m.publish(m.root, next, third)
	m.issue(next)
	spec := quick()
	spec.Rollout.Windows = []v1alpha1.Window{misread(t)}
	spec.Rollout.OutsideWindows = v1alpha1.OutsideWindowsNever
	m.trust(*spec)
	m.await(time.Minute, v1alpha1.ConditionConverged, metav1.ConditionFalse, v1alpha1.OutsideWindow)
	if p := m.status().Status.Pods; p.Expired != 1 || p.Missing != 2 {
		t.Errorf("want one expired and two missing pods, have %+v", p)
	}
	holds(t, 5*time.Second, unrolled(t, dead, broken, works))

	m.update(func(mt *v1alpha1.MeshTrust) { mt.Spec.Rollout.OutsideWindows = v1alpha1.OutsideWindowsWhenBroken })
	someMarked(t, dead, 1)
	someMarked(t, broken, 1)
	m.await(time.Minute, v1alpha1.ConditionConverged, metav1.ConditionFalse, v1alpha1.OutsideWindow)
	holds(t, 5*time.Second, unrolled(t, works))
	for _, ns := range []string{dead, broken} {
		rolledOnce(t, ns, 1, setOf(m.root, next, third))
	}
	if n := revisions(t, works)["works"]; n != 1 {
		t.Errorf("the workload whose pods verify the issuer was rolled outside the window")
	}
}

// servesJust reports whether the injector writes just these anchors.
func (m *meshWorld) servesJust(anchors ...*bundletest.CA) error {
	for _, a := range anchors {
		if err := m.serves(a); err != nil {
			return err
		}
	}
	return nil
}

// While paused or suspended nothing is written to any workload and no pod is
// evicted, wherever the rolling stood.
func TestNothingIsWrittenWhilePausedOrSuspended(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{spec: oneByOne()})
	// Of namespaces the first in the alphabet comes first.
	data, ns := m.namespace("a-data"), m.namespace("apps")
	const members, apps = 5, 6 // so many members that a slow machine can step in before the last
	slowSet(t, data, "db", members, "1500ms")
	for i := range apps {
		deployment(t, ns, fmt.Sprint("app-", i), 1, slow)
	}
	ready(t, data, members)
	ready(t, ns, apps)
	m.awaitConverged(time.Minute, m.root)
	before := podsOf(t, data, "db")
	history := m.record()
	next := bundletest.NewRoot(t, "root.linkerd.cluster.local", lifetime())
	m.publish(m.root, next)
	for _, stop := range []struct {
		reason v1alpha1.Reason
		// after and below are how many writes there must be and may be by then.
		after, below int
		set          func(mt *v1alpha1.MeshTrust, to bool)
	}{
		{v1alpha1.Paused, 1, members, func(mt *v1alpha1.MeshTrust, to bool) { mt.Spec.Rollout.Paused = to }},
		{v1alpha1.Suspended, members + 1, members + apps, func(mt *v1alpha1.MeshTrust, to bool) { mt.Spec.Suspend = to }},
	} {
		history.awaitWritings(stop.after, time.Minute)
		m.update(func(mt *v1alpha1.MeshTrust) { stop.set(mt, true) })
		m.observed()
		begun := len(history.writings())
		if begun >= stop.below {
			t.Fatalf("%d writes before it could be %s, want fewer than %d", begun, stop.reason, stop.below)
		}
		holds(t, 6*time.Second, func() error {
			if all := history.writings(); len(all) > begun {
				return fmt.Errorf("written while %s: %v", stop.reason, all[begun:])
			}
			return nil
		})
		m.await(time.Minute, v1alpha1.ConditionConverged, metav1.ConditionFalse, stop.reason)
		m.update(func(mt *v1alpha1.MeshTrust) { stop.set(mt, false) })
	}
	m.awaitConverged(time.Minute, m.root, next)
	rolledOnce(t, ns, apps, setOf(m.root, next))
	replaced(t, data, "db", before, m.root, next)
}

// A window closes by the clock, in the middle of a workload whose pods are
// evicted one after the other and before the others had their turn: nothing is
// written until it opens again, and in the end all is done.
func TestNothingIsWrittenOnceAWindowHasClosedByTheClock(t *testing.T) {
	t.Parallel()
	const lasts, members, apps = 20 * time.Second, 6, 3
	spec := oneByOne()
	spec.Rollout.Windows = []v1alpha1.Window{{Schedule: "* * * * *", Duration: metav1.Duration{Duration: lasts}}}
	m := newMesh(t, meshOptions{spec: spec})
	// The first in the alphabet comes first. Each of its pods waits for the one
	// before, so that the six take longer than a window.
	data, ns := m.namespace("a-data"), m.namespace("apps")
	slowSet(t, data, "db", members, "4500ms")
	for i := range apps {
		deployment(t, ns, fmt.Sprint("app-", i), 1, nil)
	}
	ready(t, data, members)
	ready(t, ns, apps)
	m.awaitConverged(time.Minute, m.root)
	before := podsOf(t, data, "db")
	history := m.record()
	next := m.rotate()
	history.awaitWritings(1, 70*time.Second)
	m.await(time.Minute, v1alpha1.ConditionConverged, metav1.ConditionFalse, v1alpha1.OutsideWindow)
	m.awaitConverged(4*time.Minute, m.root, next)

	all, used, late := history.writings(), map[time.Time]bool{}, map[time.Time]int{}
	for _, w := range all {
		opened := w.at.Truncate(time.Minute)
		used[opened] = true
		// Writes come one after the other, and the window is looked at before each: one
		// may be under way when it closes. The times are whole seconds.
		since := w.at.Sub(opened)
		if since > lasts {
			late[opened]++
		}
		if late[opened] > 1 || since > lasts+5*time.Second {
			t.Errorf("%s was written to %s after a window had opened, want within %s", w.what, since, lasts)
		}
	}
	if len(used) < 2 {
		t.Errorf("all was written in %d window, want two: the scenario shows nothing", len(used))
	}
	if len(all) != members+apps {
		t.Errorf("%d writes, want one for each of %d pods and %d Deployments: %v", len(all), members, apps, all)
	}
	if n := len(history.endings(data, "db")); n != members {
		t.Errorf("%d pods of the StatefulSet were told to end, want each of %d just once", n, members)
	}
	replaced(t, data, "db", before, m.root, next)
	rolledOnce(t, ns, apps, setOf(m.root, next))
}

// slowSet creates a StatefulSet whose pods come up all at once, each becoming
// ready after a while, and are replaced only when somebody ends them.
func slowSet(t *testing.T, namespace, name string, replicas int32, readyDelay string) {
	t.Helper()
	create(t, &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &replicas, ServiceName: name, PodManagementPolicy: appsv1.ParallelPodManagement,
			UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType},
			Selector:       &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template:       podTemplate(name, map[string]string{lab.ReadyDelayAnnotation: readyDelay}),
		},
	})
}
