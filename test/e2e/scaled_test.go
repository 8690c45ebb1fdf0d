package e2e

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab"
)

// A Deployment without pods is not written to: pods that it gets later carry the
// bundle of that time. One that is scaled to zero while it rolls ends its roll,
// and is no failure.
func TestADeploymentScaledToZeroIsLeftAlone(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{})
	apps := m.namespace("apps")
	deployment(t, apps, "asleep", 2, nil)
	deployment(t, apps, "falls-asleep", 1, func(d *appsv1.Deployment) {
		d.Spec.Template.Annotations = map[string]string{lab.NeverReadyAnnotation: "true", lab.ReadyDelayAnnotation: "100ms"}
	})
	deployment(t, apps, "awake", 1, nil)
	heal(t, apps, "falls-asleep")
	ready(t, apps, 4)
	scale(t, apps, "asleep", 0)
	ready(t, apps, 2)

	history := m.record()
	next := m.rotate()
	m.trust(*quick())
	eventually(t, time.Minute, func() error {
		if len(history.marks("Deployment", apps, "falls-asleep")) == 0 || len(history.marks("Deployment", apps, "awake")) == 0 {
			return fmt.Errorf("not all are begun: %s", describe(m.status()))
		}
		return nil
	})
	scale(t, apps, "falls-asleep", 0)
	mt := m.awaitConverged(time.Minute, m.root, next)
	if len(mt.Status.Rollout.Failed) > 0 || len(mt.Status.Rollout.InProgress) > 0 || len(mt.Status.Rollout.Blocked) > 0 ||
		!apimeta.IsStatusConditionTrue(mt.Status.Conditions, v1alpha1.ConditionRolloutHealthy) {
		t.Errorf("a workload without pods is no concern: %s", describe(mt))
	}
	holds(t, 3*time.Second, func() error {
		if marks := history.marks("Deployment", apps, "asleep"); len(marks) > 0 {
			return fmt.Errorf("a Deployment without pods was written to: %v", marks)
		}
		return nil
	})

	scale(t, apps, "asleep", 2)
	ready(t, apps, 3)
	for _, p := range podsOf(t, apps, "asleep") {
		if !anchorsOf(t, &p).Equal(setOf(m.root, next)) {
			t.Errorf("pod %s does not carry the bundle of its time", p.Name)
		}
	}
	m.awaitConverged(time.Minute, m.root, next)
	if n := revisions(t, apps)["asleep"]; n != 1 {
		t.Errorf("the Deployment that slept has %d revisions, want the first alone", n)
	}
}

// scale sets the replicas of a Deployment.
func scale(t *testing.T, namespace, name string, replicas int32) {
	t.Helper()
	d := get(t, namespace, name, &appsv1.Deployment{})
	before := d.DeepCopy()
	d.Spec.Replicas = &replicas
	if err := env.client.Patch(t.Context(), d, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}
