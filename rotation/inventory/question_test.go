package inventory

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/mesh"
)

// indexOf returns an index of the meshes linkerd and erlang that holds the pods.
func indexOf(tb testing.TB, pods ...*corev1.Pod) *Index {
	tb.Helper()
	x := New(nil)
	x.SetMeshes(linkerd(), erlang())
	replace(tb, x.session, pods...)
	return x
}

func replace(tb testing.TB, s *session, pods ...*corev1.Pod) {
	tb.Helper()
	var list []any
	for _, pod := range pods {
		list = append(list, compact(s.meshes, pod))
	}
	if err := s.Replace(list, "1"); err != nil {
		tb.Fatal(err)
	}
}

// ask returns the workloads of a synced mesh.
func ask(tb testing.TB, x *Index, name string, q Question) []Workload {
	tb.Helper()
	workloads, ok := x.Workloads(name, q)
	if !ok {
		tb.Fatalf("mesh %s is not synced", name)
	}
	return workloads
}

func only(tb testing.TB, workloads []Workload) (Workload, []Pod) {
	tb.Helper()
	if len(workloads) != 1 {
		tb.Fatalf("got %d workloads, want one", len(workloads))
	}
	return workloads[0], slices.Collect(workloads[0].Pods())
}

func TestPodsAreCountedByWhatTheyTrust(t *testing.T) {
	ca := newAnchors(t)
	deployment := func(pod *corev1.Pod) *corev1.Pod {
		return labelled(ownedBy(pod, "apps/v1", "ReplicaSet", "web-5d4"), "pod-template-hash", "5d4")
	}
	stopping := deployment(meshedPod("shop", "web-e", ca.old.PEM()))
	stopping.DeletionTimestamp = &metav1.Time{Time: now}
	optedOut := deployment(meshedPod("shop", "web-f", ca.old.PEM()))
	optedOut.Annotations = map[string]string{"reanchor.dev/opt-out": "admission, rollout"}
	starting := deployment(meshedPod("shop", "web-g", ca.next.PEM()))
	starting.Status = corev1.PodStatus{Phase: corev1.PodPending}
	starting.CreationTimestamp = metav1.NewTime(now)
	x := indexOf(t, stopping, optedOut, starting,
		deployment(meshedPod("shop", "web-a", ca.next.PEM())),
		deployment(meshedPod("shop", "web-b", ca.old.PEM()+ca.next.PEM())),
		deployment(meshedPod("shop", "web-c", ca.gone.PEM())),
		deployment(meshedPod("shop", "web-d", "$(SOMETHING)")),
		meshedPod("shop", "alone", ca.old.PEM()))
	workloads := ask(t, x, "linkerd", Question{Current: setOf(ca.next), Now: now})
	if len(workloads) != 2 {
		t.Fatalf("got %d workloads, want two", len(workloads))
	}
	web, alone := workloads[0], workloads[1]
	if want := (Key{"apps", "Deployment", "shop", "web"}); web.Key != want || alone.Key.Kind != KindPod {
		t.Errorf("got %v and %v, want the Deployment before the bare pod", web.Key, alone.Key)
	}
	want := Counts{Total: 7, Current: 2, Missing: 1, Expired: 1, Retired: 1, Unknown: 1, Exempt: 1}
	if diff := cmp.Diff(want, web.Counts); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if web.Counts.Stale() != 2 || web.Terminating != 1 || web.Ready != 5 {
		t.Errorf("stale %d, terminating %d, ready %d, want 2, 1 and 5", web.Counts.Stale(), web.Terminating, web.Ready)
	}
	if !web.NewestPod.Equal(now) {
		t.Errorf("its newest pod is of %v, want %v", web.NewestPod, now)
	}
	var names []string
	for pod := range web.Pods() {
		names = append(names, pod.Name+" "+pod.Class.String())
	}
	if diff := cmp.Diff([]string{"web-a current", "web-b retired", "web-c expired", "web-d unknown", "web-e missing", "web-f missing", "web-g current"}, names); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
}

func TestAPodIsToldWithAllThatTheRollerAsksFor(t *testing.T) {
	ca := newAnchors(t)
	pod := labelled(ownedBy(meshedPod("shop", "db-2", ca.old.PEM()), "apps/v1", "StatefulSet", "db"), "controller-revision-hash", "db-6f")
	pod.UID = "02fbdb50-0020-4525-911a-484023a47883"
	pod.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	_, pods := only(t, ask(t, indexOf(t, pod), "linkerd", Question{Current: setOf(ca.next), Now: now}))
	got := pods[0]
	if got.Trust == nil || !got.Trust.Sure.Equal(setOf(ca.old)) {
		t.Error("its trust is what its variable holds")
	}
	got.Trust = nil
	want := Pod{
		Namespace: "shop", Name: "db-2", UID: pod.UID, CreatedAt: pod.CreationTimestamp.Local(), Node: "node-1", Revision: "db-6f",
		Ordinal: 2, Phase: corev1.PodRunning, Ready: true, RunsToEnd: true, Class: mesh.ClassMissing,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pod (-want +got):\n%s", diff)
	}
}

func TestFlagsOfAPod(t *testing.T) {
	mirrorPod := ownedBy(meshedPod("kube-system", "p", ""), "v1", "Node", "node-1")
	mirrorPod.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "hash"}
	annotated := func(value string) *corev1.Pod {
		pod := meshedPod("shop", "p", "")
		pod.Annotations = map[string]string{"reanchor.dev/opt-out": value}
		return pod
	}
	lost := meshedPod("shop", "p", "")
	lost.Status.Phase = corev1.PodUnknown
	injectorPod := podFile(t, "pod-control-plane-proxy-injector.json")
	for name, tc := range map[string]struct {
		pod   *corev1.Pod
		check func(Pod) bool
	}{
		"a mirror pod is exempt":                              {mirrorPod, func(p Pod) bool { return p.Mirror && p.Exempt() }},
		"opt-out from everything exempts":                     {annotated("true"), func(p Pod) bool { return p.OptedOut && p.Exempt() }},
		"opt-out from the rollout exempts":                    {annotated("rollout"), func(p Pod) bool { return p.Exempt() }},
		"opt-out from admission says nothing of rolling":      {annotated("admission"), func(p Pod) bool { return !p.Exempt() }},
		"any other value is no opt-out":                       {annotated("false"), func(p Pod) bool { return !p.Exempt() }},
		"a pod of a lost node counts, since it may still run": {lost, func(p Pod) bool { return p.Phase == corev1.PodUnknown }},
		"the injector is told":                                {injectorPod, func(p Pod) bool { return p.Injector && p.ControlPlane }},
		"identity is control plane and no injector":           {podFile(t, "pod-control-plane-identity.json"), func(p Pod) bool { return p.ControlPlane && !p.Injector }},
		"a UID that is no UUID is kept":                       {lost, func(p Pod) bool { return p.UID == "uid-of-p" }},
	} {
		w, pods := only(t, ask(t, indexOf(t, tc.pod), "linkerd", Question{Now: now}))
		if !tc.check(pods[0]) {
			t.Errorf("%s: got %+v", name, pods[0])
		}
		if w.Injector != pods[0].Injector || w.ControlPlane != pods[0].ControlPlane {
			t.Errorf("%s: its workload says otherwise", name)
		}
	}
}

func TestWhatIsNoMemberIsNotThere(t *testing.T) {
	ca := newAnchors(t)
	ended := func(phase corev1.PodPhase) *corev1.Pod {
		pod := meshedPod("shop", "ended-"+string(phase), ca.old.PEM())
		pod.Status.Phase = phase
		return pod
	}
	plain := meshedPod("shop", "plain", "")
	plain.Spec.InitContainers = nil
	unlabelled := meshedPod("shop", "unlabelled", ca.old.PEM())
	unlabelled.Labels = nil
	x := indexOf(t, plain, ended(corev1.PodSucceeded), ended(corev1.PodFailed), unlabelled)
	w, _ := only(t, ask(t, x, "linkerd", Question{Current: setOf(ca.next), Now: now}))
	if w.Key.Name != "unlabelled" {
		t.Errorf("got %v, want the pod that lost its label and none that ended or has no proxy", w.Key)
	}
	if workloads := ask(t, x, "erlang", Question{Now: now}); len(workloads) != 0 {
		t.Errorf("got %d workloads of the other mesh, want none", len(workloads))
	}
}

func TestNothingIsSaidOfAMeshThatIsNotSynced(t *testing.T) {
	x := New(nil)
	x.SetMeshes(linkerd())
	if _, ok := x.Workloads("linkerd", Question{Now: now}); ok || x.HasSynced("linkerd") || x.Synced() {
		t.Error("no pod was listed yet")
	}
	replace(t, x.session)
	if _, ok := x.Workloads("linkerd", Question{Now: now}); !ok || !x.HasSynced("linkerd") || !x.Synced() {
		t.Error("an empty list is an answer")
	}
	if _, ok := x.Workloads("other", Question{Now: now}); ok || x.HasSynced("other") {
		t.Error("nobody named that mesh")
	}
}

// The verdict follows the world without any event.
func TestTheWorldChangesAndThePodsAreJudgedAnew(t *testing.T) {
	ca := newAnchors(t)
	soon := bundletest.NewRoot(t, "soon", bundletest.From(now.Add(-time.Hour), 2*time.Hour))
	history := mesh.History{
		{Set: setOf(ca.old), PublishedAt: now.Add(-3 * time.Hour), LastSeen: now.Add(-time.Hour)},
		{Set: setOf(ca.old, ca.next), PublishedAt: now.Add(-time.Hour), LastSeen: now},
	}
	x := indexOf(t, meshedPod("shop", "a", soon.PEM()),
		erlangPod("before", now.Add(-2*time.Hour), now.Add(-2*time.Hour)),
		erlangPod("after", now.Add(-10*time.Minute), now.Add(-10*time.Minute)),
		erlangPod("again", now.Add(-2*time.Hour), now.Add(-10*time.Minute)),
		erlangPod("early", now.Add(-9*time.Hour), now.Add(-9*time.Hour)),
		erlangPod("pending", now.Add(-2*time.Hour), time.Time{}))
	classes := func(name string, q Question) map[string]string {
		got := map[string]string{}
		for _, w := range ask(t, x, name, q) {
			for pod := range w.Pods() {
				got[pod.Name] = pod.Class.String()
			}
		}
		return got
	}
	for name, tc := range map[string]struct {
		mesh string
		q    Question
		want map[string]string
	}{
		"the bundle that a literal holds":   {"linkerd", Question{Current: setOf(soon), Now: now}, map[string]string{"a": "current"}},
		"another bundle":                    {"linkerd", Question{Current: setOf(ca.next), Now: now}, map[string]string{"a": "missing"}},
		"the same, once the pod's is ended": {"linkerd", Question{Current: setOf(ca.next), Now: now.Add(2 * time.Hour)}, map[string]string{"a": "expired"}},
		"references, by what was published when they started": {"erlang", Question{Current: setOf(ca.old, ca.next), History: history, Now: now},
			map[string]string{"before": "missing", "after": "current", "again": "current", "early": "unknown", "pending": "missing"}},
		"references without any history": {"erlang", Question{Current: setOf(ca.old), Now: now},
			map[string]string{"before": "unknown", "after": "unknown", "again": "unknown", "early": "unknown", "pending": "unknown"}},
	} {
		if diff := cmp.Diff(tc.want, classes(tc.mesh, tc.q)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestUnknownHasAReason(t *testing.T) {
	x := indexOf(t, meshedPod("shop", "a", "$(SOMETHING)"))
	_, pods := only(t, ask(t, x, "linkerd", Question{Now: now}))
	if pods[0].Class != mesh.ClassUnknown || pods[0].Trust.Why == "" {
		t.Errorf("got %v %q, want unknown and why", pods[0].Class, pods[0].Trust.Why)
	}
}

func TestPodsThatTrustTheSameShareItsPointer(t *testing.T) {
	ca := newAnchors(t)
	x := indexOf(t, meshedPod("shop", "a", ca.old.PEM()), meshedPod("shop", "b", ca.old.PEM()), meshedPod("shop", "c", ca.next.PEM()))
	trusts := map[*mesh.Trust]int{}
	for _, w := range ask(t, x, "linkerd", Question{Now: now}) {
		for pod := range w.Pods() {
			trusts[pod.Trust]++
		}
	}
	if len(trusts) != 2 {
		t.Errorf("three pods with two bundles have %d trusts, want 2", len(trusts))
	}
}
