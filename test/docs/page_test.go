package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the repository, seen from this package.
const root = "../.."

// page is the README, a page of docs/ or another text file, with its lines.
type page struct {
	name  string
	lines []string
}

func readPage(t *testing.T, name string) page {
	t.Helper()
	return page{name, strings.Split(readFile(t, name), "\n")}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// pages are those that this package answers for: the README and all of docs/.
func pages(t *testing.T) []page {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, "docs/*.md"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no page was found: %v", err)
	}
	out := []page{readPage(t, "README.md")}
	for _, path := range paths {
		out = append(out, readPage(t, "docs/"+filepath.Base(path)))
	}
	return out
}

// prose returns the lines outside code blocks.
func (p page) prose() []string {
	var out []string
	p.split(func(line string) { out = append(out, line) }, func(string, []string) {})
	return out
}

// blocks returns the code blocks of a language, without the indentation that
// they have in a list; of all languages when it is "*".
func (p page) blocks(language string) []string {
	var out []string
	p.split(func(string) {}, func(of string, lines []string) {
		if language == "*" || of == language {
			out = append(out, strings.Join(lines, "\n"))
		}
	})
	return out
}

// split tells the lines of prose from the blocks of code.
func (p page) split(prose func(line string), code func(language string, lines []string)) {
	for i := 0; i < len(p.lines); i++ {
		indent, language, fence := strings.Cut(p.lines[i], "```")
		if !fence || strings.TrimSpace(indent) != "" {
			prose(p.lines[i])
			continue
		}
		var block []string
		for i++; i < len(p.lines) && p.lines[i] != indent+"```"; i++ {
			block = append(block, strings.TrimPrefix(p.lines[i], indent))
		}
		code(language, block)
	}
}

// yaml returns what a page shows as YAML: its blocks, and what its commands read
// from a here-document.
func (p page) yaml() []string {
	out := p.blocks("yaml")
	for _, block := range p.blocks("sh") {
		out = append(out, hereDocuments(block)...)
	}
	return out
}

var hereDocument = regexp.MustCompile(`<<-?\s*['"]?(\w+)['"]?`)

func hereDocuments(script string) []string {
	var out []string
	lines := strings.Split(script, "\n")
	for i := 0; i < len(lines); i++ {
		m := hereDocument.FindStringSubmatch(lines[i])
		if m == nil {
			continue
		}
		var text []string
		for i++; i < len(lines) && strings.TrimSpace(lines[i]) != m[1]; i++ {
			text = append(text, lines[i])
		}
		out = append(out, strings.Join(text, "\n"))
	}
	return out
}

// headings returns the headings of a level, of all levels when it is 0.
func (p page) headings(level int) []string {
	var out []string
	for _, line := range p.prose() {
		marks, text, ok := strings.Cut(line, " ")
		if ok && strings.Trim(marks, "#") == "" && marks != "" && (level == 0 || len(marks) == level) {
			out = append(out, text)
		}
	}
	return out
}

// sections returns the text under each heading of level 2.
func (p page) sections() map[string]string {
	out, name := map[string]string{}, ""
	for _, line := range p.lines {
		switch {
		case strings.HasPrefix(line, "## "):
			name = strings.TrimPrefix(line, "## ")
		case strings.HasPrefix(line, "# "), strings.HasPrefix(line, "### "):
			name = ""
		case name != "":
			out[name] += line + "\n"
		}
	}
	return out
}

// rows returns the cells of every table row whose first cell is one word of
// code, by that word.
func (p page) rows(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, line := range p.prose() {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		key := strings.Trim(cells[0], "`")
		if _, twice := out[key]; twice {
			t.Errorf("%s has two rows for %s", p.name, key)
		}
		out[key] = cells[1:]
	}
	return out
}

// coded returns the words of a cell that are written as code.
func coded(cell string) []string {
	var out []string
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
		out = append(out, m[1])
	}
	return out
}

// anchor is the fragment under which a heading can be linked.
func anchor(heading string) string {
	lower := strings.ToLower(heading)
	kept := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(lower, "")
	return strings.ReplaceAll(kept, " ", "-")
}

func (p page) anchors() []string {
	var out []string
	for _, h := range p.headings(0) {
		out = append(out, anchor(h))
	}
	return out
}

func TestPagesAreReadAsTheyAreWritten(t *testing.T) {
	p := page{"x.md", strings.Split("# A\ntext\n## B c, d\nunder\n```sh\n# no heading\n```\n| `k` | `a`, `b` |\n### E\nrest", "\n")}
	if got := p.headings(0); !slices.Equal(got, []string{"A", "B c, d", "E"}) {
		t.Errorf("headings %q", got)
	}
	if got := p.blocks("sh"); !slices.Equal(got, []string{"# no heading"}) {
		t.Errorf("blocks %q", got)
	}
	if got := coded(p.rows(t)["k"][0]); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("row %q", got)
	}
	if got := p.prose(); !slices.Equal(got, []string{"# A", "text", "## B c, d", "under", "| `k` | `a`, `b` |", "### E", "rest"}) {
		t.Errorf("prose %q", got)
	}
	if got := p.anchors()[1]; got != "b-c-d" {
		t.Errorf("anchor %q", got)
	}
	if got := p.sections()["B c, d"]; !strings.HasPrefix(got, "under\n") || strings.Contains(got, "rest") {
		t.Errorf("section %q", got)
	}
}

func TestYAMLIsFoundWhereverItStands(t *testing.T) {
	p := page{"x.md", strings.Split("- a list\n  ```yaml\n  a:\n    b: 1\n  ```\n```sh\nkubectl apply -f - <<'EOF'\nc: 2\nEOF\nls\ncat <<X\nd: 3\nX\n```\n```console\n$ cat\n```", "\n")}
	if got := p.yaml(); !slices.Equal(got, []string{"a:\n  b: 1", "c: 2", "d: 3"}) {
		t.Errorf("YAML %q", got)
	}
	if got := p.blocks("*"); len(got) != 3 {
		t.Errorf("blocks %q", got)
	}
}
