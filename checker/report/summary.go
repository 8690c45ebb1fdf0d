package report

import (
	"fmt"
	"strings"

	"github.com/reanchor/reanchor/checker"
)

// Summary is the last line of the table.
func Summary(d *Document) string { return strings.Join(clauses(d), " ") }

// clauses are the parts of the summary: the verdict with what was found, what
// was looked at, and the exit code.
func clauses(d *Document) []string {
	status := d.Summary.Status
	if status == checker.Info {
		status = checker.OK
	}
	return []string{
		fmt.Sprintf("%s: %s;", strings.ToUpper(status.String()), strings.Join(found(&d.Summary), ", ")),
		strings.Join(lookedAt(d), ", ") + ";",
		fmt.Sprintf("exit %d", d.Summary.ExitCode),
	}
}

func found(s *checker.Summary) []string {
	parts := []string{counted(s.Certificates, "certificate", "certificates")}
	for _, p := range []struct {
		n    int
		word string
	}{{s.Expired, "expired"}, {s.Expiring, "expiring"}, {s.Orphaned, "orphaned"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.word))
		}
	}
	return append(parts, fmt.Sprintf("%d ok", s.OK))
}

func lookedAt(d *Document) []string {
	scanned, missing := 0, 0
	for _, r := range d.Summary.Roots {
		if r.State == checker.RootScanned {
			scanned++
		} else {
			missing++
		}
	}
	parts := []string{counted(d.Summary.Files, "file", "files") + " read"}
	if scanned+missing > 0 {
		parts[0] += " in " + counted(scanned, "root", "roots")
		parts = append(parts, counted(missing, "root", "roots")+" missing")
	}
	if len(d.Endpoints) > 0 {
		parts = append(parts, counted(len(d.Endpoints), "endpoint", "endpoints"))
	}
	processes := map[int]bool{}
	for _, l := range d.Processes {
		processes[l.PID] = true
	}
	if len(processes) > 0 {
		parts = append(parts, counted(len(processes), "process", "processes"))
	}
	return parts
}

// counted is a number with its noun.
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Line is the whole report in one line: the worst finding and what to do, for
// `kubectl describe pod` and logs.
func Line(d *Document) string {
	var worst checker.Finding
	problems := 0
	for f := range d.All() {
		if f.Severity < checker.Warning {
			continue
		}
		problems++
		if worst.ID == "" || weight(f) > weight(worst) {
			worst = f
		}
	}
	if worst.ID == "" {
		return Summary(d)
	}
	line := fmt.Sprintf("%s %s", strings.ToUpper(worst.Severity.String()), worst.ID)
	if worst.Path != "" {
		line += " " + worst.Path
	}
	line += fmt.Sprintf(": %s. %s", worst.Message, worst.Remedy)
	if problems > 1 {
		line += fmt.Sprintf(" (and %s)", counted(problems-1, "more finding", "more findings"))
	}
	return line
}

// weight orders findings of one severity: what expired goes first, and that
// nothing was found says less than why.
func weight(f checker.Finding) int {
	w := 4 * int(f.Severity)
	switch {
	case f.ID == checker.Expired:
		return w + 2
	case f.ID == checker.NothingFound && f.Path == "":
		return w
	default:
		return w + 1
	}
}
