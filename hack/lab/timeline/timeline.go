// Package timeline remembers what a changing thing was like at past moments. The
// lab's stand-ins use it for a view that lags: who sees everything lag late sees
// at t what was true at t - lag.
package timeline

import (
	"slices"
	"time"
)

// Timeline is the past of one thing. The zero value is a thing that nothing is
// known of. It is not safe for concurrent use.
type Timeline[T any] struct {
	versions []version[T] // by time
}

type version[T any] struct {
	since time.Time
	value T
}

// Record adds what the thing is since t. Times must not go backwards; one that
// does counts as the latest one before.
func (l *Timeline[T]) Record(t time.Time, value T) {
	if n := len(l.versions); n > 0 && t.Before(l.versions[n-1].since) {
		t = l.versions[n-1].since
	}
	l.versions = append(l.versions, version[T]{since: t, value: value})
}

// At returns what the thing was at t, and before the first record what it was
// then: who has never seen a thing fetches it, however late its updates come.
// It is false when nothing was recorded.
func (l *Timeline[T]) At(t time.Time) (T, bool) {
	if len(l.versions) == 0 {
		var none T
		return none, false
	}
	later, _ := slices.BinarySearchFunc(l.versions, t, func(v version[T], t time.Time) int {
		if v.since.After(t) {
			return 1
		}
		return -1
	})
	return l.versions[max(0, later-1)].value, true
}

// Forget drops what is not needed to answer for t and later.
func (l *Timeline[T]) Forget(t time.Time) {
	for len(l.versions) > 1 && !l.versions[1].since.After(t) {
		l.versions = l.versions[1:]
	}
}
