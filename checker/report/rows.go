package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/reanchor/reanchor/checker"
)

// row is one line of the table and what is said below it.
type row struct {
	severity checker.Severity
	status   string
	notAfter time.Time
	// cells by column name.
	cells    map[string]string
	findings []checker.Finding
	// also are further locations.
	also []string
}

// rows are certificates, endpoints that gave none, and what belongs to no
// certificate; worst first. The findings of an endpoint that served a
// certificate are shown with that certificate.
func rows(d *Document) []row {
	byLeaf := map[string][]checker.Served{}
	var all []row
	for _, e := range d.Endpoints {
		if e.LeafID != "" {
			byLeaf[e.LeafID] = append(byLeaf[e.LeafID], e)
		} else if len(e.Findings) > 0 {
			all = append(all, bare(strings.TrimSuffix(e.Address+" sni="+e.ServerName, " sni="), e.Findings))
		}
	}
	for _, f := range d.Findings {
		all = append(all, bare(f.Path, []checker.Finding{f}))
	}
	certificates := make([]row, 0, len(d.Certificates)+len(all))
	for i := range d.Certificates {
		c := &d.Certificates[i]
		certificates = append(certificates, certificateRow(d, c, byLeaf[c.ID]))
	}
	all = append(certificates, all...)
	slices.SortStableFunc(all, compareRows)
	return all
}

// compareRows keeps the report's order among what is fine.
func compareRows(a, b row) int {
	switch {
	case a.severity != b.severity:
		return int(b.severity) - int(a.severity)
	case a.severity < checker.Warning || a.notAfter.IsZero() || b.notAfter.IsZero():
		return 0
	default:
		return a.notAfter.Compare(b.notAfter)
	}
}

func bare(where string, findings []checker.Finding) row {
	r := row{findings: findings, cells: map[string]string{location: where}}
	r.judge()
	return r
}

func certificateRow(d *Document, c *checker.Certificate, served []checker.Served) row {
	r := row{findings: slices.Clone(c.Findings), notAfter: c.NotAfter}
	live := ""
	for _, e := range served {
		r.findings = append(r.findings, e.Findings...)
		live = strings.TrimPrefix(live+","+e.Address, ",")
	}
	r.cells = map[string]string{
		expires: c.NotAfter.Format(time.DateOnly),
		left:    shortDuration(c.NotAfter.Sub(d.GeneratedAt)),
		subject: nameText(c.Subject), issuer: nameText(c.Issuer),
		usage:  strings.Join(c.Usages, ","),
		serial: c.Serial, fingerprint: c.ID[:16],
		key:  fmt.Sprintf("%s %d", c.KeyAlgorithm, c.KeyBits),
		disk: live,
	}
	if c.SelfSigned {
		r.cells[issuer] = "self"
	}
	for i, l := range c.Locations {
		where := locationText(l)
		if i == 0 {
			r.cells[location] = where
			if l.Modified != nil {
				r.cells[modified] = l.Modified.Format(time.DateOnly)
			}
		} else if where != r.cells[location] && !slices.Contains(r.also, where) {
			r.also = append(r.also, where)
		}
	}
	r.judge()
	return r
}

// judge derives the status word from the worst finding.
func (r *row) judge() {
	slices.SortStableFunc(r.findings, func(a, b checker.Finding) int { return int(b.Severity) - int(a.Severity) })
	r.status = "OK"
	if len(r.findings) == 0 {
		return
	}
	worst := r.findings[0]
	r.severity = worst.Severity
	switch {
	case worst.ID == checker.Expired, worst.ID == checker.Expiring, worst.ID == checker.Orphaned:
		r.status = strings.ToUpper(string(worst.ID))
	case worst.Severity > checker.Info:
		r.status = strings.ToUpper(worst.Severity.String())
	case r.notAfter.IsZero():
		r.status = "INFO"
	}
}

func nameText(n checker.Name) string {
	if n.CommonName != "" {
		return n.CommonName
	}
	return strings.Join(n.Organization, ",")
}

func locationText(l checker.Location) string {
	switch {
	case l.Source == checker.SourceSecret, l.Source == checker.SourceConfigMap:
		return fmt.Sprintf("%s %s %s", l.Source, l.Path, l.Key)
	case l.Source == checker.SourceEndpoint && l.Key != "":
		return l.Path + " sni=" + l.Key
	case l.Key != "":
		return l.Path + "#" + l.Key
	default:
		return l.Path
	}
}

// shortDuration is a count of the largest unit below weeks: certificates are
// compared by days.
func shortDuration(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%s%dd", sign, d/(24*time.Hour))
	case d >= time.Hour:
		return fmt.Sprintf("%s%dh", sign, d/time.Hour)
	default:
		return fmt.Sprintf("%s%dm", sign, d/time.Minute)
	}
}
