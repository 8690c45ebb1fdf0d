package e2e

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/lab/injector"
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
	m.await(time.Minute, v1alpha1.ConditionRolloutHealthy, metav1.ConditionTrue, v1alpha1.RolloutHealthy)
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

// The injector goes back to an older bundle after it was seen to serve the new
// one. A workload whose pods come back stale is rolled maxAttempts times and no
// more, and is named. Once the injector is in order a restart by hand ends that.
func TestPodsThatStayStaleAreRolledMaxAttemptsTimes(t *testing.T) {
	t.Parallel()
	spec := quick()
	spec.Rollout.MaxAttempts = new(int32(2))
	spec.Rollout.ProgressDeadline = &metav1.Duration{Duration: 5 * time.Second} // after it other failures are tried again
	m := newMesh(t, meshOptions{spec: spec})
	apps := m.namespace("apps")
	deployment(t, apps, "early", 1, nil)
	ready(t, apps, 1)
	m.awaitConverged(time.Minute, m.root)
	next := m.rotate()
	hash := m.awaitConverged(time.Minute, m.root, next).Status.Bundle.Hash
	early := podsOf(t, apps, "early")

	create(t, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: m.name, Name: "older"}, Data: map[string]string{injector.BundleKey: m.root.PEM()},
	})
	m.injectFrom("older")
	history := m.record()
	deployment(t, apps, "late", 2, nil)
	mt := m.await(time.Minute, v1alpha1.ConditionRolloutHealthy, metav1.ConditionFalse, v1alpha1.StillStale)
	if f := mt.Status.Rollout.Failed; len(f) != 1 || f[0].Name != "late" || f[0].Reason != v1alpha1.StillStale || f[0].Attempt != 2 {
		t.Errorf("want the one workload failed in its second attempt, got %+v", f)
	}
	if a := mt.Status.Rollout.Attempts; len(a) != 1 || a[0].Name != "late" || a[0].Count != 2 {
		t.Errorf("want its two attempts on record, got %+v", a)
	}
	rolledTwice := func() error {
		if diff := cmp.Diff([]string{hash, hash + ".2"}, history.marks("Deployment", apps, "late")); diff != "" {
			return fmt.Errorf("the marks of late (-want +got):\n%s", diff)
		}
		return nil
	}
	stays(t, 8*time.Second, rolledTwice)

	m.injectFrom(injector.BundleConfigMap)
	ship(t, apps, "late", "kubectl.kubernetes.io/restartedAt", "now")
	m.await(time.Minute, v1alpha1.ConditionRolloutHealthy, metav1.ConditionTrue, v1alpha1.RolloutHealthy)
	m.awaitConverged(time.Minute, m.root, next)
	if err := rolledTwice(); err != nil {
		t.Error(err)
	}
	for _, p := range podsOf(t, apps, "late") {
		if !anchorsOf(t, &p).Equal(setOf(m.root, next)) {
			t.Errorf("pod %s does not carry the bundle", p.Name)
		}
	}
	unharmed(t, apps, "early", early)
}

// injectFrom puts another injector in the place of the mesh's, which mounts
// another ConfigMap, and waits until it is the one that is asked.
func (m *meshWorld) injectFrom(configMap string) {
	m.t.Helper()
	if err := m.injector.Stop(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	other, err := injector.Start(m.t.Context(), env.lab.Config(), injector.Options{ControlPlane: m.name, Bundle: configMap})
	if err != nil {
		m.t.Fatal(err)
	}
	m.injector = other
	eventually(m.t, time.Minute, func() error {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: m.name, GenerateName: "dry-", Annotations: map[string]string{"linkerd.io/inject": "enabled"}},
			Spec:       podTemplate("dry", nil).Spec,
		}
		if err := env.client.Create(m.t.Context(), pod, client.DryRunAll); err != nil {
			return err
		}
		if other.Served(0) == 0 {
			return errors.New("the new injector is not asked yet")
		}
		return nil
	})
}

// heal lets the pods that are there now become ready, not those that come later.
func heal(t *testing.T, namespace string, apps ...string) {
	t.Helper()
	for _, app := range apps {
		eventually(t, time.Minute, func() error {
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
