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
	s, why := h.span(from, to)
	if why != "" {
		return unknown(why)
	}
	var trust Trust
	for _, p := range h[s.first : s.last+1] {
		trust = trust.orElse(p.Set)
	}
	return trust
}

// span is the publications, from first to last, that a process may have read.
type span struct{ first, last int }

// span returns the publications that were in force between from and to, or why
// they cannot be told.
func (h History) span(from, to time.Time) (span, string) {
	if from.IsZero() || to.Before(from) {
		return span{}, "the time at which its container started is not known"
	}
	s := h.overlap(from, to)
	covered := from
	for i := s.first; i <= s.last; i++ {
		if h[i].PublishedAt.After(covered) {
			return span{}, "its container may have read a bundle that was never observed"
		}
		covered = later(covered, h.end(i))
	}
	if s.first > s.last || covered.Before(to) {
		return span{}, "its container started at a time for which no bundle is on record"
	}
	return s, ""
}

// overlap returns the publications without those that surely were not in force
// any more at from, and those that were not yet at to. The first is behind the
// last when none is left.
func (h History) overlap(from, to time.Time) span {
	s := span{last: len(h) - 1}
	for s.first < len(h) && (h.end(s.first).Before(from) || h.replacedBy(s.first, from)) {
		s.first++
	}
	for s.last >= 0 && h[s.last].PublishedAt.After(to) {
		s.last--
	}
	return s
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
