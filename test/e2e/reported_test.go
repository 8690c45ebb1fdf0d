package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// What must not be rolled, or not by Reanchor, is reported with its reason and
// left alone, however long; an ordinary workload beside it is rolled.
func TestWhatMustNotBeRolledIsReportedAndLeftAlone(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{})
	apps, optedOut := m.namespace("apps"), m.namespaced("out", map[string]string{v1alpha1.OptOutAnnotation: v1alpha1.OptOutAll})
	unmanageable(t, apps)
	deployment(t, apps, "by-hand", 1, func(d *appsv1.Deployment) { m.injectByHand(&d.Spec.Template) })
	deployment(t, apps, "paused", 1, nil)
	deployment(t, apps, "paused-evict", 1, func(d *appsv1.Deployment) {
		d.Annotations = map[string]string{v1alpha1.RolloutStrategyAnnotation: v1alpha1.RolloutStrategyEvict}
	})
	deployment(t, apps, "out", 1, func(d *appsv1.Deployment) {
		d.Annotations = map[string]string{v1alpha1.OptOutAnnotation: v1alpha1.OptOutRollout}
	})
	deployment(t, apps, "ordinary", 1, nil)
	orphanOfArgo(t, apps)
	m.boaster(apps)
	deployment(t, optedOut, "inherits", 1, nil)
	ready(t, apps, 10)
	ready(t, optedOut, 1)
	pause(t, apps, "paused")
	pause(t, apps, "paused-evict")
	before := map[string][]corev1.Pod{}
	for _, app := range []string{"job", "bare", "shard", "by-hand", "paused", "paused-evict", "out", "ordinary", "ghost", "boaster"} {
		before[app] = podsOf(t, apps, app)
	}
	inherits := podsOf(t, optedOut, "inherits")

	history := m.record()
	next := m.rotate()
	m.trust(*quick())
	mt := m.awaitConverged(time.Minute, m.root, next)
	check := func() error {
		want := map[string]v1alpha1.Reason{
			"Job job": v1alpha1.JobPod, "Pod bare": v1alpha1.BarePod, "Database shop": v1alpha1.UnknownOwner, "Rollout ghost": v1alpha1.UnknownOwner,
			strings.Repeat("K", 60) + "... " + strings.Repeat("n", 250) + "...": v1alpha1.UnknownOwner,
			"Deployment paused": v1alpha1.WorkloadPaused, "Deployment by-hand": v1alpha1.ManuallyInjected,
			"Deployment out": v1alpha1.OptedOut, "Deployment inherits": v1alpha1.OptedOut,
		}
		if diff := cmp.Diff(want, blocked(m.status())); diff != "" {
			return fmt.Errorf("what is reported (-want +got):\n%s", diff)
		}
		return nil
	}
	if err := check(); err != nil {
		t.Error(err)
	}
	if mt.Status.Rollout.BlockedTotal != 9 {
		t.Errorf("%d workloads are reported, want nine", mt.Status.Rollout.BlockedTotal)
	}
	replaced(t, apps, "ordinary", before["ordinary"], m.root, next)
	replaced(t, apps, "paused-evict", before["paused-evict"], m.root, next)
	stays(t, 5*time.Second, check)
	for _, app := range []string{"job", "bare", "shard", "by-hand", "paused", "out", "ghost", "boaster"} {
		unharmed(t, apps, app, before[app])
	}
	unharmed(t, optedOut, "inherits", inherits)
	history.replay(func(i *instant) {
		if i.before != nil && mark(i.before) != mark(i.change.object) && i.change.object.GetName() != "ordinary" {
			t.Errorf("the template of %s was marked", i.change.key())
		}
	})
}

// With the policies set to Evict what they name is evicted, and only that.
func TestPoliciesEvictWhatTheyName(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{})
	apps := m.namespace("apps")
	unmanageable(t, apps)
	deployment(t, apps, "paused", 1, nil)
	ready(t, apps, 4)
	pause(t, apps, "paused")
	job, bare, shard, paused := podsOf(t, apps, "job"), podsOf(t, apps, "bare"), podsOf(t, apps, "shard"), podsOf(t, apps, "paused")

	next := m.rotate()
	spec := quick()
	spec.Rollout.Policies = v1alpha1.RolloutPolicies{
		BarePods: v1alpha1.BarePodsEvict, Jobs: v1alpha1.JobsEvict, Unmanaged: v1alpha1.UnmanagedEvict,
	}
	m.trust(*spec)
	eventually(t, time.Minute, func() error {
		if now := podsOf(t, apps, "shard"); len(now) == 0 {
			shardOf(t, apps) // as the controller of a Database would do
			return fmt.Errorf("the pod of the Database was just evicted")
		} else if now[0].UID == shard[0].UID || !podReady(&now[0]) {
			return fmt.Errorf("the pod of the Database is not replaced yet")
		}
		if len(podsOf(t, apps, "bare")) != 0 {
			return fmt.Errorf("the pod that nothing replaces is still there")
		}
		if now := podsOf(t, apps, "job"); len(now) != 1 || now[0].UID == job[0].UID || !podReady(&now[0]) {
			return fmt.Errorf("the pod of the Job is not replaced yet")
		}
		return nil
	})
	if len(bare) != 1 || len(shard) != 1 {
		t.Errorf("there were %d bare pods and %d of an unknown owner, want one of each", len(bare), len(shard))
	}
	replaced(t, apps, "job", job, m.root, next)
	replaced(t, apps, "shard", shard, m.root, next)
	m.awaitConverged(time.Minute, m.root, next)
	unharmed(t, apps, "paused", paused)
	if diff := cmp.Diff(map[string]v1alpha1.Reason{"Deployment paused": v1alpha1.WorkloadPaused}, blocked(m.status())); diff != "" {
		t.Errorf("what is reported (-want +got):\n%s", diff)
	}
}

const databaseCRD = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: databases.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Database, plural: databases}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

// unmanageable creates a running Job, a bare pod, and a pod of a kind that
// nobody but its operator knows.
func unmanageable(t *testing.T, namespace string) {
	t.Helper()
	template := podTemplate("job", nil)
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	create(t, &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "job"},
		Spec:       batchv1.JobSpec{Template: template, BackoffLimit: new(int32(3))},
	})
	bare := podTemplate("bare", nil)
	create(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "bare", Labels: bare.Labels}, Spec: bare.Spec})

	kind := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Database"}
	customKind(t, kind, databaseCRD)
	database := &unstructured.Unstructured{}
	database.SetGroupVersionKind(kind)
	database.SetNamespace(namespace)
	database.SetName("shop")
	create(t, database)
	shardOf(t, namespace)
}

// shardOf creates the pod of the Database in a namespace.
func shardOf(t *testing.T, namespace string) {
	t.Helper()
	kind := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Database"}
	database := &unstructured.Unstructured{}
	database.SetGroupVersionKind(kind)
	get(t, namespace, "shop", database)
	shard := podTemplate("shard", nil)
	create(t, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: "shop-0", Labels: shard.Labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(database, kind)},
		},
		Spec: shard.Spec,
	})
}

// boaster creates a pod that says that it belongs to an object of a longer name, and
// of a kind of a longer one, than any has: the API server takes it, and would not take
// a status that says the same.
func (m *meshWorld) boaster(namespace string) {
	m.t.Helper()
	pod := podTemplate("boaster", nil)
	m.injectByHand(&pod)
	owner := metav1.OwnerReference{
		APIVersion: "example.com/v1", Kind: strings.Repeat("K", 64), Name: strings.Repeat("n", 254), UID: "u", Controller: new(true),
	}
	create(m.t, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "boaster", Labels: pod.Labels, OwnerReferences: []metav1.OwnerReference{owner}},
		Spec:       pod.Spec,
	})
}

// orphanOfArgo creates a ReplicaSet whose pods say that they belong to an Argo
// Rollout that does not exist, maybe not even its kind.
func orphanOfArgo(t *testing.T, namespace string) {
	t.Helper()
	template := podTemplate("ghost", nil)
	template.Labels["rollouts-pod-template-hash"] = "abc"
	create(t, &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "ghost-abc"},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: new(int32(1)), Template: template, Selector: &metav1.LabelSelector{MatchLabels: template.Labels},
		},
	})
}

// injectByHand puts the proxy and its anchors into the template itself, as
// "linkerd inject --manual" does.
func (m *meshWorld) injectByHand(template *corev1.PodTemplateSpec) {
	template.Labels["linkerd.io/control-plane-ns"] = m.name
	template.Spec.Containers = append(template.Spec.Containers, corev1.Container{
		Name: "linkerd-proxy", Image: "proxy",
		Env: []corev1.EnvVar{{Name: "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", Value: m.root.PEM()}},
	})
}

// pause pauses a Deployment.
func pause(t *testing.T, namespace, name string) {
	t.Helper()
	d := get(t, namespace, name, &appsv1.Deployment{})
	before := d.DeepCopy()
	d.Spec.Paused = true
	if err := env.client.Patch(t.Context(), d, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}
