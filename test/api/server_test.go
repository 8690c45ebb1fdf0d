package api

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab"
)

// server is a real API server that knows the CRDs.
type server struct {
	lab    *lab.Lab
	client dynamic.Interface
}

func startServer(t *testing.T) server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute) // a first start builds the lab
	defer cancel()
	l, err := lab.Start(ctx, lab.Options{Nodes: -1, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := l.InstallCRDs(ctx, "../../manifests/crds"); err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(l.Config())
	if err != nil {
		t.Fatal(err)
	}
	return server{lab: l, client: client}
}

func (s server) resource(kind string) dynamic.ResourceInterface {
	return s.client.Resource(v1alpha1.GroupVersion.WithResource(strings.ToLower(kind) + "s"))
}

// try creates an object as a dry run; strictly, so that a misspelt field is an
// error instead of being dropped.
func (s server) try(ctx context.Context, o *unstructured.Unstructured) error {
	_, err := s.resource(o.GetKind()).Create(ctx, o, metav1.CreateOptions{
		DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict,
	})
	return err
}

// create creates an object, deleted when the test ends, and returns it.
func (s server) create(t *testing.T, o *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	resource := s.resource(o.GetKind())
	created, err := resource.Create(t.Context(), o, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := resource.Delete(context.Background(), o.GetName(), metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return created
}

// object makes an object of a kind from its spec in YAML.
func object(t *testing.T, kind, name, spec string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{Object: map[string]any{}}
	o.SetAPIVersion(v1alpha1.GroupVersion.String())
	o.SetKind(kind)
	o.SetName(name)
	setSpec(t, o, spec)
	return o
}

func setSpec(t *testing.T, o *unstructured.Unstructured, spec string) {
	t.Helper()
	var parsed map[string]any
	if err := yaml.Unmarshal([]byte(spec), &parsed); err != nil {
		t.Fatal(err)
	}
	o.Object["spec"] = parsed
}

// asSent returns a typed object as a client sends it.
func asSent(t *testing.T, typed any) *unstructured.Unstructured {
	t.Helper()
	text, err := json.Marshal(typed)
	if err != nil {
		t.Fatal(err)
	}
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(text); err != nil {
		t.Fatal(err)
	}
	return o
}

// refused fails unless err holds every one of the sentences; without any, err
// must be nil.
func refused(t *testing.T, err error, sentences ...string) {
	t.Helper()
	if len(sentences) == 0 {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	if err == nil {
		t.Errorf("accepted, but should say: %q", sentences)
		return
	}
	for _, s := range sentences {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("the answer does not say %q:\n%v", s, err)
		}
	}
}
