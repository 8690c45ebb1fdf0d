package mesh

import (
	"time"

	"github.com/reanchor/reanchor/bundle"
)

// Knowledge says how much is known of what a process trusts.
type Knowledge uint8

const (
	// Unknown: it cannot be told. In every gate it counts as not trusting.
	Unknown Knowledge = iota
	// Known: Sure and Maybe hold.
	Known
	// Reloads: the process follows the published bundle by itself, so it is
	// never stale.
	Reloads
)

// Trust is the effective trust of a pod: the anchors that its process uses.
// The zero value is Unknown, so what nobody looked at passes no gate.
type Trust struct {
	Knowledge Knowledge
	// Sure holds the anchors that the process certainly trusts.
	Sure bundle.Set
	// Maybe holds Sure and those that it may trust besides: where it is asked
	// whether a leaf may chain to an anchor, these count.
	Maybe bundle.Set
	// Why says in a few words why the trust is Unknown.
	Why string
}

func unknown(why string) Trust { return Trust{Why: why} }

func known(s bundle.Set) Trust { return Trust{Knowledge: Known, Sure: s, Maybe: s} }

// None reports whether the process provably trusts nothing at all.
func (t Trust) None() bool { return t.Knowledge == Known && t.Maybe.Empty() }

// and returns what a pod trusts in which two processes trust t and o: it works
// only with what both trust, and a leaf may reach either.
func (t Trust) and(o Trust) Trust {
	switch {
	case t.Knowledge == Unknown:
		return t
	case o.Knowledge == Unknown:
		return o
	case t.Knowledge == Reloads:
		return o
	case o.Knowledge == Reloads:
		return t
	}
	return Trust{Knowledge: Known, Sure: t.Sure.Intersect(o.Sure), Maybe: t.Maybe.Union(o.Maybe)}
}

// Class is the result of holding a pod's trust against the current bundle.
type Class uint8

const (
	// ClassUnknown: the trust cannot be told.
	ClassUnknown Class = iota
	// ClassExpired: the pod has anchors and every one is known to be expired.
	ClassExpired
	// ClassMissing: the pod lacks an unexpired anchor of the current bundle.
	ClassMissing
	// ClassRetired: the pod trusts the current bundle and more. It works.
	ClassRetired
	// ClassCurrent: the pod trusts just the current bundle.
	ClassCurrent
)

// String returns the class as it is written in status and metrics.
func (c Class) String() string {
	switch c {
	case ClassExpired:
		return "expired"
	case ClassMissing:
		return "missing"
	case ClassRetired:
		return "retired"
	case ClassCurrent:
		return "current"
	default:
		return "unknown"
	}
}

// Stale reports whether the class is one for which a pod is rolled: it lacks
// something. A retired pod is not stale.
func (c Class) Stale() bool { return c == ClassExpired || c == ClassMissing }

// Classify holds a pod's trust against the current bundle at a time. Anchors
// that are known to be expired count on neither side.
func Classify(t Trust, current bundle.Set, at time.Time) Class {
	switch t.Knowledge {
	case Unknown:
		return ClassUnknown
	case Reloads:
		return ClassCurrent
	}
	has, wants := t.Sure.ValidAt(at), current.ValidAt(at)
	switch {
	case !t.Maybe.Empty() && t.Maybe.ValidAt(at).Empty():
		return ClassExpired
	case !has.ContainsAll(wants) || t.None():
		return ClassMissing
	case has.Len() > wants.Len():
		return ClassRetired
	default:
		return ClassCurrent
	}
}

// LacksRenewalsOnly reports whether every unexpired anchor of current that the
// pod lacks is a renewal, with the same key and subject, of one it has: then
// whatever the new anchor signs verifies under the old one too, and the pod is
// not in a hurry.
func LacksRenewalsOnly(t Trust, current bundle.Set, at time.Time) bool {
	if t.Knowledge != Known {
		return false
	}
	has := t.Sure.ValidAt(at)
	missing := current.ValidAt(at).Minus(has)
	for _, m := range missing.Anchors() {
		if !hasKeyAndName(has, m) {
			return false
		}
	}
	return !missing.Empty()
}

func hasKeyAndName(s bundle.Set, a bundle.Anchor) bool {
	for _, b := range s.Anchors() {
		if a.SameKeyAndName(b) {
			return true
		}
	}
	return false
}
