package manifests

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/reanchor/reanchor/manifests/manifeststest"
)

// kustomization is as much of a kustomization as is looked at here.
type kustomization struct {
	Kind       string
	Resources  []string
	Components []string
	Patches    []struct{ Path, Patch string }
}

// kustomizations are those of this folder and all below it, by their folder.
func kustomizations(t *testing.T) map[string]kustomization {
	t.Helper()
	out := map[string]kustomization{}
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "kustomization.yaml" {
			return err
		}
		text, err := os.ReadFile(name)
		var k kustomization
		err = errors.Join(err, yaml.Unmarshal(text, &k))
		out[path.Dir(name)] = k
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// parent is what a component is added to.
func parent(component string) string {
	if strings.HasPrefix(component, "checker/") {
		return "../manifests/checker"
	}
	return "../manifests"
}

func TestKustomizeBuildsAllThatThereIs(t *testing.T) {
	kinds := map[string]int{}
	for dir, k := range kustomizations(t) {
		kinds[k.Kind]++
		t.Run(dir, func(t *testing.T) {
			switch k.Kind {
			case "Kustomization":
				if len(manifeststest.Render(t, ".", "resources: ["+path.Join("../manifests", dir)+"]\n")) == 0 {
					t.Error("it installs nothing")
				}
			case "Component":
				manifeststest.Render(t, ".", "resources: ["+parent(dir)+"]\ncomponents: ["+path.Join("../manifests", dir)+"]\n")
			default:
				t.Errorf("it is a %q", k.Kind)
			}
		})
	}
	if kinds["Kustomization"] < 4 || kinds["Component"] < 5 {
		t.Errorf("only these were found: %v", kinds)
	}
}

// Components that can be combined must not touch the same thing.
func TestKustomizeBuildsEverythingAtOnce(t *testing.T) {
	parts := map[string][]string{}
	for dir, k := range kustomizations(t) {
		if k.Kind == "Component" {
			parts[parent(dir)] = append(parts[parent(dir)], path.Join("../manifests", dir))
		}
	}
	for base, components := range parts {
		slices.Sort(components)
		manifeststest.Render(t, ".", "resources: ["+base+"]\ncomponents: ["+strings.Join(components, ", ")+"]\n")
	}
}

// The kustomize in kubectl up to 1.33 refuses two deletions in one patch, or
// panics: kubectl 1.31 to 1.33 did. What these tests build with is newer.
func TestAPatchIsOneDocument(t *testing.T) {
	found := 0
	for dir, k := range kustomizations(t) {
		for _, p := range k.Patches {
			text, name := []byte(p.Patch), "a patch"
			if p.Path != "" {
				name = p.Path
				var err error
				if text, err = os.ReadFile(path.Join(dir, p.Path)); err != nil {
					t.Fatal(err)
				}
			}
			found++
			if bytes.Contains(text, []byte("\n---")) {
				t.Errorf("%s/kustomization.yaml: %s has several documents", dir, name)
			}
		}
	}
	if found < 6 {
		t.Errorf("only %d patches were found", found)
	}
}
