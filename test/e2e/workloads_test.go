package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle/bundletest"
)

// statefulSet creates a StatefulSet.
func statefulSet(t *testing.T, namespace, name string, replicas int32, strategy appsv1.StatefulSetUpdateStrategy) {
	t.Helper()
	create(t, &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &replicas, ServiceName: name, UpdateStrategy: strategy,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template: podTemplate(name, nil),
		},
	})
}

// daemonSet creates a DaemonSet on the first nodes of the lab.
func daemonSet(t *testing.T, namespace, name string, nodes int, strategy appsv1.DaemonSetUpdateStrategy) {
	t.Helper()
	var list corev1.NodeList
	if err := env.client.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) < nodes {
		t.Fatalf("the lab has %d nodes, want %d", len(list.Items), nodes)
	}
	var names []string
	for i := range list.Items[:nodes] {
		names = append(names, list.Items[i].Labels[corev1.LabelHostname])
	}
	template := podTemplate(name, nil)
	template.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
			{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: names},
		}}},
	}}}
	create(t, &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1.DaemonSetSpec{
			UpdateStrategy: strategy, Template: template,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
		},
	})
}

// replicaSet creates a ReplicaSet that no Deployment owns.
func replicaSet(t *testing.T, namespace, name string, replicas int32) {
	t.Helper()
	create(t, &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &replicas, Template: podTemplate(name, nil),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
		},
	})
}

// budget creates a PodDisruptionBudget over the pods of a namespace with one of
// the app labels.
func budget(t *testing.T, namespace, name string, maxUnavailable int32, apps ...string) *policyv1.PodDisruptionBudget {
	t.Helper()
	p := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: new(intstr.FromInt32(maxUnavailable)),
			Selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: apps},
			}},
		},
	}
	create(t, p)
	return p
}

// namespaced makes a namespace of the mesh with more annotations.
func (m *meshWorld) namespaced(name string, annotations map[string]string) string {
	m.t.Helper()
	name = m.namespace(name)
	annotateNamespace(m.t, name, annotations)
	return name
}

// annotateNamespace sets annotations of a namespace, or with empty values
// removes them.
func annotateNamespace(t *testing.T, name string, annotations map[string]string) {
	t.Helper()
	var ns corev1.Namespace
	if err := env.client.Get(t.Context(), client.ObjectKey{Name: name}, &ns); err != nil {
		t.Fatal(err)
	}
	before := ns.DeepCopy()
	for key, value := range annotations {
		if value == "" {
			delete(ns.Annotations, key)
			continue
		}
		if ns.Annotations == nil {
			ns.Annotations = map[string]string{}
		}
		ns.Annotations[key] = value
	}
	if err := env.client.Patch(t.Context(), &ns, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

// get reads an object.
func get[T client.Object](t *testing.T, namespace, name string, into T) T {
	t.Helper()
	if err := env.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, into); err != nil {
		t.Fatal(err)
	}
	return into
}

// podsOf returns the pods of an application, by name.
func podsOf(t *testing.T, namespace, app string) []corev1.Pod {
	t.Helper()
	all := slices.DeleteFunc(pods(t, namespace), func(p corev1.Pod) bool { return p.Labels["app"] != app })
	slices.SortFunc(all, func(a, b corev1.Pod) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return all
}

func uids(pods []corev1.Pod) map[types.UID]bool {
	out := map[types.UID]bool{}
	for i := range pods {
		out[pods[i].UID] = true
	}
	return out
}

// replaced checks that every pod of an application is another than before and
// trusts just the anchors.
func replaced(t *testing.T, namespace, app string, before []corev1.Pod, anchors ...*bundletest.CA) {
	t.Helper()
	old, now := uids(before), podsOf(t, namespace, app)
	if len(now) != len(before) {
		t.Errorf("%s/%s has %d pods, want %d", namespace, app, len(now), len(before))
	}
	for i := range now {
		if old[now[i].UID] {
			t.Errorf("pod %s/%s was not replaced", namespace, now[i].Name)
		}
		if !anchorsOf(t, &now[i]).Equal(setOf(anchors...)) {
			t.Errorf("pod %s/%s does not trust just the published anchors", namespace, now[i].Name)
		}
	}
}

// unharmed checks that the pods of an application are those of before.
func unharmed(t *testing.T, namespace, app string, before []corev1.Pod) {
	t.Helper()
	now := podsOf(t, namespace, app)
	if !sameUIDs(before, now) {
		t.Errorf("the pods of %s/%s were touched", namespace, app)
	}
	for i := range now {
		if now[i].DeletionTimestamp != nil {
			t.Errorf("pod %s/%s was told to end", namespace, now[i].Name)
		}
	}
}

// blocked returns the reasons that the MeshTrust gives, by kind and name.
func blocked(mt *v1alpha1.MeshTrust) map[string]v1alpha1.Reason {
	out := map[string]v1alpha1.Reason{}
	for _, b := range mt.Status.Rollout.Blocked {
		out[b.Kind+" "+b.Name] = b.Reason
	}
	return out
}

// stays checks for a while that something goes on to hold.
func stays(t *testing.T, long time.Duration, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	for {
		if err := check(); err != nil {
			t.Fatalf("it did not stay so for %s: %v", long, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// revisionsOf counts the ControllerRevisions of a StatefulSet or DaemonSet.
func revisionsOf(t *testing.T, namespace, name string) int {
	t.Helper()
	var list appsv1.ControllerRevisionList
	if err := env.client.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	n := 0
	for i := range list.Items {
		if ref := metav1.GetControllerOf(&list.Items[i]); ref != nil && ref.Name == name {
			n++
		}
	}
	return n
}

func ordinals(name string, numbers ...int) []string {
	var out []string
	for _, n := range numbers {
		out = append(out, fmt.Sprintf("%s-%d", name, n))
	}
	return out
}

// customKind installs a CRD and waits until its kind is served.
func customKind(t *testing.T, kind schema.GroupVersionKind, text string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "crd.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := env.lab.InstallCRDs(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kind)
	eventually(t, time.Minute, func() error { return env.client.List(t.Context(), list) })
}
