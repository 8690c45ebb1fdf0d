package mesh

import (
	"time"

	"github.com/reanchor/reanchor/bundle"
)

// Publication is one bundle in the life of the published object.
type Publication struct {
	Set bundle.Set
	// PublishedAt is when it was written, by the API server's clock.
	PublishedAt time.Time
	// LastSeen is the last time at which it was certainly still in force.
	LastSeen time.Time
}

// History holds the publications of one object, oldest first.
type History []Publication

// Between tells what a process trusts that read the object as it was at some
// instant from from to to. Where several publications are possible, their
// intersection is what it surely trusts and their union what it may trust. A
// time that the history does not cover without a gap gives Unknown.
func (h History) Between(from, to time.Time) Trust {
	if from.IsZero() || to.Before(from) {
		return unknown("the time at which its container started is not known")
	}
	var trust Trust
	covered := from
	for i, p := range h {
		if p.PublishedAt.After(to) || h.end(i).Before(from) || h.replacedBy(i, from) {
			continue
		}
		if p.PublishedAt.After(covered) {
			return unknown("its container may have read a bundle that was never observed")
		}
		covered = h.end(i)
		trust = trust.orElse(p.Set)
	}
	if covered.Before(to) || trust.Knowledge == Unknown {
		return unknown("its container started at a time for which no bundle is on record")
	}
	return trust
}

// end is when the publication certainly was in force for the last time: when
// it was seen last, and never after the next one was written.
func (h History) end(i int) time.Time {
	end := h[i].LastSeen
	if i+1 < len(h) && h[i+1].PublishedAt.Before(end) {
		end = h[i+1].PublishedAt
	}
	return end
}

// replacedBy reports whether the next publication was in force at t already.
func (h History) replacedBy(i int, t time.Time) bool {
	return i+1 < len(h) && !h[i+1].PublishedAt.After(t)
}

// orElse adds a possibility: the process read s instead.
func (t Trust) orElse(s bundle.Set) Trust {
	if t.Knowledge == Unknown {
		return known(s)
	}
	return Trust{Knowledge: Known, Sure: t.Sure.Intersect(s), Maybe: t.Maybe.Union(s)}
}
