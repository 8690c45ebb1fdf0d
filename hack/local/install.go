package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	manifests "github.com/reanchor/reanchor/manifests/webhook"
)

// install applies what a user applies, but for the Deployments: their processes
// run beside the lab, and the webhooks are registered at url.
func (x *Local) install(ctx context.Context, c client.Client, url string) error {
	root := x.options.Root
	if err := x.lab.InstallCRDs(ctx, filepath.Join(root, "manifests/crds")); err != nil {
		return err
	}
	for _, name := range []string{Namespace, "linkerd"} {
		if err := Create(ctx, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			return err
		}
	}
	for _, file := range []string{"webhook/namespace.yaml", "webhook/rbac.yaml", "controller/namespaces.yaml", "controller/rbac.yaml", "controller/linkerd-rbac.yaml"} {
		if err := ApplyFile(ctx, c, filepath.Join(root, "manifests", file)); err != nil {
			return err
		}
	}
	mutating, validating, err := manifests.ConfigurationsFor(url)
	if err != nil {
		return err
	}
	return errors.Join(Create(ctx, c, mutating), Create(ctx, c, validating))
}

// ApplyFile creates every object of a file of YAML documents that is not there
// yet.
func ApplyFile(ctx context.Context, c client.Client, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading a manifest: %w", err)
	}
	if err := Apply(ctx, c, text); err != nil {
		return fmt.Errorf("applying %s: %w", path, err)
	}
	return nil
}

// Apply does the same with text.
func Apply(ctx context.Context, c client.Client, text []byte) error {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		u := &unstructured.Unstructured{}
		err := decoder.Decode(&u.Object)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading YAML: %w", err)
		case len(u.Object) == 0:
			continue
		}
		if err := Create(ctx, c, u); err != nil {
			return err
		}
	}
}

// Create does the same with one object.
func Create(ctx context.Context, c client.Client, object client.Object) error {
	if err := c.Create(ctx, object); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating %T %s: %w", object, object.GetName(), err)
	}
	return nil
}
