package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
)

func create(t *testing.T, o client.Object) {
	t.Helper()
	if err := env.client.Create(t.Context(), o); err != nil {
		t.Fatalf("creating %T %s: %v", o, o.GetName(), err)
	}
}

// eventually polls until check returns nil.
func eventually(t *testing.T, within time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %v", within, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// podTemplate is the template of a small application.
func podTemplate(app string, annotations map[string]string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}, Annotations: annotations},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
}

// deployment creates a Deployment; change may be nil.
func deployment(t *testing.T, namespace, name string, replicas int32, change func(*appsv1.Deployment)) *appsv1.Deployment {
	t.Helper()
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template: podTemplate(name, nil),
		},
	}
	if change != nil {
		change(d)
	}
	create(t, d)
	return d
}

// pods returns the pods of a namespace that have not ended.
func pods(t *testing.T, namespace string) []corev1.Pod {
	t.Helper()
	var list corev1.PodList
	if err := env.client.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// anchorsOf reads, with no help from the product, what a pod's proxy trusts.
func anchorsOf(t *testing.T, pod *corev1.Pod) bundle.Set {
	t.Helper()
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, e := range c.Env {
			if e.Name == "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS" {
				set, err := bundle.Parse([]byte(e.Value))
				if err != nil {
					t.Fatalf("pod %s: %v", pod.Name, err)
				}
				return set
			}
		}
	}
	t.Fatalf("pod %s has no proxy", pod.Name)
	return bundle.Set{}
}

func setOf(cas ...*bundletest.CA) bundle.Set {
	var s bundle.Set
	for _, ca := range cas {
		s = s.Union(bundle.Of(ca.Cert))
	}
	return s
}

// ready waits until a namespace has just so many pods, all ready.
func ready(t *testing.T, namespace string, count int) {
	t.Helper()
	eventually(t, time.Minute, func() error {
		have := pods(t, namespace)
		for i := range have {
			if !podReady(&have[i]) {
				return fmt.Errorf("pod %s/%s is not ready", namespace, have[i].Name)
			}
		}
		if len(have) != count {
			return fmt.Errorf("namespace %s has %d pods, want %d", namespace, len(have), count)
		}
		return nil
	})
}

func podReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// revisions counts the ReplicaSets of each Deployment of a namespace: one, and
// one for each roll.
func revisions(t *testing.T, namespace string) map[string]int {
	t.Helper()
	var list appsv1.ReplicaSetList
	if err := env.client.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for i := range list.Items {
		if ref := metav1.GetControllerOf(&list.Items[i]); ref != nil {
			out[ref.Name]++
		}
	}
	return out
}

// await waits for a condition of the MeshTrust with a status and, unless it is
// empty, a reason.
func (m *meshWorld) await(within time.Duration, kind string, status metav1.ConditionStatus, reason v1alpha1.Reason) *v1alpha1.MeshTrust {
	m.t.Helper()
	var last *v1alpha1.MeshTrust
	eventually(m.t, within, func() error {
		last = m.status()
		c := apimeta.FindStatusCondition(last.Status.Conditions, kind)
		if c == nil || c.Status != status || reason != "" && c.Reason != string(reason) {
			return fmt.Errorf("MeshTrust %s: want %s %s %s, have %s", m.name, kind, status, reason, describe(last))
		}
		return nil
	})
	return last
}

func describe(mt *v1alpha1.MeshTrust) string {
	out := fmt.Sprintf("pods %+v, rollout %d in progress, %d failed, %d blocked;", mt.Status.Pods,
		mt.Status.Rollout.InProgressTotal, mt.Status.Rollout.FailedTotal, mt.Status.Rollout.BlockedTotal)
	for _, c := range mt.Status.Conditions {
		out += fmt.Sprintf(" %s=%s/%s (%s);", c.Type, c.Status, c.Reason, c.Message)
	}
	return out
}

// awaitConverged waits until the mesh is converged on the bundle of the anchors.
func (m *meshWorld) awaitConverged(within time.Duration, anchors ...*bundletest.CA) *v1alpha1.MeshTrust {
	m.t.Helper()
	want := setOf(anchors...).Hash()
	var last *v1alpha1.MeshTrust
	eventually(m.t, within, func() error {
		last = m.status()
		if last.Status.Bundle == nil || last.Status.Bundle.Hash != want ||
			!apimeta.IsStatusConditionTrue(last.Status.Conditions, v1alpha1.ConditionConverged) {
			return fmt.Errorf("MeshTrust %s is not converged on %d anchors: %s", m.name, len(anchors), describe(last))
		}
		return nil
	})
	return last
}
