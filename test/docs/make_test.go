package docs

import (
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	rules     = regexp.MustCompile(`(?m)^([a-z][a-z-]*):[^=\n#]*(?:## (.+))?$`)
	variables = regexp.MustCompile(`(?m)^([A-Z]+) :?= (.*)$`)
	phony     = regexp.MustCompile(`(?m)^\.PHONY: (.*)$`)
	// made is what a line of a script, or a word of code in prose, makes.
	made = regexp.MustCompile(`^\s*(?:\$ )?make ([a-z][a-z-]*)`)
)

// targets returns what the Makefile says of its targets, "" for those that are
// for others.
func targets(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, m := range rules.FindAllStringSubmatch(readFile(t, "Makefile"), -1) {
		out[m[1]] = m[2]
	}
	return out
}

// helped are the targets with a help text.
func helped(t *testing.T) map[string]string {
	t.Helper()
	out := targets(t)
	maps.DeleteFunc(out, func(_, text string) bool { return text == "" })
	return out
}

// There is a folder test: a target that is no phony one would not be made.
func TestEveryTargetIsPhony(t *testing.T) {
	text := readFile(t, "Makefile")
	values := map[string]string{}
	for _, m := range variables.FindAllStringSubmatch(text, -1) {
		values[m[1]] = m[2]
	}
	m := phony.FindStringSubmatch(text)
	if m == nil {
		t.Fatal("the Makefile has no .PHONY")
	}
	got := strings.Fields(os.Expand(strings.NewReplacer("$(", "${", ")", "}").Replace(m[1]), func(name string) string { return values[name] }))
	slices.Sort(got)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(targets(t))), got); diff != "" {
		t.Errorf("targets (-rules +.PHONY):\n%s", diff)
	}
}

func TestMakeHelpListsEveryTarget(t *testing.T) {
	command := exec.CommandContext(t.Context(), "make", "-s", "help")
	command.Dir = root
	// As from a shell, also when make runs the tests.
	command.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS") })
	text, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for line := range strings.Lines(string(text)) {
		m := made.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("make help says %q, which names no target", line)
			continue
		}
		got[m[1]] = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "make "+m[1]))
	}
	want := helped(t)
	if want["demo"] == "" || want["test"] == "" {
		t.Fatalf("the Makefile is not read as it should be: %v", want)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("targets and their help (-Makefile +make help):\n%s", diff)
	}
}

func TestPagesNameTargetsThatThereAre(t *testing.T) {
	there, found := helped(t), map[string]int{}
	for _, p := range pages(t) {
		var lines []string
		for _, line := range p.prose() {
			lines = append(lines, coded(line)...)
		}
		for _, block := range p.blocks("*") {
			lines = append(lines, strings.Split(block, "\n")...)
		}
		for _, line := range lines {
			m := made.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			found[p.name]++
			if there[m[1]] == "" {
				t.Errorf("%s says \"make %s\", and the Makefile has no such target with a help text", p.name, m[1])
			}
		}
	}
	if found["README.md"] < 5 || found["docs/install.md"] < 1 {
		t.Errorf("targets were found in these pages only: %v", found)
	}
}
