package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab"
)

// Budgets of pods are honoured: one that allows a disruption at a time is never
// exceeded, though two workloads share it; one that allows none stops the
// workload, which is reported with the budget's name, and nothing is deleted
// around it. When it is loosened the roll goes on by itself.
func TestDisruptionBudgetsAreHonoured(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{})
	evict := map[string]string{v1alpha1.RolloutStrategyAnnotation: v1alpha1.RolloutStrategyEvict}
	apps := m.namespaced("apps", evict)
	for _, name := range []string{"left", "right", "stuck"} {
		deployment(t, apps, name, 3, func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations = map[string]string{lab.ReadyDelayAnnotation: "300ms"}
		})
	}
	budget(t, apps, "one-at-a-time", 1, "left", "right")
	none := budget(t, apps, "never", 0, "stuck")
	ready(t, apps, 9)
	stuck := podsOf(t, apps, "stuck")
	left, right := podsOf(t, apps, "left"), podsOf(t, apps, "right")
	eventually(t, time.Minute, func() error {
		for _, name := range []string{"one-at-a-time", "never"} {
			p := none.DeepCopy()
			if err := env.client.Get(t.Context(), client.ObjectKey{Namespace: apps, Name: name}, p); err != nil {
				return err
			}
			if p.Status.ObservedGeneration == 0 || p.Status.CurrentHealthy != p.Status.ExpectedPods || p.Status.ExpectedPods == 0 {
				return fmt.Errorf("budget %s has not counted its pods", name)
			}
		}
		return nil
	})

	history := m.record()
	next := m.rotate()
	spec := quick()
	spec.Rollout.ProgressDeadline = &metav1.Duration{Duration: 5 * time.Second}
	m.trust(*spec)
	mt := m.await(time.Minute, v1alpha1.ConditionRolloutHealthy, metav1.ConditionFalse, v1alpha1.EvictionBlocked)
	eventually(t, time.Minute, func() error {
		mt = m.status()
		if len(mt.Status.Rollout.InProgress) > 0 || mt.Status.Pods.Stale != 3 {
			return fmt.Errorf("want only the blocked pods left: %s", describe(mt))
		}
		return nil
	})
	if f := mt.Status.Rollout.Failed; len(f) != 1 || f[0].Name != "stuck" || f[0].Reason != v1alpha1.EvictionBlocked || !strings.Contains(f[0].Message, "PodDisruptionBudget never") {
		t.Errorf("want the one workload blocked, with the budget's name, got %+v", f)
	}
	unharmed(t, apps, "stuck", stuck)
	replaced(t, apps, "left", left, m.root, next)
	replaced(t, apps, "right", right, m.root, next)
	if least := history.leastUp(6, apps, "left", "right"); least != 5 {
		t.Errorf("of the six pods under the budget %d were up at least, want five", least)
	}

	strict := none.DeepCopy()
	none.Spec.MaxUnavailable = new(intstr.FromInt32(1))
	if err := env.client.Patch(t.Context(), none, client.MergeFrom(strict)); err != nil {
		t.Fatal(err)
	}
	m.awaitConverged(time.Minute, m.root, next)
	m.await(time.Minute, v1alpha1.ConditionRolloutHealthy, metav1.ConditionTrue, "")
	replaced(t, apps, "stuck", stuck, m.root, next)
	if least := history.leastUp(3, apps, "stuck"); least != 2 {
		t.Errorf("%d pods of stuck were up at least, want two", least)
	}
	if marks := history.marks("Deployment", apps, "stuck"); len(marks) != 0 {
		t.Errorf("the template was marked: %v", marks)
	}
}
