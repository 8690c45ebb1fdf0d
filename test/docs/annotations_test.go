package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// keys returns every constant of keys.go that is Group + "/something".
func keys(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "api/v1alpha1/keys.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ast.Inspect(file, func(n ast.Node) bool {
		sum, ok := n.(*ast.BinaryExpr)
		if !ok {
			return true
		}
		left, ok := sum.X.(*ast.Ident)
		right, ok2 := sum.Y.(*ast.BasicLit)
		if ok && ok2 && left.Name == "Group" {
			suffix, err := strconv.Unquote(right.Value)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, v1alpha1.Group+suffix)
		}
		return true
	})
	return out
}

func TestTheAnnotationsPageIsComplete(t *testing.T) {
	want := keys(t)
	if !slices.Contains(want, v1alpha1.OptOutAnnotation) {
		t.Fatalf("keys.go is not read as it should be: %q", want)
	}
	var got []string
	for key, cells := range readPage(t, "docs/annotations.md").rows(t) {
		got = append(got, key)
		if len(cells) != 4 || cells[0] == "" || cells[1] == "" || cells[3] == "" {
			t.Errorf("docs/annotations.md: the row of %s lacks a cell: %q", key, cells)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-keys.go +docs/annotations.md):\n%s", diff)
	}
}

func TestTheValuesOfKeysAreDocumented(t *testing.T) {
	rows := readPage(t, "docs/annotations.md").rows(t)
	for key, want := range map[string][]string{
		v1alpha1.OptOutAnnotation:          {v1alpha1.OptOutAll, v1alpha1.OptOutAdmission, v1alpha1.OptOutRollout},
		v1alpha1.RolloutStrategyAnnotation: {v1alpha1.RolloutStrategyRestart, v1alpha1.RolloutStrategyEvict},
		v1alpha1.AdmissionLabel:            {v1alpha1.AdmissionDisabled},
		v1alpha1.TriggerLabel: {
			string(v1alpha1.TriggerManual), string(v1alpha1.TriggerSchedule), string(v1alpha1.TriggerDue), string(v1alpha1.TriggerObserved),
		},
	} {
		if diff := cmp.Diff(want, coded(rows[key][2])); diff != "" {
			t.Errorf("values of %s (-keys.go +docs/annotations.md):\n%s", key, diff)
		}
	}
}
