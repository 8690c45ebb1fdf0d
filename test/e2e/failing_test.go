package e2e

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab"
)

// New pods of two workloads never become ready: each counts against the
// threshold once its deadline has passed, and then nothing else is begun. When
// the pods are healed the rest goes on by itself, and nothing is rolled twice.
func TestRollingStopsWhenTooManyRollsFail(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{})
	apps := m.namespace("apps")
	broken, fine := []string{"a-broken", "b-broken"}, []string{"c", "d", "e", "f"}
	for _, name := range broken {
		deployment(t, apps, name, 1, func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations = map[string]string{lab.NeverReadyAnnotation: "true", lab.ReadyDelayAnnotation: "100ms"}
		})
	}
	for _, name := range fine {
		deployment(t, apps, name, 1, nil)
	}
	heal(t, apps, broken...) // the first pods alone; the template stays as it is
	ready(t, apps, 6)
	before := pods(t, apps)

	history := m.record()
	next := m.rotate()
	spec := quick()
	spec.Rollout.FailureThreshold = new(int32(2))
	spec.Rollout.ProgressDeadline = &metav1.Duration{Duration: 5 * time.Second}
	m.trust(*spec)
	mt := m.await(time.Minute, v1alpha1.ConditionRolloutHealthy, metav1.ConditionFalse, v1alpha1.FailureThresholdExceeded)
	if c := apimeta.FindStatusCondition(mt.Status.Conditions, v1alpha1.ConditionConverged); c == nil || c.Reason != string(v1alpha1.FailureThresholdExceeded) {
		t.Errorf("Converged must say the same: %s", describe(mt))
	}
	if c := apimeta.FindStatusCondition(mt.Status.Conditions, v1alpha1.ConditionReady); c == nil || c.Reason != string(v1alpha1.FailureThresholdExceeded) {
		t.Errorf("Ready must say the same: %s", describe(mt))
	}
	for _, f := range mt.Status.Rollout.Failed {
		if f.Reason != v1alpha1.ProgressDeadlineExceeded {
			t.Errorf("%s failed with %s, want %s", f.Name, f.Reason, v1alpha1.ProgressDeadlineExceeded)
		}
	}
	stays(t, 7*time.Second, func() error {
		if mt := m.status(); mt.Status.Rollout.FailedTotal != 2 || mt.Status.Rollout.InProgressTotal != 0 {
			return fmt.Errorf("want two failed and none begun: %s", describe(mt))
		}
		for name, n := range revisions(t, apps) {
			if want := map[bool]int{true: 2, false: 1}[name == broken[0] || name == broken[1]]; n != want {
				return fmt.Errorf("%s has %d revisions, want %d", name, n, want)
			}
		}
		return nil
	})

	heal(t, apps, broken...)
	m.awaitConverged(time.Minute, m.root, next)
	m.await(10*time.Second, v1alpha1.ConditionRolloutHealthy, metav1.ConditionTrue, v1alpha1.RolloutHealthy)
	for _, name := range append(broken, fine...) {
		var old []corev1.Pod
		for i := range before {
			if before[i].Labels["app"] == name {
				old = append(old, before[i])
			}
		}
		replaced(t, apps, name, old, m.root, next)
		if marks := history.marks("Deployment", apps, name); len(marks) != 1 {
			t.Errorf("the template of %s was marked %d times, want once: %v", name, len(marks), marks)
		}
		// The surge keeps the old pod until the new one serves.
		if least := history.leastUp(1, apps, name); least != 1 {
			t.Errorf("%s had no pod up for a while", name)
		}
	}
}

// heal lets the pods that are there now become ready, not those that come later.
func heal(t *testing.T, namespace string, apps ...string) {
	t.Helper()
	for _, app := range apps {
		eventually(t, 20*time.Second, func() error {
			list := podsOf(t, namespace, app)
			if len(list) == 0 {
				return fmt.Errorf("%s/%s has no pod yet", namespace, app)
			}
			for i := range list {
				p := list[i].DeepCopy()
				p.Annotations[lab.NeverReadyAnnotation] = "false"
				if err := env.client.Patch(t.Context(), p, client.MergeFrom(&list[i])); err != nil {
					return err
				}
			}
			return nil
		})
	}
}
