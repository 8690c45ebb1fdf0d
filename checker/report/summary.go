package report

import (
	"fmt"
	"strings"

	"github.com/reanchor/reanchor/checker"
)

// Summary is the last line of the table.
func Summary(d *Document) string {
	s := &d.Summary
	parts := []string{fmt.Sprintf("%d certificates", s.Certificates)}
	for _, p := range []struct {
		n    int
		word string
	}{{s.Expired, "expired"}, {s.Expiring, "expiring"}, {s.Orphaned, "orphaned"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.word))
		}
	}
	parts = append(parts, fmt.Sprintf("%d ok", s.OK))
	scanned, missing := 0, 0
	for _, r := range s.Roots {
		if r.State == checker.RootScanned {
			scanned++
		} else {
			missing++
		}
	}
	tail := fmt.Sprintf("%d files read", s.Files)
	if scanned+missing > 0 {
		tail += fmt.Sprintf(" in %d roots, %d roots missing", scanned, missing)
	}
	if len(d.Endpoints) > 0 {
		tail += fmt.Sprintf(", %d endpoints", len(d.Endpoints))
	}
	status := s.Status
	if status == checker.Info {
		status = checker.OK
	}
	return fmt.Sprintf("%s: %s; %s; exit %d", strings.ToUpper(status.String()), strings.Join(parts, ", "), tail, s.ExitCode)
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
		line += fmt.Sprintf(" (and %d more findings)", problems-1)
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
