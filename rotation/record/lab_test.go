package record_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/rotation/record"
)

// field is one that the older CRD does not have.
const field = "switchIntendedAt"

// definition is the CRD of AnchorRotations.
func definition(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile("../../manifests/crds/reanchor.dev_anchorrotations.yaml")
	if err != nil {
		t.Fatal(err)
	}
	crd := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(text, &crd.Object); err != nil {
		t.Fatal(err)
	}
	return crd
}

// older takes the field out of a CRD.
func older(t *testing.T, crd *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	path := []string{"schema", "openAPIV3Schema", "properties", "status", "properties", field}
	version := versions[0].(map[string]any)
	if _, ok, _ := unstructured.NestedMap(version, path...); !ok {
		t.Fatalf("the CRD has no status.%s", field)
	}
	unstructured.RemoveNestedField(version, path...)
	if err := unstructured.SetNestedSlice(crd.Object, versions, "spec", "versions"); err != nil {
		t.Fatal(err)
	}
	return crd
}

// server is a real API server with the older CRD, and one run.
func server(t *testing.T) (client.Client, *v1alpha1.AnchorRotation) {
	t.Helper()
	l, err := lab.Start(t.Context(), lab.Options{Nodes: -1, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
	})
	text, err := yaml.Marshal(older(t, definition(t)).Object)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "crd.yaml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.InstallCRDs(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(l.Config(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	run := &v1alpha1.AnchorRotation{
		ObjectMeta: metav1.ObjectMeta{Name: "run"},
		Spec:       v1alpha1.AnchorRotationSpec{MeshTrustRef: v1alpha1.ClusterObjectRef{Name: "linkerd"}},
	}
	if err := c.Create(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	return c, run
}

// writes are the ways to store a status.
func writes(t *testing.T, c client.Client, before *v1alpha1.AnchorRotation) map[string]func() (*v1alpha1.AnchorRotation, error) {
	t.Helper()
	at := metav1.NewTime(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	next := func() *v1alpha1.AnchorRotation {
		after := before.DeepCopy()
		after.Status.Progress, after.Status.SwitchIntendedAt = "1/2", &at
		return after
	}
	return map[string]func() (*v1alpha1.AnchorRotation, error){
		"update": func() (*v1alpha1.AnchorRotation, error) {
			after := next()
			return after, record.UpdateStatus(t.Context(), c, after)
		},
		"patch": func() (*v1alpha1.AnchorRotation, error) {
			after := next()
			return after, record.PatchStatus(t.Context(), c, after, before)
		},
	}
}

func TestAStatusIsStoredWholeOrNotAtAll(t *testing.T) {
	c, run := server(t)
	for name, write := range writes(t, c, run) {
		_, err := write()
		if err == nil || !strings.Contains(err.Error(), "manifests/crds") || !strings.HasSuffix(err.Error(), `unknown field "status.`+field+`"`) {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
	live := &v1alpha1.AnchorRotation{}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(run), live); err != nil {
		t.Fatal(err)
	}
	if live.ResourceVersion != run.ResourceVersion || live.Status.Progress != "" {
		t.Errorf("stored all the same: %+v", live.Status)
	}
	upgrade(t, c)
	for name, write := range writes(t, c, run) {
		deadline := time.Now().Add(30 * time.Second)
		after, err := write()
		for ; err != nil && time.Now().Before(deadline); after, err = write() {
			time.Sleep(100 * time.Millisecond) // the API server takes a moment to serve the new definition
		}
		if err != nil {
			t.Fatalf("%s, after manifests/crds were applied: %v", name, err)
		}
		live := &v1alpha1.AnchorRotation{}
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(run), live); err != nil {
			t.Fatal(err)
		}
		if live.Status.SwitchIntendedAt == nil || live.ResourceVersion != after.ResourceVersion {
			t.Errorf("%s: stored is %+v", name, live.Status)
		}
		reset(t, c, live)
		*run = *live
	}
}

// upgrade applies the CRD as it is.
func upgrade(t *testing.T, c client.Client) {
	t.Helper()
	crd := definition(t)
	live := crd.DeepCopy()
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(crd), live); err != nil {
		t.Fatal(err)
	}
	crd.SetResourceVersion(live.GetResourceVersion())
	if err := c.Update(t.Context(), crd); err != nil {
		t.Fatal(err)
	}
}

// reset takes the status back.
func reset(t *testing.T, c client.Client, run *v1alpha1.AnchorRotation) {
	t.Helper()
	run.Status = v1alpha1.AnchorRotationStatus{}
	if err := c.Status().Update(t.Context(), run); err != nil {
		t.Fatal(err)
	}
}
