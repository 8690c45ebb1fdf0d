package checker_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/checker"
)

const (
	docsFile  = "../docs/checker.md"
	docsBegin = "<!-- rules: written by go test ./checker -run Docs -update-docs -->\n"
	docsEnd   = "<!-- end of rules -->\n"
)

var updateDocs = flag.Bool("update-docs", false, "write the rules into docs/checker.md")

// ruleDocs is the section of the page that lists every rule.
func ruleDocs() string {
	var b strings.Builder
	group := ""
	for _, r := range checker.Rules() {
		if r.Group != group {
			group = r.Group
			fmt.Fprintf(&b, "\n### %s\n", group)
		}
		severity := r.Severity.String()
		if r.Escalates != "" {
			severity += "; " + r.Escalates
		}
		fmt.Fprintf(&b, "\n#### %s\n%s\n\n- Severity: %s\n- Remedy: %s\n", r.ID, r.Meaning, severity, r.Remedy)
	}
	return b.String() + "\n"
}

func TestDocsListEveryRuleAsTheCodeHasIt(t *testing.T) {
	page, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(page), docsBegin)
	section, after, ends := strings.Cut(rest, docsEnd)
	if !begins || !ends {
		t.Fatalf("%s has no place for the rules", docsFile)
	}
	if *updateDocs {
		section = ruleDocs()
		if err := os.WriteFile(docsFile, []byte(before+docsBegin+section+docsEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(ruleDocs(), section); diff != "" {
		t.Errorf("rules in %s (-code +page); run go test ./checker -run Docs -update-docs:\n%s", docsFile, diff)
	}
}
