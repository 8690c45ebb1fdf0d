package main

import (
	"fmt"
	"io"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab/proxies"
)

// A line for each phase; while pods come and go one in a while, and when nothing
// but the count of handshakes moves one in a longer while.
const (
	moving = 3 * time.Second
	quiet  = 10 * time.Second
)

// table is a rotation as it goes on, a line for each change.
type table struct {
	out         io.Writer
	began, last time.Time
	phase, pods string
}

func (t *table) header() {
	fmt.Fprintf(t.out, "  %6s %-13s %7s %7s %7s %11s %7s\n", "TIME", "PHASE", "CURRENT", "STALE", "RETIRED", "HANDSHAKES", "FAILED")
}

func (t *table) row(run *v1alpha1.AnchorRotation, mt *v1alpha1.MeshTrust, s proxies.Stats) {
	pods := mt.Status.Pods
	phase := reason(run, v1alpha1.ConditionProgressing)
	line := fmt.Sprintf("%7d %7d %7d", pods.Current, pods.Stale, pods.Retired)
	now := time.Now()
	due := quiet
	if line != t.pods {
		due = moving
	}
	if phase == "" || phase == t.phase && now.Sub(t.last) < due {
		return
	}
	t.phase, t.pods, t.last = phase, line, now
	fmt.Fprintf(t.out, "  %5.0fs %-13s %s %11d %7d\n", now.Sub(t.began).Seconds(), phase, line, s.Handshakes, s.Failed)
}
