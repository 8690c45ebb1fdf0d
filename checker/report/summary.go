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
	others := 0
	for f := range d.All() {
		switch {
		case f.Severity < checker.Warning:
		case worst.ID == "":
			worst = f
		case f.Severity > worst.Severity, f.Severity == worst.Severity && f.ID == checker.Expired && worst.ID != checker.Expired:
			worst = f
			others++
		default:
			others++
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
	if others > 0 {
		line += fmt.Sprintf(" (and %d more findings)", others)
	}
	return line
}
