package lifecycle

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// Opening is what it is decided on whether a rotation is to be opened, and which
// of those that ended are to be deleted.
type Opening struct {
	// Facts are those of Next, without a Run.
	Facts Facts
	// Runs are all AnchorRotations of the mesh.
	Runs []RunSummary
	// Schedule is nil when none is set; see ParseSchedule. LastSchedule is the
	// last time of it that started a run, see ScheduledAt, or else the
	// MeshTrust's creation.
	Schedule     cron.Schedule
	LastSchedule time.Time
	// RotateBefore is how long before its end an anchor is due; zero is a third
	// of its lifetime.
	RotateBefore time.Duration
	HistoryLimit int
}

// RunSummary is one AnchorRotation.
type RunSummary struct {
	Name string
	// Outcome is empty while it runs.
	Outcome Outcome
	EndedAt time.Time
}

// Opened is what Open decided.
type Opened struct {
	// Name and Trigger are of the AnchorRotation to create; empty for none. The
	// name follows from the cause, so that creating it twice is one run.
	Name    string
	Trigger v1alpha1.Trigger
	// Delete names the runs that are too many.
	Delete []string
	// Message says why.
	Message string
	// Again is when to decide again although nothing changed.
	Again time.Time
}

// afterFailure is how long a cause rests whose last run failed.
const afterFailure = time.Hour

// ParseSchedule reads five cron fields; times are UTC.
func ParseSchedule(schedule string) (cron.Schedule, error) {
	if len(strings.Fields(schedule)) != 5 || strings.Contains(schedule, "TZ=") {
		return nil, fmt.Errorf("reading the schedule %q: write the five fields minute, hour, day of month, month, day of week", schedule)
	}
	parsed, err := cron.ParseStandard(schedule)
	if err != nil {
		return nil, fmt.Errorf("reading the schedule %q: %w", schedule, err)
	}
	return parsed, nil
}

// Open decides whether a rotation begins: one at a time, what is midway first,
// then what is due, then the schedule. Times of the schedule that were missed
// start one run together.
func Open(o Opening, now time.Time) Opened {
	if o.Facts.Policy.Suspend {
		return Opened{Message: "suspend is true"} // a deletion is a write too
	}
	out := Opened{Delete: excess(o)}
	for _, r := range o.Runs {
		if r.Outcome == "" {
			out.Message = r.Name + " runs"
			return out
		}
	}
	for _, cause := range []func(Opening, time.Time, *Opened) bool{observed, due, scheduled} {
		if cause(o, now, &out) {
			return out
		}
	}
	out.Message = "nothing is due"
	return out
}

// observed opens a run for what somebody else began, or left midway, and for an
// issuer that nothing less can repair.
func observed(o Opening, now time.Time, out *Opened) bool {
	f := &o.Facts
	if f.ledBack() || f.Bundle.Unusable.Reason != "" {
		return false
	}
	v := look(f)
	p := planner{facts: *f, now: now, view: v, state: &State{}}
	from, to := halves(f, v)
	switch {
	case from != nil:
		return open(o, now, out, cause{v1alpha1.TriggerObserved, "observed-" + to.Fingerprint.Short(), "the own anchor changed, or a rotation was left midway"})
	case p.broken() && v.pointed != nil:
		return open(o, now, out, cause{v1alpha1.TriggerObserved, "recover-" + v.pointed.Fingerprint.Short(), "the issuer in use cannot be verified any more"})
	default:
		return false
	}
}

// due opens a run when the anchor in use nears its end.
func due(o Opening, now time.Time, out *Opened) bool {
	p := planner{facts: o.Facts, now: now, view: look(&o.Facts), state: &State{}}
	a := p.inUse()
	if a == nil || !a.ValidityKnown() {
		return false
	}
	before := cmp.Or(o.RotateBefore, a.NotAfter.Sub(a.NotBefore)/3)
	at := a.NotAfter.Add(-before)
	if now.Before(at) {
		out.wake(at, now)
		return false
	}
	return open(o, now, out, cause{v1alpha1.TriggerDue, "due-" + a.Fingerprint.Short(), "the anchor in use is due"})
}

// scheduled opens a run for the latest time of the schedule that has passed.
func scheduled(o Opening, now time.Time, out *Opened) bool {
	if o.Schedule == nil || o.LastSchedule.IsZero() {
		return false
	}
	next := o.Schedule.Next(o.LastSchedule.UTC())
	if next.IsZero() || next.After(now) {
		out.wake(next, now)
		return false
	}
	last := lastBefore(o.Schedule, now.UTC())
	out.Name, out.Trigger, out.Message = fmt.Sprintf("%s-%d", o.Facts.Mesh, last.Unix()), v1alpha1.TriggerSchedule, "the schedule's time has come"
	return true
}

// ScheduledAt returns the time of the schedule that a run was opened for, as its
// name tells; false for any other. It must be stored as the last before such a
// run is deleted, or the same time would start another.
func ScheduledAt(mesh, run string) (time.Time, bool) {
	text, ours := strings.CutPrefix(run, mesh+"-")
	seconds, err := strconv.ParseInt(text, 10, 64)
	if !ours || err != nil {
		return noTime, false
	}
	return time.Unix(seconds, 0).UTC(), true
}

// lastBefore returns the last time of a schedule that is known to have one
// before now. It looks back further and further, so that a clock that jumped
// does not make it count every minute of years.
func lastBefore(s cron.Schedule, now time.Time) time.Time {
	for back := time.Minute; ; back *= 2 {
		last := s.Next(now.Add(-back))
		if last.After(now) {
			continue
		}
		for at := s.Next(last); !at.After(now); at = s.Next(at) {
			last = at
		}
		return last
	}
}

// cause is why a run is opened; name is what it is called after.
type cause struct {
	trigger       v1alpha1.Trigger
	name, message string
}

// open names the run after its cause, with a number from the second on. After a
// failure it rests.
func open(o Opening, now time.Time, out *Opened, c cause) bool {
	name, n := o.Facts.Mesh+"-"+c.name, 1
	full := name
	for slices.ContainsFunc(o.Runs, func(r RunSummary) bool { return r.Name == full }) {
		n++
		full = fmt.Sprintf("%s-%d", name, n)
	}
	for _, r := range o.Runs {
		if at := r.EndedAt.Add(afterFailure); r.Outcome == Failed && strings.HasPrefix(r.Name, name) && now.Before(at) {
			out.wake(at, now)
			out.Message = r.Name + " failed a moment ago"
			return false
		}
	}
	out.Name, out.Trigger, out.Message = full, c.trigger, c.message
	return true
}

// excess names the ended runs beyond the limit, the oldest first.
func excess(o Opening) []string {
	ended := slices.DeleteFunc(slices.Clone(o.Runs), func(r RunSummary) bool { return r.Outcome == "" })
	slices.SortFunc(ended, func(a, b RunSummary) int { return cmp.Or(a.EndedAt.Compare(b.EndedAt), cmp.Compare(a.Name, b.Name)) })
	var out []string
	for i := range max(0, len(ended)-max(0, o.HistoryLimit)) {
		out = append(out, ended[i].Name)
	}
	return out
}

func (o *Opened) wake(at, now time.Time) {
	if at.After(now) && (o.Again.IsZero() || at.Before(o.Again)) {
		o.Again = at
	}
}

// OwnAnchors returns the anchors of a mesh that the facts show to be its own,
// for status: they are counted, foreign ones are not.
func OwnAnchors(f *Facts) bundle.Set { return look(f).own }
