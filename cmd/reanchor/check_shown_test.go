package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/checker/checkertest"
)

var updateDocs = flag.Bool("update-docs", false, "write what the program prints into README.md and docs/checker.md")

const (
	// shownNode is the directory of the pages' commands, silent an address that
	// nobody listens on, serving where their exporter does.
	shownNode, silentAddress, servingAddress = "/tmp/node", "127.0.0.1:4001", "[::]:9784"
	// shownColumns is the width of the pages' terminal.
	shownColumns = "100"
)

// TestThePagesShowWhatTheProgramPrints runs the commands of every ```console
// block, in order, and compares their output with what the page shows below
// them: a line "..." stands for any number of lines, and dates may differ.
func TestThePagesShowWhatTheProgramPrints(t *testing.T) {
	for _, page := range []string{"README.md", "docs/checker.md"} {
		t.Run(page, func(t *testing.T) {
			file := filepath.Join("../..", page)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := &session{t: t, dir: t.TempDir(), silent: closedPort(t)}
			block, blocks := regexp.MustCompile("(?s)```console\n(.*?)```\n"), 0
			got := block.ReplaceAllStringFunc(string(text), func(found string) string {
				blocks++
				return "```console\n" + s.replay(block.FindStringSubmatch(found)[1]) + "```\n"
			})
			if blocks == 0 {
				t.Error("the page shows no command")
			}
			if *updateDocs {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(dateless(string(text)), dateless(got)); diff != "" {
				t.Errorf("%s is out of date; run go test ./cmd/reanchor -run Pages -update-docs (-page +program):\n%s", page, diff)
			}
		})
	}
}

// dateless takes out what depends on the day.
func dateless(text string) string {
	for pattern, by := range map[string]string{
		`\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\dZ)?`: "DATE",
		`\d{3,}(d| days)\b`:                  "N$1",
	} {
		text = regexp.MustCompile(pattern).ReplaceAllString(text, by)
	}
	return text
}

// session is a shell that knows four commands.
type session struct {
	t      *testing.T
	dir    string
	silent string
	// code is the last exit code, url that of the exporter started last.
	code int
	url  string
}

// replay returns a block with the output of its commands, cut as on the page.
func (s *session) replay(block string) string {
	var out strings.Builder
	for step := range strings.SplitSeq(strings.TrimPrefix(block, "$ "), "\n$ ") {
		command, shown, _ := strings.Cut(step, "\n")
		got := s.run(command)
		if got != "" {
			got = strings.TrimSuffix(got, "\n") + "\n"
		}
		out.WriteString("$ " + command + "\n" + cut(got, shown))
	}
	return out.String()
}

// cut leaves out the lines that a page leaves out: as many lines as it shows
// before and after its "..." stay.
func cut(got, shown string) string {
	lines := slices.Collect(strings.Lines(got))
	before, after, leaves := strings.Cut(strings.TrimSuffix(shown, "\n")+"\n", "...\n")
	first, last := strings.Count(before, "\n"), strings.Count(after, "\n")
	if !leaves || first+last > len(lines) {
		return got
	}
	return strings.Join(lines[:first], "") + "...\n" + strings.Join(lines[len(lines)-last:], "")
}

func (s *session) run(command string) string {
	s.t.Helper()
	words := regexp.MustCompile(`'[^']*'|\S+`).FindAllString(command, -1)
	for i, w := range words {
		words[i] = strings.NewReplacer(shownNode, s.dir, silentAddress, s.silent).Replace(strings.Trim(w, "'"))
	}
	switch {
	case strings.HasPrefix(command, "go run ./hack/pkitree "):
		s.plant(words[3:])
		return ""
	case words[0] == "reanchor" && words[len(words)-1] == "&":
		return s.serve(words[1 : len(words)-1])
	case words[0] == "reanchor":
		return s.check(words[1:])
	case command == "echo $?":
		return strconv.Itoa(s.code)
	case words[0] == "curl" && slices.Equal(words[3:6], []string{"|", "grep", "-E"}):
		return s.grep(words[6])
	default:
		s.t.Fatalf("no way to run %q", command)
		return ""
	}
}

// plant writes a tree as hack/pkitree does.
func (s *session) plant(args []string) {
	s.t.Helper()
	flags := flag.NewFlagSet("pkitree", flag.ContinueOnError)
	layout, incident := flags.String("layout", "", ""), flags.Bool("incident", false, "")
	if err := flags.Parse(args); err != nil {
		s.t.Fatal(err)
	}
	if err := checkertest.Write(flags.Arg(0), checkertest.Layout(*layout), checkertest.Options{Now: time.Now(), Incident: *incident}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *session) check(args []string) string {
	s.t.Helper()
	s.t.Setenv("COLUMNS", shownColumns)
	var out strings.Builder
	s.code = exitCode(run(s.t.Context(), append(args, "--termination-log", "/nowhere"), streams{&out, &out}))
	return strings.ReplaceAll(out.String(), s.silent, silentAddress)
}

// serve starts an exporter that lives as long as the test, and returns what it
// says until its first check is over.
func (s *session) serve(args []string) string {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	logs, done := syncBuffer{make(chan string, 100)}, make(chan error, 1)
	go func() {
		done <- run(ctx, append(args, "--listen-address", "127.0.0.1:0"), streams{io.Discard, logs})
	}()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
	said := ""
	for range 2 {
		select {
		case line := <-logs.lines:
			said += line
		case <-time.After(patience):
			s.t.Fatalf("the exporter only says %q", said)
		}
	}
	s.url = regexp.MustCompile(`http://\S+`).FindString(said)
	return strings.Replace(said, s.url, fmt.Sprintf("http://%s/metrics", servingAddress), 1)
}

func (s *session) grep(pattern string) string {
	s.t.Helper()
	response, err := http.Get(s.url)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	var found strings.Builder
	for line := range strings.Lines(string(body)) {
		if regexp.MustCompile(pattern).MatchString(line) {
			found.WriteString(line)
		}
	}
	return found.String()
}
