package rollout_test

import (
	"testing"
	"time"
	_ "time/tzdata" // the zones below, wherever the test runs

	"github.com/reanchor/reanchor/rotation/rollout"
)

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestAWindowOpensInItsTimeZone(t *testing.T) {
	berlin, newYork := zone(t, "Europe/Berlin"), zone(t, "America/New_York")
	for name, c := range map[string]struct {
		schedule string
		duration time.Duration
		zone     *time.Location
		at       string
		open     bool
		next     string
	}{
		"before it opens":                                   {"0 22 * * *", 2 * time.Hour, time.UTC, "2030-01-01T21:59:59Z", false, "2030-01-01T22:00:00Z"},
		"at the moment it opens":                            {"0 22 * * *", 2 * time.Hour, time.UTC, "2030-01-01T22:00:00Z", true, "2030-01-02T00:00:00Z"},
		"past midnight":                                     {"0 22 * * *", 2 * time.Hour, time.UTC, "2030-01-01T23:59:59Z", true, "2030-01-02T00:00:00Z"},
		"at the moment it closes":                           {"0 22 * * *", 2 * time.Hour, time.UTC, "2030-01-02T00:00:00Z", false, "2030-01-02T22:00:00Z"},
		"within the second in which it closes":              {"0 22 * * *", 2 * time.Hour, time.UTC, "2030-01-02T00:00:00.5Z", false, "2030-01-02T22:00:00Z"},
		"in another zone":                                   {"0 22 * * *", 2 * time.Hour, berlin, "2030-01-01T21:30:00Z", true, "2030-01-01T23:00:00Z"},
		"without a zone it is UTC":                          {"0 22 * * *", 2 * time.Hour, nil, "2030-01-01T22:30:00Z", true, "2030-01-02T00:00:00Z"},
		"the day after summer time began it is an hour off": {"0 22 * * *", 2 * time.Hour, berlin, "2030-03-31T20:30:00Z", true, "2030-03-31T22:00:00Z"},
		"the day before it was not":                         {"0 22 * * *", 2 * time.Hour, berlin, "2030-03-30T20:30:00Z", false, "2030-03-30T21:00:00Z"},
		"in the hour that summer time skips nothing opens":  {"30 2 * * *", 20 * time.Minute, berlin, "2030-03-31T01:00:00Z", false, "2030-04-01T00:30:00Z"},
		"a window over the skipped hour lasts as long":      {"30 1 * * *", time.Hour, berlin, "2030-03-31T01:29:00Z", true, "2030-03-31T01:30:00Z"},
		"and closes then":                                   {"30 1 * * *", time.Hour, berlin, "2030-03-31T01:30:00Z", false, "2030-03-31T23:30:00Z"},
		"in the hour that comes twice it opens":             {"30 1 * * *", 10 * time.Minute, newYork, "2030-11-03T05:35:00Z", true, "2030-11-03T05:40:00Z"},
		"and a second time":                                 {"30 1 * * *", 10 * time.Minute, newYork, "2030-11-03T06:35:00Z", true, "2030-11-03T06:40:00Z"},
		"but not in between":                                {"30 1 * * *", 10 * time.Minute, newYork, "2030-11-03T05:45:00Z", false, "2030-11-03T06:30:00Z"},
		"openings of one window that overlap are one":       {"0 * * * *", 90 * time.Minute, time.UTC, "2030-01-01T12:10:00Z", true, "2030-01-01T13:30:00Z"},
		"a weekday":                                         {"0 8 * * 1", time.Hour, time.UTC, "2030-01-01T08:30:00Z", false, "2030-01-07T08:00:00Z"},
		"a day that never comes":                            {"0 0 30 2 *", time.Hour, time.UTC, "2030-01-01T00:00:00Z", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := rollout.NewWindow(c.schedule, c.duration, c.zone)
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse(time.RFC3339, c.at)
			if err != nil {
				t.Fatal(err)
			}
			if w.Open(at) != c.open {
				t.Errorf("open at %s: %t, want %t", c.at, w.Open(at), c.open)
			}
			next := ""
			if n := w.Next(at); !n.IsZero() {
				next = n.UTC().Format(time.RFC3339)
			}
			if next != c.next {
				t.Errorf("changes next at %q, want %q", next, c.next)
			}
		})
	}
}

func TestAWindowThatCannotBeToldIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		schedule string
		duration time.Duration
	}{
		"no schedule":                    {"", time.Hour},
		"six fields":                     {"0 0 22 * * *", time.Hour},
		"an hour that is none":           {"0 25 * * *", time.Hour},
		"a zone in the schedule":         {"TZ=UTC 22 * * *", time.Hour},
		"a CRON_TZ zone in the schedule": {"CRON_TZ=Asia/Tokyo 0 22 * * *", time.Hour},
		"every so often, from now":       {"@every 1h", time.Hour},
		"no duration":                    {"0 22 * * *", 0},
		"a duration that goes backwards": {"0 22 * * *", -time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := rollout.NewWindow(c.schedule, c.duration, time.UTC); err == nil {
				t.Error("it was accepted")
			}
		})
	}
}
