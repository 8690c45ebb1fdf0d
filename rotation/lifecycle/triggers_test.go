package lifecycle_test

import (
	"slices"
	"testing"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

func TestOpen(t *testing.T) {
	hourly, err := lifecycle.ParseSchedule("0 * * * *")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		set     func(*fixture, *lifecycle.Opening)
		trigger v1alpha1.Trigger
		name    string // "" is not looked at
	}{
		"a mesh at rest opens nothing": {func(*fixture, *lifecycle.Opening) {}, "", ""},
		"an anchor in the last third of its life is due": {
			func(x *fixture, _ *lifecycle.Opening) { x.endsAt(now.Add(900 * time.Hour)) }, v1alpha1.TriggerDue, ""},
		"an anchor is due as early as the user wishes": {
			func(_ *fixture, o *lifecycle.Opening) { o.RotateBefore = 8000 * time.Hour }, v1alpha1.TriggerDue, ""},
		"nothing opens while one runs": {
			func(_ *fixture, o *lifecycle.Opening) {
				o.RotateBefore = 8000 * time.Hour
				o.Runs = []lifecycle.RunSummary{{Name: "other"}}
			}, "", ""},
		"nothing opens while suspended": {
			func(x *fixture, o *lifecycle.Opening) {
				o.RotateBefore = 8000 * time.Hour
				x.Policy.Suspend = true
			}, "", ""},
		"what failed a moment ago rests": {
			func(x *fixture, o *lifecycle.Opening) {
				o.RotateBefore = 8000 * time.Hour
				o.Runs = []lifecycle.RunSummary{{Name: "mesh-due-" + x.a.Fingerprint.Short(), Outcome: lifecycle.Failed, EndedAt: now.Add(-time.Minute)}}
			}, "", ""},
		"and is tried again": {
			func(x *fixture, o *lifecycle.Opening) {
				o.RotateBefore = 8000 * time.Hour
				o.Runs = []lifecycle.RunSummary{{Name: "mesh-due-" + x.a.Fingerprint.Short(), Outcome: lifecycle.Failed, EndedAt: now.Add(-2 * time.Hour)}}
			}, v1alpha1.TriggerDue, ""},
		"an anchor that somebody else renewed is observed": {
			func(x *fixture, _ *lifecycle.Opening) { x.inPlace(); x.Anchors[0].Issued = &x.b }, v1alpha1.TriggerObserved, ""},
		"an earlier anchor left in the bundle is observed": {
			func(x *fixture, _ *lifecycle.Opening) {
				x.Anchors = append(x.Anchors, certificate("mesh-anchor-2", 2, &x.b))
				x.Issuers[0].SignedBy, x.Bundle.Set = set(x.b), set(x.a, x.b)
			}, v1alpha1.TriggerObserved, ""},
		"a mesh that was led back in place is left there": {
			func(x *fixture, _ *lifecycle.Opening) { x.parked("") }, "", ""},
		"also where that left a renewal of the issuer to the copy": {
			func(x *fixture, _ *lifecycle.Opening) { x.parked("run-uid.back." + x.a.Fingerprint.Short()) }, "", ""},
		"one that somebody pointed at the copy by hand is left there": {
			func(x *fixture, _ *lifecycle.Opening) { x.parked("run-uid.to." + x.b.Fingerprint.Short()) }, "", ""},
		"one whose run was deleted after the old anchor had signed once more goes on": {
			func(x *fixture, _ *lifecycle.Opening) { x.parked("run-uid.to." + x.a.Fingerprint.Short()) }, v1alpha1.TriggerObserved, ""},
		"a foreign anchor is no trigger": {
			func(x *fixture, _ *lifecycle.Opening) { x.foreign.NotAfter = now.Add(time.Minute) }, "", ""},
		"an expired anchor is repaired": {
			func(x *fixture, _ *lifecycle.Opening) {
				x.endsAt(now.Add(-time.Minute))
			}, v1alpha1.TriggerObserved, ""},
		"missed times of the schedule start one run, named after the last": {
			func(_ *fixture, o *lifecycle.Opening) { o.Schedule, o.LastSchedule = hourly, now.Add(-1000*time.Hour) },
			v1alpha1.TriggerSchedule, "mesh-1906545600"},
		"a time of the schedule starts once": {
			func(_ *fixture, o *lifecycle.Opening) { o.Schedule, o.LastSchedule = hourly, now }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			x := newFixture(t)
			o := lifecycle.Opening{HistoryLimit: 5}
			c.set(x, &o)
			o.Facts = x.Facts
			got := lifecycle.Open(o, now)
			if got.Trigger != c.trigger || (got.Name == "") != (c.trigger == "") || c.name != "" && got.Name != c.name {
				t.Errorf("%+v", got)
			}
			if again := lifecycle.Open(o, now); again.Name != got.Name {
				t.Errorf("not the same name twice: %q and %q", got.Name, again.Name)
			}
		})
	}
}

func TestAYearOfMissedMinutesIsNotCountedOneByOne(t *testing.T) {
	x := newFixture(t)
	minutely, err := lifecycle.ParseSchedule("* * * * *")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	got := lifecycle.Open(lifecycle.Opening{Facts: x.Facts, Schedule: minutely, LastSchedule: now.Add(-20 * 365 * 24 * time.Hour)}, now)
	if at, ok := lifecycle.ScheduledAt("mesh", got.Name); !ok || !at.Equal(now) {
		t.Errorf("%+v", got)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestTheNameOfAScheduledRunTellsItsTime(t *testing.T) {
	for name, want := range map[string]int64{"mesh-1906545600": 1906545600, "mesh-0": 0} {
		if at, ok := lifecycle.ScheduledAt("mesh", name); !ok || at.Unix() != want {
			t.Errorf("%s: %s, %t", name, at, ok)
		}
	}
	for _, name := range []string{"", "mesh", "mesh-", "mesh-due-0a1b2c3d", "mesh-1906545600-2", "other-1906545600", "1906545600", "mesh-99999999999999999999"} {
		if at, ok := lifecycle.ScheduledAt("mesh", name); ok {
			t.Errorf("%q is taken for the run of %s", name, at)
		}
	}
}

func TestTheOldestRunsAreDeletedFirst(t *testing.T) {
	x := newFixture(t)
	o := lifecycle.Opening{Facts: x.Facts, HistoryLimit: 1, Runs: []lifecycle.RunSummary{
		{Name: "young", Outcome: lifecycle.Complete, EndedAt: now},
		{Name: "old", Outcome: lifecycle.Failed, EndedAt: now.Add(-2 * time.Hour)},
		{Name: "older", Outcome: lifecycle.Complete, EndedAt: now.Add(-3 * time.Hour)},
		{Name: "running"},
	}}
	if got := lifecycle.Open(o, now).Delete; !slices.Equal(got, []string{"older", "old"}) {
		t.Errorf("%v", got)
	}
	o.Facts.Policy.Suspend = true
	if got := lifecycle.Open(o, now).Delete; len(got) > 0 {
		t.Errorf("%v although the MeshTrust is suspended", got)
	}
}

func TestSchedulesThatAreNoneAreRefused(t *testing.T) {
	for _, s := range []string{"@every 1h", "* * * *", "TZ=UTC * * * * *", "x y z a b"} {
		if _, err := lifecycle.ParseSchedule(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}
