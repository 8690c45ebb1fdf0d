package checker

import (
	"fmt"
	"slices"
	"time"
)

// validity judges dates.
func (r *run) validity(e *entry) {
	if !r.inUse(e) || r.datesDoNotMatter(e) {
		return
	}
	c, p := e.cert, r.firstUse(e)
	if r.now.Before(c.NotBefore) {
		f := r.found(NotYetValid, p.path(), "valid only from "+c.NotBefore.UTC().Format(time.RFC3339))
		if c.NotBefore.Sub(r.now) <= r.policy.ClockSkew {
			f.Severity = Warning
		}
		r.on(e, f)
	}
	r.ending(e, p)
	if written, ok := p.written(); ok && c.NotBefore.Sub(written) > r.policy.ClockSkew {
		r.on(e, r.found(ClockSkew, p.path(), fmt.Sprintf("valid from %s, yet the file was written at %s",
			c.NotBefore.UTC().Format(time.RFC3339), written.UTC().Format(time.RFC3339))))
	}
}

// lastMadeUpYear: file systems and archives that are made reproducibly say that
// every file is from 1970 (Unix, OCI layers) or from 1980 (FAT, ZIP).
const lastMadeUpYear = 1980

// written is the latest time at which the file may have been written. Tools set
// an mtime to what they like, so the later ctime counts where there is one.
func (p place) written() (time.Time, bool) {
	if p.file == nil {
		return time.Time{}, false
	}
	written := p.file.Modified
	if p.file.Changed.After(written) {
		written = p.file.Changed
	}
	return written, written.UTC().Year() > lastMadeUpYear
}

// ending judges notAfter.
func (r *run) ending(e *entry, p place) {
	c, left := e.cert, e.cert.NotAfter.Sub(r.now)
	limits := r.policy.thresholds(c)
	var f Finding
	switch {
	case left < 0 && r.superseded(e):
		r.on(e, r.found(BundleExpiredMember, p.path(), validityText(c, r.now)+"; a valid CA with the same name is in the same file"))
		return
	case left < 0:
		f = r.found(Expired, p.path(), validityText(c, r.now))
	case left < limits.Warning:
		f = r.found(Expiring, p.path(), validityText(c, r.now))
		if left < limits.Critical {
			f.Severity = Critical
		}
	default:
		return
	}
	f.Remedy = renewal(p.use(), f.Remedy)
	r.on(e, f)
}

// superseded reports whether an expired CA is only a leftover: wherever it is,
// a valid CA with its name is in the same file, and no certificate that is
// still valid was signed by it alone. That is certain where both have the same
// key, and what a finished rotation leaves where they have not.
func (r *run) superseded(e *entry) bool {
	if !e.cert.IsCA || e.needed {
		return false
	}
	for _, p := range e.places {
		if !r.counts(p) {
			continue
		}
		if p.file == nil || !slices.ContainsFunc(p.file.Certs, func(other *Cert) bool {
			return other.rawSubject == e.cert.rawSubject && other.IsCA && r.validNow(other)
		}) {
			return false
		}
	}
	return true
}

func (r *run) validNow(c *Cert) bool {
	return !r.now.Before(c.NotBefore) && !r.now.After(c.NotAfter)
}

func (r *run) datesDoNotMatter(e *entry) bool {
	return !slices.ContainsFunc(e.places, func(p place) bool {
		return r.counts(p) && !p.use().DatesDoNotMatter
	})
}

// firstUse is the place a finding about the certificate itself names: the
// first that counts, if possible one that a current-context does not leave
// aside and that knows how to renew.
func (r *run) firstUse(e *entry) place {
	first, best := e.places[0], 0
	for _, p := range e.places {
		if !r.counts(p) {
			continue
		}
		worth := 1
		if p.use().Renew != "" {
			worth++
		}
		if !p.notCurrent() {
			worth += 2
		}
		if worth > best {
			first, best = p, worth
		}
	}
	return first
}

// validityText says when a certificate ends in both directions.
func validityText(c *Cert, now time.Time) string {
	date, left := c.NotAfter.UTC().Format(time.RFC3339), c.NotAfter.Sub(now)
	if left < 0 {
		return fmt.Sprintf("expired %s ago, on %s", HumanDuration(-left), date)
	}
	return fmt.Sprintf("expires in %s, on %s", HumanDuration(left), date)
}

// HumanDuration is a duration in its largest fitting unit, from "12 seconds"
// to "3 years"; negative durations are shown as 0 seconds.
func HumanDuration(d time.Duration) string {
	const year = 365 * day
	units := []struct {
		size time.Duration
		name string
	}{{year, "year"}, {day, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}}
	for _, u := range units {
		n := int64(d / u.size)
		if n >= 2 || (n == 1 && u.size < year) {
			return plural(n, u.name)
		}
	}
	return plural(int64(max(d, 0)/time.Second), "second")
}

func plural(n int64, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}
