package e2e

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// Waves are rolled one after the other, whatever their namespaces are called: no
// workload of a later one is begun while one of an earlier is not done, its old
// pods included. The first is one of Linkerd's defaults, the last is made of what
// no wave selects.
func TestWavesAreRolledOneAfterTheOther(t *testing.T) {
	t.Parallel()
	spec := quick()
	spec.Rollout.Waves = []v1alpha1.Wave{
		{Name: v1alpha1.WaveExtensions, NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "linkerd.io/extension", Operator: metav1.LabelSelectorOpExists},
		}}},
		{Name: "canary", NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "canary"}}},
	}
	m := newMesh(t, meshOptions{spec: spec})
	// The names sort against the waves.
	waves := map[string]int{}
	for name, wave := range map[string]int{"d-viz": 1, "c-canary": 2, "b-rest": 3, "a-rest": 3} {
		ns := m.namespace(name)
		waves[ns] = wave
		switch wave {
		case 1:
			mergePatch(t, ns, map[string]any{"labels": map[string]any{"linkerd.io/extension": "viz"}})
		case 2:
			mergePatch(t, ns, map[string]any{"labels": map[string]any{"tier": "canary"}})
		}
		for _, app := range []string{"left", "middle", "right"} {
			deployment(t, ns, app, 1, slow)
		}
		ready(t, ns, 3)
	}
	m.awaitConverged(time.Minute, m.root)
	history := m.record()
	next := m.rotate()
	m.awaitConverged(2*time.Minute, m.root, next)

	begun := map[int]int{}
	history.replay(func(i *instant) {
		d, ok := i.change.object.(*appsv1.Deployment)
		if !ok || i.before == nil || mark(d) == mark(i.before) {
			return
		}
		wave := waves[d.Namespace]
		begun[wave]++
		for _, other := range i.deployments() {
			if waves[other.Namespace] < wave && (mark(other) == "" || inFlight(other, i.pods(other.Namespace, other.Name))) {
				t.Errorf("%s/%s of wave %d was begun before %s/%s of wave %d was done",
					d.Namespace, d.Name, wave, other.Namespace, other.Name, waves[other.Namespace])
			}
		}
	})
	for wave, want := range map[int]int{1: 3, 2: 3, 3: 6} {
		if begun[wave] != want {
			t.Errorf("%d workloads of wave %d were rolled, want %d", begun[wave], wave, want)
		}
	}
}
