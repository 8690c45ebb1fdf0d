package lab_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// records is a kind that nobody but the test writes.
const records = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: records.lab.reanchor.dev}
spec:
  group: lab.reanchor.dev
  names: {kind: Record, plural: records}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

// record creates an object of that kind, and returns a client for its namespace.
func record(t *testing.T, ns string) (dynamic.ResourceInterface, *unstructured.Unstructured) {
	t.Helper()
	namespace(t, client(t, shared), ns)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "records.yaml"), []byte(records), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := shared.InstallCRDs(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	r := resource(t, "lab.reanchor.dev/v1", "records", ns)
	created, err := r.Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "lab.reanchor.dev/v1", "kind": "Record",
		"metadata": map[string]any{"name": "it", "annotations": map[string]any{"text": "<a> & b"}},
		"large":    int64(9007199254740993), "half": 0.5, "none": []any{}, "count": int64(0),
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r, created
}

func recordsKind() schema.GroupResource {
	return schema.GroupResource{Group: "lab.reanchor.dev", Resource: "records"}
}

func TestABackdatedObjectIsAsBeforeButForItsAge(t *testing.T) {
	const ns = "backdated"
	r, before := record(t, ns)
	changes, err := r.Watch(t.Context(), metav1.ListOptions{ResourceVersion: before.GetResourceVersion()})
	if err != nil {
		t.Fatal(err)
	}
	defer changes.Stop()
	created := time.Now().Add(-48 * time.Hour).Truncate(time.Second)
	if err := shared.Backdate(t.Context(), recordsKind(), types.NamespacedName{Namespace: ns, Name: "it"}, created); err != nil {
		t.Fatal(err)
	}

	after, err := r.Get(t.Context(), "it", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := before.DeepCopy()
	want.SetCreationTimestamp(metav1.NewTime(created.UTC()))
	want.SetResourceVersion(after.GetResourceVersion())
	if diff := cmp.Diff(want.Object, after.Object); diff != "" {
		t.Errorf("the object (-want +got):\n%s", diff)
	}
	select {
	case change := <-changes.ResultChan():
		if diff := cmp.Diff(any(after), any(change.Object)); diff != "" {
			t.Errorf("what a watcher is told (-want +got):\n%s", diff)
		}
	case <-time.After(time.Minute):
		t.Error("no watcher is told")
	}
	// Resource version 0 is what the API server has in its cache.
	list, err := r.List(t.Context(), metav1.ListOptions{ResourceVersion: "0"})
	if err != nil || len(list.Items) != 1 || !list.Items[0].GetCreationTimestamp().Time.Equal(created) {
		t.Errorf("the list is %v (%v), want one of %s", list, err, created)
	}
	if _, err := r.Update(t.Context(), before, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("an update of the object as it was before: %v, want a conflict", err)
	}
}

func TestBackdatingOverwritesNoOtherChange(t *testing.T) {
	const ns, changes = "contested", 30
	r, _ := record(t, ns)
	counted := make(chan error, 1)
	go func() {
		for range changes {
			if err := count(t, r); err != nil {
				counted <- err
				return
			}
		}
		counted <- nil
	}()
	name, newest := types.NamespacedName{Namespace: ns, Name: "it"}, time.Unix(1_000_000_000, 0)
	for ended := false; !ended; {
		select {
		case err := <-counted:
			if err != nil {
				t.Fatal(err)
			}
			ended = true
		default:
		}
		newest = newest.Add(time.Second)
		if err := shared.Backdate(t.Context(), recordsKind(), name, newest); err != nil {
			t.Fatal(err)
		}
	}
	after, err := r.Get(t.Context(), "it", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n, _, err := unstructured.NestedInt64(after.Object, "count"); n != changes || err != nil {
		t.Errorf("%d of %d changes are left (%v)", n, changes, err)
	}
	if at := after.GetCreationTimestamp(); !at.Time.Equal(newest) {
		t.Errorf("it was created at %s, want %s", at, newest)
	}
}

// count adds one to the record's count.
func count(t *testing.T, r dynamic.ResourceInterface) error {
	for {
		u, err := r.Get(t.Context(), "it", metav1.GetOptions{})
		if err != nil {
			return err
		}
		n, _, err := unstructured.NestedInt64(u.Object, "count")
		if err != nil {
			return err
		}
		u.Object["count"] = n + 1
		if _, err := r.Update(t.Context(), u, metav1.UpdateOptions{}); err == nil || !apierrors.IsConflict(err) {
			return err
		}
	}
}

func TestWhatCannotBeBackdatedIsRefused(t *testing.T) {
	const ns = "not-backdated"
	namespace(t, client(t, shared), ns)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "stored-otherwise"}}
	before, err := client(t, shared).CoreV1().ConfigMaps(ns).Create(t.Context(), cm, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		kind schema.GroupResource
		name string
		want string
	}{
		"an object that is not there": {recordsKind(), "nobody", "backdating records.lab.reanchor.dev not-backdated/nobody: etcd holds no "},
		"a kind of Kubernetes' own":   {schema.GroupResource{Resource: "configmaps"}, cm.Name, "JSON for custom resources only"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := shared.Backdate(t.Context(), c.kind, types.NamespacedName{Namespace: ns, Name: c.name}, time.Unix(0, 0))
			if err == nil || !strings.Contains(fmt.Sprint(err), c.want) {
				t.Errorf("the error is %v, want %q", err, c.want)
			}
		})
	}
	after, err := client(t, shared).CoreV1().ConfigMaps(ns).Get(t.Context(), cm.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the one that was refused (-before +after):\n%s", diff)
	}
}
