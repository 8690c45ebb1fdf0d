package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// argoCRD has of Argo's schema the fields that matter here, with their types.
const argoCRD = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: rollouts.argoproj.io}
spec:
  group: argoproj.io
  scope: Namespaced
  names: {kind: Rollout, plural: rollouts}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          apiVersion: {type: string}
          kind: {type: string}
          metadata: {type: object}
          spec:
            type: object
            properties:
              paused: {type: boolean}
              replicas: {type: integer, format: int32}
              restartAt: {type: string, format: date-time}
              selector: {type: object, x-kubernetes-preserve-unknown-fields: true}
              template: {type: object, x-kubernetes-preserve-unknown-fields: true}
              workloadRef: {type: object, x-kubernetes-preserve-unknown-fields: true}
          status:
            type: object
            properties:
              observedGeneration: {type: string}
              replicas: {type: integer, format: int32}
              availableReplicas: {type: integer, format: int32}
`

var argoRollout = schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Rollout"}

// An Argo Rollout gets spec.restartAt, once; its template stays as it was. The
// test is its controller: it replaces the pods that are older than that.
func TestArgoRolloutIsRestartedOnce(t *testing.T) {
	t.Parallel()
	customKind(t, argoRollout, argoCRD)
	m := newMesh(t, meshOptions{})
	apps := m.namespace("apps")
	argo := newArgo(t, apps, "web", 2)
	ready(t, apps, 2)
	argo.step()
	before := podsOf(t, apps, "web")

	history := m.record()
	next := m.rotate()
	m.trust(*quick())
	eventually(t, time.Minute, func() error {
		argo.step()
		if argo.restartAt().IsZero() {
			return fmt.Errorf("restartAt is not set")
		}
		return nil
	})
	// One second after the newest pod, by the clock that dates the pods: all of
	// them are older, and none that the restart makes is.
	at, newest := argo.restartAt(), before[0].CreationTimestamp.Time
	for i := range before {
		if created := before[i].CreationTimestamp.Time; created.After(newest) {
			newest = created
		}
	}
	if want := newest.Add(time.Second); !at.Equal(want) {
		t.Errorf("restartAt is %s, want %s, a second after the newest pod", at, want)
	}
	eventually(t, time.Minute, func() error {
		argo.step()
		mt := m.status()
		if c := blocked(mt); len(c) != 0 || mt.Status.Pods.Stale != 0 || mt.Status.Rollout.InProgressTotal != 0 {
			return fmt.Errorf("the Rollout is not done: %s, %v, %+v, status %v", describe(mt), c, mt.Status.Rollout.InProgress, argo.read().Object["status"])
		}
		return nil
	})
	m.awaitConverged(time.Minute, m.root, next)
	replaced(t, apps, "web", before, m.root, next)
	stays(t, 5*time.Second, func() error {
		argo.step()
		if u := argo.read(); u.GetGeneration() != 2 || !argo.restartAt().Equal(at) {
			return fmt.Errorf("generation %d with restartAt %s, want the creation and one restart at %s", u.GetGeneration(), argo.restartAt(), at)
		}
		return nil
	})
	if n := len(history.endings(apps, "web")); n != 2 {
		t.Errorf("%d pods were replaced, want each of two just once", n)
	}
	owned := slices.ContainsFunc(argo.read().GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool {
		return f.Manager == v1alpha1.FieldManager && f.FieldsV1 != nil && string(f.FieldsV1.GetRawBytes()) == `{"f:spec":{"f:restartAt":{}}}`
	})
	if !owned {
		t.Errorf("%s must own restartAt and nothing else: %+v", v1alpha1.FieldManager, argo.read().GetManagedFields())
	}
}

// argo does for one Rollout what Argo's controller does for a restart.
type argo struct {
	t               *testing.T
	namespace, name string
	replicas        int
}

func newArgo(t *testing.T, namespace, name string, replicas int32) *argo {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"replicas": int64(replicas),
		"template": map[string]any{"metadata": map[string]any{"labels": map[string]any{"app": name}}},
	}}}
	u.SetGroupVersionKind(argoRollout)
	u.SetNamespace(namespace)
	u.SetName(name)
	create(t, u)
	const hash = "6d5f7c8b9"
	template := podTemplate(name, nil)
	template.Labels["rollouts-pod-template-hash"] = hash
	create(t, &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name + "-" + hash,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(u, argoRollout)},
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: &replicas, Template: template, Selector: &metav1.LabelSelector{MatchLabels: template.Labels}},
	})
	return &argo{t: t, namespace: namespace, name: name, replicas: int(replicas)}
}

func (a *argo) read() *unstructured.Unstructured {
	a.t.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(argoRollout)
	return get(a.t, a.namespace, a.name, u)
}

func (a *argo) restartAt() time.Time {
	a.t.Helper()
	text, ok, _ := unstructured.NestedString(a.read().Object, "spec", "restartAt")
	if !ok {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		a.t.Fatal(err)
	}
	return at
}

// step brings the status up to date, and when all pods are ready replaces one
// that is older than restartAt.
func (a *argo) step() {
	a.t.Helper()
	u := a.read()
	list, serving := podsOf(a.t, a.namespace, a.name), int64(0)
	var old *corev1.Pod
	at := a.restartAt()
	for i := range list {
		if list[i].DeletionTimestamp == nil && podReady(&list[i]) {
			serving++
			if list[i].CreationTimestamp.Time.Before(at) && time.Now().After(at) {
				old = &list[i]
			}
		}
	}
	status := map[string]any{
		"observedGeneration": strconv.FormatInt(u.GetGeneration(), 10), "replicas": int64(len(list)), "availableReplicas": serving,
	}
	if fmt.Sprint(u.Object["status"]) != fmt.Sprint(status) {
		u.Object["status"] = status
		if err := env.client.Status().Update(a.t.Context(), u); err != nil && client.IgnoreNotFound(err) != nil {
			a.t.Log(err) // a conflict; the next step comes soon
		}
	}
	if old != nil && int(serving) == a.replicas {
		if err := env.client.Delete(a.t.Context(), old); err != nil {
			a.t.Fatal(err)
		}
	}
}
