package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	"github.com/reanchor/reanchor/checker/checkertest"
)

// published is the schema that docs/checker.md links.
func published(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := os.ReadFile("../../checker/report/schema.json")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/checker.md")
	if err != nil || !strings.Contains(string(page), "(../checker/report/schema.json)") {
		t.Errorf("the page does not link the schema: %v", err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("schema.json", value(t, text)); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func value(t *testing.T, text []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%v in %.200s", err, text)
	}
	return v
}

// TestWhatIsPrintedKeepsToThePublishedSchema looks at every kind of node there
// is, at the incident, and at nothing.
func TestWhatIsPrintedKeepsToThePublishedSchema(t *testing.T) {
	schema := published(t)
	cases := map[string][]string{
		"nothing":      {"--rootfs", t.TempDir()},
		"the incident": {"--rootfs", node(t, checkertest.Kops118, true)},
		"leftovers":    {"--rootfs", node(t, checkertest.Kops118, true), "--include-orphaned"},
		"an endpoint":  {caFile(t, longLife), "--endpoint", closedPort(t)},
	}
	for _, l := range checkertest.Layouts() {
		cases[fmt.Sprint(l)] = []string{"--rootfs", node(t, l, false)}
	}
	for name, args := range cases {
		t.Run(name, func(t *testing.T) {
			args = append(args, "--no-probe", "--now", "2026-11-22T00:00:00Z")
			asJSON := value(t, []byte(check(t, append(args, "-o", "json")...).out))
			if err := schema.Validate(asJSON); err != nil {
				t.Errorf("JSON: %v", err)
			}
			line := check(t, append(args, "-o", "jsonl")...).out
			if strings.Count(line, "\n") != 1 {
				t.Errorf("jsonl has %d lines, want 1", strings.Count(line, "\n"))
			}
			if diff := cmp.Diff(asJSON, value(t, []byte(line))); diff != "" {
				t.Errorf("jsonl says something else (-JSON +line):\n%s", diff)
			}
			converted, err := yaml.YAMLToJSON([]byte(check(t, append(args, "-o", "yaml")...).out))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(asJSON, value(t, converted)); diff != "" {
				t.Errorf("YAML says something else (-JSON +YAML):\n%s", diff)
			}
		})
	}
}
