package docs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// object is what a command names.
type object struct{ kind, namespace, name string }

// objects are those of a YAML text, each decoded as it is and not into types.
func objects(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	var out []*unstructured.Unstructured
	for {
		u := &unstructured.Unstructured{}
		switch err := decoder.Decode(&u.Object); {
		case errors.Is(err, io.EOF):
			return out
		case err != nil:
			t.Fatalf("reading YAML: %v\n%s", err, text)
		case u.GetKind() != "":
			out = append(out, u)
		}
	}
}

// installed are the objects of the manifests, by what names them, and the
// Secrets whose names the roles and Certificates there give.
func installed(t *testing.T) map[object]bool {
	t.Helper()
	out := map[object]bool{}
	err := filepath.WalkDir(filepath.Join(root, "manifests"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".yaml" || strings.Contains(path, "monitoring") || d.Name() == "kustomization.yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		for _, u := range objects(t, string(text)) {
			out[object{strings.ToLower(u.GetKind()), u.GetNamespace(), u.GetName()}] = true
			for name := range secretsOf(u) {
				out[object{"secret", u.GetNamespace(), name}] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func secretsOf(u *unstructured.Unstructured) map[string]bool {
	out := map[string]bool{}
	if name, is, _ := unstructured.NestedString(u.Object, "spec", "secretName"); is && u.GetKind() == "Certificate" {
		out[name] = true
	}
	rules, _, _ := unstructured.NestedSlice(u.Object, "rules")
	for _, r := range rules {
		rule, _ := r.(map[string]any)
		if fmt.Sprint(rule["resources"]) != "[secrets]" {
			continue
		}
		names, _, _ := unstructured.NestedStringSlice(rule, "resourceNames")
		for _, name := range names {
			out[name] = true
		}
	}
	return out
}

// kustomization is as much of kustomize's file as the pages use.
type kustomization struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Resources  []string `json:"resources"`
	Components []string `json:"components"`
	Images     []struct {
		Name    string `json:"name"`
		NewName string `json:"newName"`
		NewTag  string `json:"newTag"`
	} `json:"images"`
	Patches []struct {
		Target struct {
			Kind string `json:"kind"`
			Name string `json:"name"`
		} `json:"target"`
		Patch string `json:"patch"`
	} `json:"patches"`
}

// Every object in the pages decodes strictly into its type: a field that does
// not exist fails, as it would for whoever copies it.
func TestYAMLInThePagesIsValid(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	strict := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	found := map[string][]string{}
	for _, p := range pages(t) {
		for _, block := range p.yaml() {
			all := objects(t, block)
			if len(all) == 0 {
				checkPart(t, strict, p.name, block)
			}
			for _, u := range all {
				found[p.name] = append(found[p.name], u.GetKind())
				if u.GetKind() == "Kustomization" {
					checkKustomization(t, p.name, block)
					continue
				}
				text, err := yaml.Marshal(u.Object)
				if err != nil {
					t.Fatal(err)
				}
				if _, _, err := strict.Decode(text, nil, nil); err != nil {
					t.Errorf("%s: %v\n%s", p.name, err, text)
				}
			}
		}
	}
	for name, want := range map[string][]string{
		"README.md":        {"MeshTrust", "AnchorRotation"},
		"docs/rotation.md": {"AnchorRotation"},
		"docs/install.md":  {"MeshTrust", "Kustomization"},
	} {
		for _, kind := range want {
			if !slices.Contains(found[name], kind) {
				t.Errorf("no %s was found in %s, only %v", kind, name, found[name])
			}
		}
	}
}

// checkPart looks at YAML that is no object: a part of a pod's spec, what to add to
// a kustomization, or a part of the configuration of Prometheus, of which nothing is
// known here.
func checkPart(t *testing.T, strict runtime.Decoder, name, text string) {
	t.Helper()
	switch {
	case strings.HasPrefix(text, "scrape_configs:"):
		return
	case strings.HasPrefix(text, "components:"):
		checkKustomization(t, name, text)
		return
	}
	pod := map[string]any{"apiVersion": "v1", "kind": "Pod"}
	var spec map[string]any
	if err := yaml.UnmarshalStrict([]byte(text), &spec); err != nil {
		t.Errorf("%s: %v\n%s", name, err, text)
	}
	pod["spec"] = spec
	whole, err := yaml.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := strict.Decode(whole, nil, nil); err != nil {
		t.Errorf("%s shows what is no object and no part of a pod's spec: %v\n%s", name, err, text)
	}
}

func checkKustomization(t *testing.T, name, text string) {
	t.Helper()
	var k kustomization
	if err := yaml.UnmarshalStrict([]byte(text), &k); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	for _, path := range slices.Concat(k.Resources, k.Components) {
		// The pages' folder deploy is beside the folder manifests.
		if _, err := os.Stat(filepath.Join(root, "deploy", path, "kustomization.yaml")); err != nil {
			t.Errorf("%s: %s is no kustomization", name, path)
		}
	}
	there := installed(t)
	for _, p := range k.Patches {
		if !there[object{strings.ToLower(p.Target.Kind), "", p.Target.Name}] {
			t.Errorf("%s patches %s %s, which the manifests do not have", name, p.Target.Kind, p.Target.Name)
		}
	}
	for _, i := range k.Images {
		for _, path := range []string{"webhook/deployment.yaml", "controller/deployment.yaml"} {
			if !bytes.Contains([]byte(readFile(t, "manifests/"+path)), []byte("image: "+i.Name+"\n")) {
				t.Errorf("%s replaces the image %s, which manifests/%s does not use", name, i.Name, path)
			}
		}
	}
}

// named finds the objects with names of ours that a command is about.
var (
	named     = regexp.MustCompile(`(?:^|[\s/])(deployment|secret|configmap|namespace|role|rolebinding|service|serviceaccount|validatingwebhookconfiguration|mutatingwebhookconfiguration)[/ ]((?:zz-)?reanchor-[a-z0-9-]+)`)
	namespace = regexp.MustCompile(`(?:-n|--namespace)[= ]([^\s` + "`" + `]+)`)
	commands  = regexp.MustCompile("kubectl [^`\n]*")
)

// foreign namespaces are those of others, and the word that stands for any.
var foreign = []string{"NAMESPACE", "linkerd", "cert-manager"}

// Commands name only objects and namespaces that the manifests make, or words
// in capitals that the reader replaces.
func TestCommandsNameObjectsOfTheManifests(t *testing.T) {
	there := installed(t)
	found := 0
	for _, p := range pages(t) {
		for _, command := range commands.FindAllString(strings.Join(p.lines, "\n"), -1) {
			in := ""
			if m := namespace.FindStringSubmatch(command); m != nil {
				in = m[1]
				if !slices.Contains(foreign, in) && !there[object{"namespace", "", in}] {
					t.Errorf("%s: %s: there is no namespace %s in the manifests", p.name, command, in)
				}
			}
			for _, m := range named.FindAllStringSubmatch(command, -1) {
				found++
				if !there[object{m[1], in, m[2]}] {
					t.Errorf("%s: %s: the manifests have no %s %s in namespace %q", p.name, command, m[1], m[2], in)
				}
			}
		}
	}
	if found < 5 {
		t.Errorf("only %d names were found in commands", found)
	}
}
