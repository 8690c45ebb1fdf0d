package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

const operatedCRD = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: databases.operated.example.com}
spec:
  group: operated.example.com
  scope: Namespaced
  names: {kind: Database, plural: databases}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

const restartKey = "operated.example.com/restarted-for"

var operatedDatabase = schema.GroupVersionKind{Group: "operated.example.com", Version: "v1", Kind: "Database"}

// Pods that belong to a custom resource are restarted by its operator, which is
// asked once for each, one custom resource after the other. Before the
// controller may read the kind, nothing happens but a report.
func TestAnOperatorIsAskedOnceToRestartItsPods(t *testing.T) {
	t.Parallel()
	customKind(t, operatedDatabase, operatedCRD)
	m := newMesh(t, meshOptions{})
	apps := m.namespace("apps")
	operator := databases{newDatabase(t, apps, "orders", 3, nil), newDatabase(t, apps, "users", 3, nil),
		newDatabase(t, apps, "billing", 1, map[string]string{v1alpha1.OptOutAnnotation: v1alpha1.OptOutRollout})}
	operator.step()
	ready(t, apps, 7)
	before := map[string][]corev1.Pod{}
	for _, d := range operator {
		before[d.name] = podsOf(t, apps, d.name)
	}

	history := m.record()
	next := m.rotate()
	spec := quick()
	spec.Rollout.MaxConcurrentPerNamespace = new(int32(1))
	spec.Rollout.Operators = []v1alpha1.OperatorKind{{
		Group: operatedDatabase.Group, Kind: operatedDatabase.Kind, Annotation: &v1alpha1.RestartAnnotation{Key: restartKey},
	}}
	m.trust(*spec)
	unreadable := func() error {
		for _, d := range operator {
			if why := blockedBecause(m.status(), "Database", d.name); !strings.Contains(why, "get and patch databases.operated.example.com") {
				return fmt.Errorf("%s is not reported for want of a permission: %q, %s", d.name, why, describe(m.status()))
			}
		}
		return nil
	}
	eventually(t, time.Minute, unreadable)
	stays(t, 3*time.Second, unreadable)

	m.mayRestart("databases")
	eventually(t, 2*time.Minute, func() error {
		operator.step()
		mt := m.status()
		if reasons := blocked(mt); len(reasons) != 1 || reasons["Database billing"] != v1alpha1.OptedOut {
			return fmt.Errorf("what is reported: %v; %s", reasons, describe(mt))
		}
		if mt.Status.Pods.Stale != 1 || mt.Status.Rollout.InProgressTotal != 0 {
			return fmt.Errorf("the databases are not done: %+v, %s", mt.Status.Rollout.InProgress, describe(mt))
		}
		return nil
	})
	m.awaitConverged(time.Minute, m.root, next)
	stays(t, 5*time.Second, func() error {
		operator.step()
		return nil
	})
	unharmed(t, apps, "billing", before["billing"])
	if value := operator[2].annotation(); value != "" {
		t.Errorf("billing is annotated %q although it opted out", value)
	}
	for _, d := range operator[:2] {
		replaced(t, apps, d.name, before[d.name], m.root, next)
		if n := len(history.endings(apps, d.name)); n != 3 {
			t.Errorf("%d pods of %s ended, want each of three just once", n, d.name)
		}
		if value := d.annotation(); value != setOf(m.root, next).Hash() {
			t.Errorf("%s is annotated %q, want the bundle's hash", d.name, value)
		}
		d.ownedAnnotationOnly()
	}
	history.neverTogether(apps, "orders", "users")
}

// blockedBecause is why a workload is reported, "" when it is not.
func blockedBecause(mt *v1alpha1.MeshTrust, kind, name string) string {
	for _, b := range mt.Status.Rollout.Blocked {
		if b.Kind == kind && b.Name == name {
			return string(b.Reason) + ": " + b.Message
		}
	}
	return ""
}

// mayRestart gives the controller the role that docs/install.md shows.
func (m *meshWorld) mayRestart(resource string) {
	m.t.Helper()
	name := m.name + "-restarts-" + resource
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{operatedDatabase.Group}, Resources: []string{resource}, Verbs: []string{"get", "patch"},
	}}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "reanchor-system", Name: "reanchor-controller"}},
	}
	for _, o := range []client.Object{role, binding} {
		create(m.t, o)
		m.t.Cleanup(func() { env.client.Delete(context.Background(), o) })
	}
}

// neverTogether checks that at no instant pods of more than one of the
// applications were missing, not ready or ending, from when all were complete.
func (l *timeline) neverTogether(namespace string, apps ...string) {
	l.t.Helper()
	most, complete := 0, false
	l.replay(func(i *instant) {
		n := 0
		for _, app := range apps {
			if up(i.pods(namespace, app)) < 3 {
				n++
			}
		}
		if complete = complete || n == 0; complete {
			most = max(most, n)
		}
	})
	if most != 1 {
		l.t.Errorf("of %v %d were in flight at once, want one", apps, most)
	}
}

// databases is an operator: it keeps the pods of its Databases in number and
// replaces those that were not made for the annotation's present value, one at a
// time and only while all others are ready.
type databases []*database

type database struct {
	t               *testing.T
	namespace, name string
	replicas        int
}

func newDatabase(t *testing.T, namespace, name string, replicas int, annotations map[string]string) *database {
	t.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(operatedDatabase)
	u.SetNamespace(namespace)
	u.SetName(name)
	u.SetAnnotations(annotations)
	create(t, u)
	return &database{t: t, namespace: namespace, name: name, replicas: replicas}
}

func (d *database) read() *unstructured.Unstructured {
	d.t.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(operatedDatabase)
	return get(d.t, d.namespace, d.name, u)
}

func (d *database) annotation() string { return d.read().GetAnnotations()[restartKey] }

// ownedAnnotationOnly checks what the controller wrote.
func (d *database) ownedAnnotationOnly() {
	d.t.Helper()
	const want = `{"f:metadata":{"f:annotations":{"f:` + restartKey + `":{}}}}`
	fields := d.read().GetManagedFields()
	if !slices.ContainsFunc(fields, func(f metav1.ManagedFieldsEntry) bool {
		return f.Manager == v1alpha1.FieldManager && f.FieldsV1 != nil && string(f.FieldsV1.GetRawBytes()) == want
	}) {
		d.t.Errorf("%s must own the annotation of %s and nothing else: %+v", v1alpha1.FieldManager, d.name, fields)
	}
}

func (l databases) step() {
	for _, d := range l {
		d.step()
	}
}

func (d *database) step() {
	d.t.Helper()
	u := d.read()
	wanted := u.GetAnnotations()[restartKey]
	there, serving := map[string]bool{}, 0
	var outdated *corev1.Pod
	list := podsOf(d.t, d.namespace, d.name)
	for i := range list {
		p := &list[i]
		there[p.Name] = true
		if p.DeletionTimestamp != nil || !podReady(p) {
			continue
		}
		serving++
		if p.Annotations[restartKey] != wanted {
			outdated = p
		}
	}
	for n := range d.replicas {
		if name := fmt.Sprintf("%s-%d", d.name, n); !there[name] {
			d.add(u, name, wanted)
		}
	}
	if outdated != nil && serving == d.replicas {
		if err := env.client.Delete(d.t.Context(), outdated); err != nil {
			d.t.Fatal(err)
		}
	}
}

func (d *database) add(owner *unstructured.Unstructured, name, wanted string) {
	d.t.Helper()
	template := podTemplate(d.name, map[string]string{restartKey: wanted})
	create(d.t, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: d.namespace, Name: name, Labels: template.Labels, Annotations: template.Annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, operatedDatabase)},
		},
		Spec: template.Spec,
	})
}
