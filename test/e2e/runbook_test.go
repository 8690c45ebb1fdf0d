package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
	told := m.listen(untouched)
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
	m.toldJust(told, stale, untouched, names, bare.Name)
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

// told is what the statuses of a mesh have named since the listening began.
type told struct {
	mu sync.Mutex
	// named is the lists in which each workload was, by its kind, namespace and name.
	named map[string]map[string]bool
	// wrong is the first status with a word that none may hold.
	wrong string
	last  string // resource version
}

// listen follows every status of the mesh that is stored.
func (m *meshWorld) listen(never string) *told {
	m.t.Helper()
	l, d := &told{named: map[string]map[string]bool{}}, m.decisions()
	go func() {
		for e := range d.events.ResultChan() {
			if mt, err := d.trustOf(e); mt != nil && err == nil {
				l.hear(mt, never)
			}
		}
	}()
	return l
}

func (l *told) hear(mt *v1alpha1.MeshTrust, never string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = mt.ResourceVersion
	name := func(list string, ref v1alpha1.WorkloadRef) {
		if l.named[ref.String()] == nil {
			l.named[ref.String()] = map[string]bool{}
		}
		l.named[ref.String()][list] = true
	}
	r := &mt.Status.Rollout
	for _, w := range r.InProgress {
		name("in progress", w.WorkloadRef)
	}
	for _, w := range r.Failed {
		name("failed", w.WorkloadRef)
	}
	for _, w := range r.Attempts {
		name("attempts", w.WorkloadRef)
	}
	for _, w := range r.Blocked {
		name("blocked", w.WorkloadRef)
	}
	if text, err := json.Marshal(mt.Status); l.wrong == "" && (err != nil || strings.Contains(string(text), never)) {
		l.wrong = string(text)
	}
}

// toldJust checks that the Deployments were named as rolled and the pod as blocked,
// that nothing else was ever named in a status, and that no status, event or metric
// speaks of the other namespace.
func (m *meshWorld) toldJust(l *told, namespace, other string, deployments []string, pod string) {
	m.t.Helper()
	eventually(m.t, time.Minute, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if at := m.status().ResourceVersion; l.last != at {
			return fmt.Errorf("the watch has told of version %s, want %s", l.last, at)
		}
		return nil
	})
	want := map[string]map[string]bool{"Pod " + namespace + "/" + pod: {"blocked": true}}
	for _, name := range deployments {
		want["Deployment "+namespace+"/"+name] = map[string]bool{"in progress": true}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if diff := cmp.Diff(want, l.named); diff != "" {
		m.t.Errorf("workloads that statuses name (-want +got):\n%s", diff)
	}
	if l.wrong != "" {
		m.t.Errorf("a status names %s: %s", other, l.wrong)
	}
	if strings.Contains(m.metrics(), other) {
		m.t.Errorf("the metrics name %s", other)
	}
	m.eventsOfJust(namespace, other, deployments)
}

// eventsOfJust checks that of all workloads the Deployments have an event of their
// roll, and no others.
func (m *meshWorld) eventsOfJust(namespace, other string, deployments []string) {
	m.t.Helper()
	restarted := map[string]int{}
	eventually(m.t, time.Minute, func() error {
		clear(restarted)
		for _, e := range slices.Concat(events(m.t, namespace), events(m.t, other)) {
			if e.Reason == string(v1alpha1.Restarted) || e.Reason == string(v1alpha1.Evicted) {
				restarted[e.Regarding.Kind+" "+e.Regarding.Namespace+"/"+e.Regarding.Name]++
			}
		}
		if len(restarted) < len(deployments) {
			return fmt.Errorf("events of rolls: %v", restarted)
		}
		return nil
	})
	want := map[string]int{}
	for _, name := range deployments {
		want["Deployment "+namespace+"/"+name] = 1
	}
	if diff := cmp.Diff(want, restarted); diff != "" {
		m.t.Errorf("events of rolls (-want +got):\n%s", diff)
	}
	for _, e := range slices.Concat(events(m.t, "default"), events(m.t, other)) {
		ours := e.ReportingController == v1alpha1.FieldManager || e.Regarding.Kind == "MeshTrust" && e.Regarding.Name == m.name
		if ours && (e.Regarding.Namespace == other || strings.Contains(e.Note, other)) {
			m.t.Errorf("an event speaks of the other namespace: %s %s %q", e.Regarding.Kind, e.Regarding.Name, e.Note)
		}
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
