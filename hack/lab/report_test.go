package lab

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// buffer is written by the report's goroutine and read by the test.
type buffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}

func TestABuildReportsEveryTenSeconds(t *testing.T) {
	c := clocktesting.NewFakeClock(time.Unix(0, 0))
	out := &buffer{}
	r := newReport(out, "building", c)
	for n := range 25 {
		fmt.Fprintf(r, "go: downloading example.com/m%d v1\nexample.com/p", n)
		fmt.Fprintf(r, "%d\n", n)
	}
	deadline := time.Now().Add(10 * time.Second)
	for !c.HasWaiters() {
		if time.Now().After(deadline) {
			t.Fatal("nobody waits for the clock")
		}
		time.Sleep(time.Millisecond)
	}
	c.Step(reportInterval)
	for out.String() == "" {
		if time.Now().After(deadline) {
			t.Fatal("nothing was reported")
		}
		time.Sleep(time.Millisecond)
	}
	r.close(true)
	want := "building: 10s, 25 modules downloaded, 25 packages compiled\nlab: built in 10s\n"
	if got := out.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if tail := r.tail(); !strings.HasSuffix(tail, "\nexample.com/p24") || strings.Count(tail, "\n") != tailLines-1 {
		t.Errorf("the tail is not the last %d lines: %q", tailLines, tail)
	}
}
