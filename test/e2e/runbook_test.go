package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle/bundletest"
)

// The incident of the runbook: the anchor was rotated while seven Deployments
// and a pod without owner ran; all eight are named, seven are rolled, one is
// reported and left alone.
func TestRunbookIncident(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{})
	stale, untouched := m.namespace("notifi-test"), m.namespace("other")
	names := []string{"mock-health-6000", "mock-http-5000", "mock-http-80", "mock-metrics-7000", "mock-rabbitmq-5672", "mock-redis-6379", "mock-websocket-8080"}
	for _, name := range names {
		deployment(t, stale, name, 1, nil)
	}
	bare := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: stale, Name: "mock-grpc-4000-6d5f7c8b9-x2x4z"}, Spec: podTemplate("mock-grpc-4000", nil).Spec}
	create(t, bare)
	ready(t, stale, 8)
	before := pods(t, stale)

	next := bundletest.NewRoot(t, "root.linkerd.cluster.local", lifetime())
	m.publish(m.root, next)
	// Pods that start once the injector serves the new bundle are current.
	eventually(t, time.Minute, func() error { return m.serves(next) })
	deployment(t, untouched, "fresh", 2, nil)
	ready(t, untouched, 2)
	fresh := pods(t, untouched)

	spec := quick()
	spec.Rollout.Paused = true
	m.trust(*spec)
	mt := m.await(time.Minute, v1alpha1.ConditionConverged, metav1.ConditionFalse, v1alpha1.Paused)
	if mt.Status.Pods.Stale != 8 || mt.Status.Pods.Current != 2 {
		t.Fatalf("want exactly the eight pods stale and two current: %s", describe(mt))
	}
	m.update(func(mt *v1alpha1.MeshTrust) { mt.Spec.Rollout.Paused = false })

	mt = m.awaitConverged(2*time.Minute, m.root, next)
	if got := mt.Status.Rollout.Blocked; len(got) != 1 || got[0].Reason != v1alpha1.BarePod || got[0].Name != bare.Name {
		t.Errorf("want the bare pod alone reported, got %+v", got)
	}
	for _, name := range names {
		if got := revisions(t, stale)[name]; got != 2 {
			t.Errorf("%s has %d revisions, want the first and one roll", name, got)
		}
	}
	now := pods(t, stale)
	for i := range now {
		old := slices.ContainsFunc(before, func(p corev1.Pod) bool { return p.UID == now[i].UID })
		if isBare := now[i].Name == bare.Name; isBare != old {
			t.Errorf("pod %s was there before: %v, want only the bare pod left alone", now[i].Name, old)
		} else if !isBare && !anchorsOf(t, &now[i]).Equal(setOf(m.root, next)) {
			t.Errorf("pod %s does not trust both anchors", now[i].Name)
		}
	}
	if got := pods(t, untouched); len(got) != 2 || !sameUIDs(got, fresh) {
		t.Errorf("the other namespace was touched")
	}
}

func sameUIDs(a, b []corev1.Pod) bool {
	uids := func(list []corev1.Pod) []string {
		var out []string
		for i := range list {
			out = append(out, string(list[i].UID))
		}
		slices.Sort(out)
		return out
	}
	return fmt.Sprint(uids(a)) == fmt.Sprint(uids(b))
}
