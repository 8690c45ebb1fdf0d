package e2e

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// What a changed template does not replace, or must not be changed, is evicted
// pod by pod; each other pod is up meanwhile, and the template stays as it was.
func TestPodsAreEvictedWhereTheTemplateIsNotTheWay(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{})
	evict := map[string]string{v1alpha1.RolloutStrategyAnnotation: v1alpha1.RolloutStrategyEvict}
	apps, quiet := m.namespace("apps"), m.namespaced("quiet", evict)
	statefulSet(t, apps, "sts", 3, appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType})
	daemonSet(t, apps, "ds", 3, appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType})
	replicaSet(t, apps, "rs", 2)
	statefulSet(t, apps, "parted", 4, appsv1.StatefulSetUpdateStrategy{
		Type: appsv1.RollingUpdateStatefulSetStrategyType, RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32(2))},
	})
	deployment(t, apps, "recreate", 2, func(d *appsv1.Deployment) {
		d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	})
	deployment(t, apps, "annotated", 2, func(d *appsv1.Deployment) { d.Annotations = evict })
	deployment(t, quiet, "inherits", 2, nil)
	ready(t, apps, 16)
	ready(t, quiet, 2)
	before := slices.Concat(pods(t, apps), pods(t, quiet))

	history := m.record()
	next := m.rotate()
	m.trust(*quick())
	m.awaitConverged(90*time.Second, m.root, next)

	for _, w := range []struct {
		namespace, name string
		replicas        int
	}{{apps, "sts", 3}, {apps, "ds", 3}, {apps, "rs", 2}, {apps, "parted", 4}, {apps, "recreate", 2}, {apps, "annotated", 2}, {quiet, "inherits", 2}} {
		replaced(t, w.namespace, w.name, slices.DeleteFunc(slices.Clone(before), func(p corev1.Pod) bool {
			return p.Namespace != w.namespace || p.Labels["app"] != w.name
		}), m.root, next)
		if least := history.leastUp(w.replicas, w.namespace, w.name); least != w.replicas-1 {
			t.Errorf("%s/%s had %d pods up at least, want all but one", w.namespace, w.name, least)
		}
		if n := len(history.endings(w.namespace, w.name)); n != w.replicas {
			t.Errorf("%s/%s lost %d pods, want each of %d just once", w.namespace, w.name, n, w.replicas)
		}
	}
	if diff := cmp.Diff(ordinals("sts", 2, 1, 0), history.endings(apps, "sts")); diff != "" {
		t.Errorf("the StatefulSet goes from its highest ordinal (-want +got):\n%s", diff)
	}
	for _, w := range [][3]string{{"StatefulSet", apps, "sts"}, {"DaemonSet", apps, "ds"}, {"Deployment", apps, "recreate"}, {"Deployment", apps, "annotated"}, {"Deployment", quiet, "inherits"}} {
		if marks := history.marks(w[0], w[1], w[2]); len(marks) != 0 {
			t.Errorf("the template of %s was marked: %v", w, marks)
		}
	}
	for namespace, names := range map[string][]string{apps: {"recreate", "annotated"}, quiet: {"inherits"}} {
		for _, name := range names {
			if n, d := revisions(t, namespace)[name], get(t, namespace, name, &appsv1.Deployment{}); n != 1 || d.Generation != 1 {
				t.Errorf("%s/%s has %d ReplicaSets and generation %d, want one of each", namespace, name, n, d.Generation)
			}
		}
	}
	for name, want := range map[string]int{"sts": 1, "ds": 1, "parted": 2} {
		if n := revisionsOf(t, apps, name); n != want {
			t.Errorf("%s has %d revisions, want %d", name, n, want)
		}
	}
	if diff := cmp.Diff(ordinals("parted", 3, 2, 1, 0), history.endings(apps, "parted")); diff != "" {
		t.Errorf("the partitioned StatefulSet (-want +got):\n%s", diff)
	}
	status := get(t, apps, "parted", &appsv1.StatefulSet{}).Status
	for i, p := range podsOf(t, apps, "parted") {
		revision, upper := p.Labels[appsv1.ControllerRevisionHashLabelKey], i >= 2
		if want := map[bool]string{true: status.UpdateRevision, false: status.CurrentRevision}[upper]; revision != want || (mark(&p) != "") != upper {
			t.Errorf("pod %s has revision %s and mark %q, want revision %s and a mark only above the partition", p.Name, revision, mark(&p), want)
		}
	}
}
