// Package manifeststest tells tests what kustomize makes of the manifests, as
// "kubectl apply -k" would apply them.
package manifeststest

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// Render returns the objects of a kustomization whose text lies in a folder
// beside the folder of manifests, as the pages of docs have it, each under its
// kind, namespace and name: "Role reanchor-system/reanchor-webhook". manifests is
// the path of that folder, seen from the test.
func Render(t *testing.T, manifests, text string) map[string]*unstructured.Unstructured {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(filepath.Join(root, "manifests"), os.DirFS(manifests)); err != nil {
		t.Fatal(err)
	}
	deploy := filepath.Join(root, "deploy")
	if err := os.Mkdir(deploy, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(deploy, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), deploy)
	if err != nil {
		t.Fatalf("kustomize cannot build this:\n%s\n%v", text, err)
	}
	out := map[string]*unstructured.Unstructured{}
	for _, r := range resources.Resources() {
		document, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(document, &u.Object); err != nil {
			t.Fatal(err)
		}
		key := u.GetKind() + " " + u.GetNamespace() + "/" + u.GetName()
		if out[key] != nil {
			t.Errorf("%s is there twice", key)
		}
		out[key] = u
	}
	return out
}
