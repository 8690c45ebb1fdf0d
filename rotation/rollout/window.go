package rollout

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Window is a time in which rolls may start.
type Window struct {
	schedule cron.Schedule
	duration time.Duration
	zone     *time.Location
}

// NewWindow reads a schedule of five cron fields in a time zone. The window
// stays open for the duration after each time of the schedule. In the hour
// that a change to summer time skips, nothing opens; a time that comes twice
// opens twice (robfig/cron, the parser of the CronJob controller). What that
// parser reads beyond the five fields is refused: a zone in the schedule would
// contradict the field for it, and "@every" has no times of its own, so that no
// window of it could be told open. A nil zone is UTC.
func NewWindow(schedule string, duration time.Duration, zone *time.Location) (Window, error) {
	if len(strings.Fields(schedule)) != 5 || strings.Contains(schedule, "TZ=") {
		return Window{}, fmt.Errorf("reading the schedule %q: write the five fields minute, hour, day of month, month, day of week", schedule)
	}
	if zone == nil {
		zone = time.UTC
	}
	parsed, err := cron.ParseStandard(schedule)
	if err != nil {
		return Window{}, fmt.Errorf("reading the schedule %q: %w", schedule, err)
	}
	if duration <= 0 {
		return Window{}, fmt.Errorf("reading the window %q: its duration must be longer than zero", schedule)
	}
	return Window{schedule: parsed, duration: duration, zone: zone}, nil
}

// Open reports whether the window is open at t: it opened within its duration
// before t.
func (w Window) Open(t time.Time) bool {
	opened := w.schedule.Next(t.In(w.zone).Add(-w.duration))
	return !opened.IsZero() && !opened.After(t)
}

// Next returns the next change after t: when an open window closes or a closed
// one opens; zero when it never opens.
func (w Window) Next(t time.Time) time.Time {
	local := t.In(w.zone)
	if !w.Open(t) {
		return w.schedule.Next(local)
	}
	closes := t
	for at := w.schedule.Next(local.Add(-w.duration)); !at.IsZero() && !at.After(t); at = w.schedule.Next(at) {
		closes = at.Add(w.duration)
	}
	return closes
}

// anyOpen reports whether rolls may start at t. Without windows they always may.
func anyOpen(windows []Window, t time.Time) bool {
	for _, w := range windows {
		if w.Open(t) {
			return true
		}
	}
	return len(windows) == 0
}

// nextChange returns when a window next opens or closes after t.
func nextChange(windows []Window, t time.Time) time.Time {
	var next time.Time
	for _, w := range windows {
		if at := w.Next(t); !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}
