package v1alpha1

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// TestReasonsAreComplete reads the constants off the source: a reason that
// Reasons leaves out would be missing from metrics and from the runbook.
func TestReasonsAreComplete(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "reasons.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var declared []string
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.CONST {
			continue
		}
		for _, spec := range gen.Specs {
			value := spec.(*ast.ValueSpec)
			name, text := value.Names[0].Name, strings.Trim(value.Values[0].(*ast.BasicLit).Value, `"`)
			declared = append(declared, text)
			if name != text {
				t.Errorf("constant %s has the value %q: name and value must be one word", name, text)
			}
			if !strings.HasPrefix(value.Doc.Text(), name+" says that ") {
				t.Errorf("%s: the comment must be a sentence that starts with %q", name, name+" says that")
			}
		}
	}
	var listed []string
	for _, r := range Reasons() {
		listed = append(listed, string(r))
	}
	slices.Sort(declared)
	slices.Sort(listed)
	if !slices.Equal(declared, listed) {
		t.Errorf("declared: %v\nlisted:   %v", declared, listed)
	}
	word := regexp.MustCompile(`^[A-Z][A-Za-z]{2,63}$`) // a condition's reason, as metav1.Condition bounds it
	for i, r := range listed {
		if !word.MatchString(r) || i > 0 && r == listed[i-1] {
			t.Errorf("%q is not a reason, or is listed twice", r)
		}
	}
}

func TestSchemeKnowsTheKinds(t *testing.T) {
	s := runtime.NewScheme()
	if err := AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{MeshTrustKind, MeshTrustKind + "List", AnchorRotationKind, AnchorRotationKind + "List"} {
		if _, err := s.New(GroupVersion.WithKind(kind)); err != nil {
			t.Error(err)
		}
	}
}

// TestStatusListsAreCapped reads the generated schema: every list of a status
// is bounded by the constant that writers cut at, is a map or a set, and has a
// total beside it.
func TestStatusListsAreCapped(t *testing.T) {
	caps := map[string]int{
		"conditions": MaxConditions, "history": MaxHistory, "fingerprints": MaxAnchors, "anchors": MaxAnchors,
		"verifiedBy": MaxAnchors, "earlier": MaxEarlierIssuers, "inProgress": MaxInProgress, "failed": MaxFailed, "attempts": MaxAttempts,
		"blocked": MaxBlocked, "blockedBy": MaxBlocked, "steps": MaxSteps, "acknowledged": MaxAcknowledged,
	}
	totals := map[string]string{"anchors": "anchorCount", "conditions": "conditions"}
	seen := map[string]bool{}
	for _, file := range []string{"reanchor.dev_meshtrusts.yaml", "reanchor.dev_anchorrotations.yaml"} {
		walkSchema(statusSchema(t, "../../manifests/crds/"+file), func(name string, s map[string]any, siblings map[string]any) {
			if s["type"] != "array" {
				return
			}
			seen[name] = true
			total := totals[name]
			if total == "" {
				total = name + "Total"
			}
			if _, ok := siblings[total]; !ok {
				t.Errorf("%s: list %s has no %s beside it", file, name, total)
			}
			if got, _ := s["maxItems"].(float64); int(got) != caps[name] || got == 0 {
				t.Errorf("%s: list %s has maxItems %v, its constant is %d", file, name, s["maxItems"], caps[name])
			}
			if kind := s["x-kubernetes-list-type"]; kind != "map" && kind != "set" {
				t.Errorf("%s: list %s is of type %v", file, name, kind)
			}
		})
	}
	for name := range caps {
		if !seen[name] {
			t.Errorf("no status has a list %s", name)
		}
	}
}

func statusSchema(t *testing.T, path string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema struct {
						Properties map[string]map[string]any `json:"properties"`
					} `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &crd); err != nil {
		t.Fatal(err)
	}
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["status"]
}

// walkSchema calls visit for every property below s.
func walkSchema(s map[string]any, visit func(name string, s, siblings map[string]any)) {
	if items, ok := s["items"].(map[string]any); ok {
		walkSchema(items, visit)
	}
	properties, _ := s["properties"].(map[string]any)
	for name, p := range properties {
		if p, ok := p.(map[string]any); ok {
			visit(name, p, properties)
			walkSchema(p, visit)
		}
	}
}

// TestKeysAreOfTheGroup checks through the source that every key is written
// with the group constant, once.
func TestKeysAreOfTheGroup(t *testing.T) {
	text, err := os.ReadFile("keys.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), `"`+Group+`"`); n != 1 {
		t.Errorf("the group is written %d times in keys.go", n)
	}
	if got := reflect.TypeFor[MeshTrust]().PkgPath(); !strings.HasSuffix(got, "/api/"+Version) {
		t.Errorf("version %s is not the package's name: %s", Version, got)
	}
}
