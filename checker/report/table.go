package report

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/reanchor/reanchor/checker"
)

// The columns.
const (
	status      = "STATUS"
	expires     = "EXPIRES"
	left        = "LEFT"
	subject     = "SUBJECT"
	issuer      = "ISSUER"
	usage       = "USAGE"
	serial      = "SERIAL"
	fingerprint = "SHA256"
	key         = "KEY"
	disk        = "SERVED AT"
	modified    = "MODIFIED"
	location    = "LOCATION"
)

// TableOptions vary the table.
type TableOptions struct {
	// Wide shows every column, every location and every remedy.
	Wide bool
	// Width is the terminal's; 0 is unlimited: then one certificate is one
	// line, for grep.
	Width int
	// Color marks the status words.
	Color bool
}

// Up to narrow, every location has a line of its own, and the first line has
// room for names. From there to roomy most locations fit behind the subject,
// and the issuer has to go.
const (
	gap       = "  "
	indent    = "    "
	narrow    = 100
	roomy     = 160
	maxName   = 40
	shortName = 24
)

// table is one table being written.
type table struct {
	*bufio.Writer
	TableOptions
	columns []string
	width   map[string]int
	// leftover is the reason last given for an orphan, advice the remedy last
	// given: many certificates in a row share one.
	leftover, advice string
}

// Table writes the report for people.
func Table(w io.Writer, d *Document, o TableOptions) error {
	t := &table{Writer: bufio.NewWriter(w), TableOptions: o, width: map[string]int{}}
	all, silent := rows(d), []row(nil)
	if !o.Wide {
		all, silent = split(all)
	}
	t.layout(all)
	if slices.ContainsFunc(all, func(r row) bool { return !t.bare(&r) }) {
		t.header()
	}
	for i := range all {
		t.row(&all[i])
	}
	if len(all) > 0 {
		fmt.Fprintln(t)
	}
	t.roots(d)
	t.silent(silent)
	t.items("", clauses(d))
	if err := t.Flush(); err != nil {
		return fmt.Errorf("writing the report as a table: %w", err)
	}
	return nil
}

// layout chooses columns and their widths.
func (t *table) layout(all []row) {
	name := t.choose()
	for _, c := range t.columns {
		t.width[c] = len(c)
	}
	for i := range all {
		r := &all[i]
		r.cells[status] = r.status
		for _, c := range []string{subject, issuer} {
			r.cells[c] = shorten(r.cells[c], name)
		}
		for _, c := range t.columns {
			t.width[c] = max(t.width[c], utf8.RuneCountInString(r.cells[c]))
		}
	}
}

// choose sets the columns and returns how long a name may be; 0 is unlimited.
func (t *table) choose() int {
	t.columns = []string{status, expires, left, subject, issuer, location}
	switch {
	case t.Wide:
		t.columns = []string{status, expires, left, subject, issuer, usage, serial, fingerprint, key, disk, modified, location}
		return 0
	case t.Width > 0 && t.Width < narrow:
		return shortName
	case t.Width > 0 && t.Width < roomy:
		t.columns = []string{status, expires, left, subject, location}
		return shortName
	default:
		return maxName
	}
}

func shorten(s string, limit int) string {
	if limit == 0 || utf8.RuneCountInString(s) <= limit {
		return s
	}
	return string([]rune(s)[:limit-1]) + "…"
}

func (t *table) header() {
	cells := map[string]string{}
	for _, c := range t.columns {
		cells[c] = c
	}
	if t.Width > 0 && t.Width < narrow {
		cells[location] = ""
	}
	fmt.Fprintln(t, strings.TrimRight(t.fixed(cells)+cells[location], " "))
}

// fixed is every column but the location.
func (t *table) fixed(cells map[string]string) string {
	var b strings.Builder
	for _, c := range t.columns {
		if c == location {
			break
		}
		text := cells[c]
		if text == "" {
			text = "-"
		}
		b.WriteString(t.cell(c, text))
	}
	return b.String()
}

// cell is text in the width of its column.
func (t *table) cell(column, text string) string {
	return text + strings.Repeat(" ", t.width[column]-utf8.RuneCountInString(text)) + gap
}

// bare rows are about no certificate. A terminal does without their empty
// columns; programs that cut lines into columns do not.
func (t *table) bare(r *row) bool { return t.Width > 0 && r.notAfter.IsZero() }

func (t *table) row(r *row) {
	start := t.fixed(r.cells)
	where := r.cells[location]
	if len(r.also) > 0 && !t.Wide {
		where += fmt.Sprintf(" (and %d more)", len(r.also))
	}
	if t.bare(r) {
		start = t.cell(status, r.status)
	}
	if !t.fits(r, start+where) {
		where = "\n" + indent + where
		start = strings.TrimRight(start, " ")
	}
	fmt.Fprintln(t, t.paint(r, strings.TrimRight(start+where, " ")))
	if t.Wide {
		for _, l := range r.also {
			fmt.Fprintln(t, indent+l)
		}
	}
	t.findings(r)
}

// fits reports whether a row has room for its location. Paths are for copying:
// one that does not fit gets a line of its own rather than being cut.
func (t *table) fits(r *row, line string) bool {
	if t.Width == 0 {
		return true
	}
	return utf8.RuneCountInString(line) <= t.Width && (t.Width >= narrow || t.bare(r))
}

// findings says what is wrong and, below it, what to do. An instruction that
// several findings of one certificate share is given once.
func (t *table) findings(r *row) {
	var said []string
	for i, f := range r.findings {
		text := t.text(r, f)
		if text == "" {
			continue
		}
		t.paragraph(indent, text)
		advice := f.Severity >= checker.Warning || t.Wide
		if advice && !slices.Contains(said, f.Remedy) && !sameRemedyFollows(r.findings[i+1:], f) {
			said = append(said, f.Remedy)
			t.remedy(f.Remedy)
		}
	}
}

// remedy is given in full once for a run of rows that share it. In a file each
// line may be read by itself.
func (t *table) remedy(text string) {
	if text == t.advice && t.Width > 0 && !t.Wide {
		text = "as above"
	} else {
		t.advice = text
	}
	t.paragraph(indent+"→ ", text)
}

// text is a finding's message with what is not clear from its row. It is empty
// for a leftover with the same reason as the one before.
func (t *table) text(r *row, f checker.Finding) string {
	message := f.Message
	if f.ID == checker.Orphaned && !t.Wide {
		// Its dates are in the row.
		message = message[:max(strings.LastIndex(message, ";"), 0)]
		if message == t.leftover {
			return ""
		}
		t.leftover = message
	}
	elsewhere := f.Path != "" && !strings.HasPrefix(r.cells[location], f.Path)
	switch spoken := strings.HasPrefix(message, string(f.ID)); {
	case spoken && elsewhere:
		return message + " (" + f.Path + ")"
	case spoken:
		return message
	case elsewhere:
		return string(f.ID) + " at " + f.Path + ": " + message
	default:
		return string(f.ID) + ": " + message
	}
}

func sameRemedyFollows(later []checker.Finding, f checker.Finding) bool {
	return len(later) > 0 && later[0].Remedy == f.Remedy && later[0].Severity >= checker.Warning
}

// paragraph wraps text at the terminal's width, with a hanging indent.
func (t *table) paragraph(prefix, text string) { t.items(prefix, strings.Fields(text)) }

// items wraps between items and never inside one.
func (t *table) items(prefix string, all []string) {
	hanging := strings.Repeat(" ", utf8.RuneCountInString(prefix))
	line := prefix
	for i, item := range all {
		if i > 0 {
			if t.Width > 0 && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(item) > t.Width {
				fmt.Fprintln(t, line)
				line = hanging
			} else {
				line += " "
			}
		}
		line += item
	}
	fmt.Fprintln(t, line)
}

// paint colours the status word at the beginning of a line.
func (t *table) paint(r *row, line string) string {
	if !t.Color {
		return line
	}
	color := map[checker.Severity]string{checker.Critical: "31;1", checker.Unknown: "35", checker.Warning: "33", checker.Info: "36", checker.OK: "32"}[r.severity]
	return "\x1b[" + color + "m" + r.status + "\x1b[0m" + line[len(r.status):]
}
