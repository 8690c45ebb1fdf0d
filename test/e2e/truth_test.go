package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/hack/lab/kubelet"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/inventory"
)

// What a pod of the control plane trusts is inferred from when it started. Here
// a kubelet tells what each really read, late by as much as the MeshTrust says:
// whatever is said to trust the bundle must have read it. The delays are those of
// a cluster cut to seconds, and the controller's own watch must keep within them
// too, so this scenario does not run beside others.
func TestInferredTrustIsNeverMoreThanWhatPodsRead(t *testing.T) {
	m := newMesh(t, meshOptions{})
	spec := quick()
	spec.Rollout.Paused = true
	spec.Bundle.Propagation.Environment.Duration = 2 * time.Second
	spec.Bundle.Propagation.File.Duration = 4 * time.Second
	spec.Admission.ClockSkew = &metav1.Duration{Duration: time.Second}
	m.seasoned()
	m.trust(*spec)
	k, err := kubelet.Start(t.Context(), env.lab.Config(), kubelet.Options{EnvLag: 2 * time.Second, FileLag: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Stop)
	m.await(time.Minute, v1alpha1.ConditionConverged, metav1.ConditionTrue, "")

	next := bundletest.NewRoot(t, "root.linkerd.cluster.local", lifetime())
	third := bundletest.NewRoot(t, "foreign", lifetime())
	a, b, c := m.root.PEM(), next.PEM(), third.PEM()
	started := 0
	for _, text := range []string{a + b, a + b + c, a + c, "no certificate", a + b, b + a, a + b + c, b + c, a + b + c} {
		started = m.startPods(started, 4*time.Second)
		m.publishText(text)
	}
	started = m.startPods(started, 6*time.Second)
	ready(t, m.name, started)

	want := setOf(m.root, next, third)
	mt := m.await(time.Minute, v1alpha1.ConditionBundleValid, metav1.ConditionTrue, "")
	if mt.Status.Bundle.Hash != want.Hash() {
		t.Fatalf("the last bundle is not on record: %s", describe(mt))
	}
	m.compareWithTruth(k, mt, want)
}

// startPods starts pods of the control plane all the time for as long as said.
func (m *meshWorld) startPods(from int, during time.Duration) int {
	m.t.Helper()
	end := time.Now().Add(during)
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(end) {
		component := identityComponent
		if from%2 == 0 {
			component = "destination"
		}
		create(m.t, m.componentPod(component, fmt.Sprintf("%s-%d", component, from)))
		from++
		<-tick.C
	}
	return from
}

// compareWithTruth judges every pod as the controller does and holds that
// against what the kubelet gave it.
func (m *meshWorld) compareWithTruth(k *kubelet.Kubelet, mt *v1alpha1.MeshTrust, current bundle.Set) {
	m.t.Helper()
	client, err := corev1client.NewForConfig(env.lab.Config())
	if err != nil {
		m.t.Fatal(err)
	}
	index, err := inventory.Build(m.t.Context(), client, inventory.Scope{}, mesh.FromMeshTrust(mt))
	if err != nil {
		m.t.Fatal(err)
	}
	history, now := mesh.HistoryOf(&mt.Status), time.Now()
	history[len(history)-1].LastSeen = now // it is the one in force
	workloads, ok := index.Workloads(mt.Name, inventory.Question{Current: current, History: history, Now: now})
	if !ok {
		m.t.Fatal("no pods are known")
	}
	classes, judged := map[mesh.Class]int{}, 0
	for i := range workloads {
		for p := range workloads[i].Pods() {
			judged++
			classes[p.Class]++
			sure, any := m.read(k, p)
			switch {
			case p.Trust.Knowledge != mesh.Known:
			case !any:
				m.t.Errorf("%s of %s read no bundle at its start and is taken for %s", p.Name, p.CreatedAt, p.Class)
			case !sure.ContainsAll(p.Trust.Sure):
				m.t.Errorf("%s of %s read %d anchors, and is said to trust surely %d, not all of them among those (%s)",
					p.Name, p.CreatedAt, sure.Len(), p.Trust.Sure.Len(), p.Class)
			case !p.Trust.Maybe.ContainsAll(sure):
				m.t.Errorf("%s of %s read an anchor that it is said to lack for certain", p.Name, p.CreatedAt)
			}
		}
	}
	m.t.Logf("%d pods: %v", judged, classes)
	// Doubt about all would be no answer.
	for _, class := range []mesh.Class{mesh.ClassCurrent, mesh.ClassMissing} {
		if classes[class] < judged/20 {
			m.t.Errorf("only %d of %d pods are %s", classes[class], judged, class)
		}
	}
	m.sameCounts(classes)
}

// read returns the anchors that the pod's processes have in common, and false
// when one of them was given no certificate.
func (m *meshWorld) read(k *kubelet.Kubelet, p inventory.Pod) (bundle.Set, bool) {
	m.t.Helper()
	proxy, ok := k.Resolved(p.UID, "linkerd-proxy")
	if !ok {
		m.t.Fatalf("the kubelet has not seen %s", p.Name)
	}
	texts := []string{proxy.Env[anchorsVariable]}
	if strings.HasPrefix(p.Name, identityComponent) {
		r, ok := k.Resolved(p.UID, identityComponent)
		if !ok {
			m.t.Fatalf("the kubelet has not seen %s", p.Name)
		}
		texts = append(texts, string(r.Files[rootsFile]))
	}
	var sure bundle.Set
	for i, text := range texts {
		set, err := bundle.Parse([]byte(text))
		if err != nil {
			return bundle.Set{}, false
		}
		if i == 0 {
			sure = set
		}
		sure = sure.Intersect(set)
	}
	return sure, true
}

// sameCounts: the status says the same.
func (m *meshWorld) sameCounts(classes map[mesh.Class]int) {
	m.t.Helper()
	eventually(m.t, time.Minute, func() error {
		p := m.status().Status.Pods
		have := map[mesh.Class]int{
			mesh.ClassCurrent: int(p.Current), mesh.ClassMissing: int(p.Missing), mesh.ClassRetired: int(p.Retired),
			mesh.ClassUnknown: int(p.Unknown), mesh.ClassExpired: int(p.Expired),
		}
		for class, n := range have {
			if classes[class] != n {
				return fmt.Errorf("the status counts %+v, want %v", p, classes)
			}
		}
		return nil
	})
}
