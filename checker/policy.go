package checker

import (
	"errors"
	"fmt"
	"path"
	"time"
)

const day = 24 * time.Hour

// Thresholds are how much time may be left before a certificate is reported.
type Thresholds struct {
	Warning, Critical time.Duration
}

// FailOn chooses what turns the exit code.
type FailOn string

// FailOnExpired is for init containers: only a certificate that is expired
// now, or a check that found nothing to look at, stops the pod.
const (
	FailOnWarning  FailOn = "warning"
	FailOnCritical FailOn = "critical"
	FailOnExpired  FailOn = "expired"
	FailOnNever    FailOn = "never"
)

// Ignore drops findings of one rule, everywhere or for matching paths.
type Ignore struct {
	ID RuleID
	// Glob is path.Match syntax on the finding's path; empty matches all.
	Glob string
}

// Policy is how strict to be.
type Policy struct {
	Leaf, CA Thresholds
	// ClockSkew is how far notBefore may be ahead before it is critical.
	ClockSkew time.Duration
	// StartGrace is how much later than its own start a component may write
	// the files it issues for itself.
	StartGrace      time.Duration
	IncludeOrphaned bool
	FailOn          FailOn
	Ignore          []Ignore
}

// DefaultPolicy holds the documented defaults.
func DefaultPolicy() Policy {
	return Policy{
		Leaf:       Thresholds{Warning: 30 * day, Critical: 14 * day},
		CA:         Thresholds{Warning: 365 * day, Critical: 90 * day},
		ClockSkew:  5 * time.Minute,
		StartGrace: 10 * time.Minute,
		FailOn:     FailOnWarning,
	}
}

// Validate reports every fault of the policy at once.
func (p Policy) Validate() error {
	var faults []error
	for name, t := range map[string]Thresholds{"leaf": p.Leaf, "CA": p.CA} {
		if t.Critical < 0 || t.Warning < t.Critical {
			faults = append(faults, fmt.Errorf("%s thresholds: warning %s must not be below critical %s, nor critical below 0", name, t.Warning, t.Critical))
		}
	}
	switch p.FailOn {
	case FailOnWarning, FailOnCritical, FailOnExpired, FailOnNever:
	default:
		faults = append(faults, fmt.Errorf("fail-on %q is none of warning, critical, expired, never", p.FailOn))
	}
	known := rulesByID()
	for _, i := range p.Ignore {
		if _, ok := known[i.ID]; !ok {
			faults = append(faults, fmt.Errorf("ignoring %q: there is no such rule", i.ID))
		}
		if _, err := path.Match(i.Glob, ""); err != nil {
			faults = append(faults, fmt.Errorf("ignoring %q: pattern %q: %w", i.ID, i.Glob, err))
		}
	}
	return errors.Join(faults...)
}

// shortLived is the lifetime below which absolute thresholds would always
// warn. The share of life left is only used there: for kubeadm and
// etcd-manager notBefore is copied from the CA and says nothing about the age.
const shortLived = 30 * day

// thresholds are those that apply to c.
func (p Policy) thresholds(c *Cert) Thresholds {
	life := c.lifetime()
	share := Thresholds{Warning: life / 3, Critical: life / 10}
	switch {
	case life < shortLived:
		return share
	case !c.IsCA || life <= p.CA.Warning:
		// A CA that never lives longer than the warning (kubelet makes one for
		// its own certificate, for a year) would warn from its first day.
		return p.Leaf
	default:
		return Thresholds{Warning: min(p.CA.Warning, share.Warning), Critical: min(p.CA.Critical, share.Critical)}
	}
}

func (p Policy) ignores(f Finding) bool {
	for _, i := range p.Ignore {
		if i.ID != f.ID {
			continue
		}
		if i.Glob == "" {
			return true
		}
		if ok, err := path.Match(i.Glob, f.Path); ok && err == nil {
			return true
		}
	}
	return false
}

func rulesByID() map[RuleID]Rule {
	known := map[RuleID]Rule{}
	for _, r := range Rules() {
		known[r.ID] = r
	}
	return known
}
