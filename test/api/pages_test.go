package api

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// copied finds what a page gives to kubectl, with the indentation that it has in
// a list: blocks of YAML, and what a command reads from its own lines.
var copied = regexp.MustCompile("(?sm)^( *)(?:```yaml|[^\n]*<<'EOF')\n(.*?)^ *(?:```|EOF)$")

// testPages sends what a reader copies from the README and from docs.
func testPages(t *testing.T, s server) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	sent := map[string]int{}
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range copied.FindAllStringSubmatch(string(text), -1) {
			for _, o := range ours(t, regexp.MustCompile("(?m)^"+block[1]).ReplaceAllString(block[2], "")) {
				sent[o.GetKind()]++
				if o.GetName() == "" {
					o.SetName("named-by-the-server") // of generateName
				}
				if err := s.try(t.Context(), o); err != nil {
					t.Errorf("%s: %v", page, err)
				}
			}
		}
	}
	if sent[v1alpha1.MeshTrustKind] < 5 || sent[v1alpha1.AnchorRotationKind] < 2 {
		t.Errorf("only these were found: %v", sent)
	}
}

// ours are the objects of a YAML text that the CRDs are about.
func ours(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	var found []*unstructured.Unstructured
	for decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096); ; {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if o.GetAPIVersion() == v1alpha1.GroupVersion.String() {
			found = append(found, o)
		}
	}
}
