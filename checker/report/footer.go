package report

import (
	"fmt"
	"slices"

	"github.com/reanchor/reanchor/checker"
)

// roots names what was looked at and what was not there.
func (t *table) roots(d *Document) {
	lists := map[checker.RootState][]string{}
	for _, r := range d.Summary.Roots {
		text := r.Path
		if r.State == checker.RootScanned {
			text = fmt.Sprintf("%s (%d)", r.Path, r.Files)
		}
		if !slices.Contains(lists[r.State], text) {
			lists[r.State] = append(lists[r.State], text)
		}
	}
	for _, part := range []struct {
		state checker.RootState
		label string
	}{{checker.RootScanned, "Scanned:     "}, {checker.RootMissing, "Not there:   "}, {checker.RootUnreadable, "Unreadable:  "}} {
		if len(lists[part.state]) > 0 {
			t.items(part.label, lists[part.state])
		}
	}
}

// split sets apart endpoints that have nothing to show and need nothing done.
func split(all []row) (shown, silent []row) {
	for _, r := range all {
		if r.notAfter.IsZero() && r.severity < checker.Warning {
			silent = append(silent, r)
		} else {
			shown = append(shown, r)
		}
	}
	return shown, silent
}

// silent names those in one line per reason.
func (t *table) silent(all []row) {
	places := map[string][]string{}
	var reasons []string
	for _, r := range all {
		reason := string(r.findings[0].ID)
		if places[reason] == nil {
			reasons = append(reasons, reason)
		}
		places[reason] = append(places[reason], r.cells[location])
	}
	for _, reason := range reasons {
		t.items("Information: ", append([]string{reason}, places[reason]...))
	}
}
