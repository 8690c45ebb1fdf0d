package exporter

import (
	"testing"
	"time"
)

func TestAPauseIsAnIntervalAndUpToATenthMore(t *testing.T) {
	for _, interval := range []time.Duration{time.Nanosecond, time.Second, 5 * time.Minute} {
		e := Exporter{Interval: interval}
		shortest, longest := e.pause(), time.Duration(0)
		for range 10000 {
			p := e.pause()
			shortest, longest = min(shortest, p), max(longest, p)
		}
		if shortest < interval || longest > interval+interval/10 {
			t.Errorf("interval %s: pauses of %s to %s, want it to a tenth more", interval, shortest, longest)
		}
		// Of 10,000 draws that are spread evenly, some lie near both ends.
		if spread := interval / 10; longest-shortest < spread*9/10 {
			t.Errorf("interval %s: pauses of %s to %s: the nodes of a cluster move in step", interval, shortest, longest)
		}
	}
}
