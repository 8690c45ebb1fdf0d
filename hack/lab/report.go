package lab

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

const (
	reportInterval = 10 * time.Second
	tailLines      = 20
)

// report turns the output of a long command into one line every ten seconds, or
// a line that rewrites itself on a terminal. It keeps the end of the output for
// an error message.
type report struct {
	out      io.Writer
	what     string
	terminal bool
	clock    clock.WithTicker
	began    time.Time
	stop     chan struct{}
	stopped  sync.WaitGroup

	mu      sync.Mutex
	partial []byte
	last    []string
	// modules that go has downloaded and packages that it has compiled
	modules, packages int
}

func newReport(out io.Writer, what string, c clock.WithTicker) *report {
	r := &report{out: out, what: what, terminal: isTerminal(out), clock: c, stop: make(chan struct{})}
	r.began = r.clock.Now()
	r.stopped.Go(r.run)
	return r
}

func (r *report) run() {
	interval := reportInterval
	if r.terminal {
		interval = time.Second
	}
	ticker := r.clock.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-ticker.C():
			r.print()
		}
	}
}

func (r *report) print() {
	r.mu.Lock()
	modules, packages := r.modules, r.packages
	r.mu.Unlock()
	line := fmt.Sprintf("%s: %s, %d modules downloaded, %d packages compiled",
		r.what, r.clock.Since(r.began).Round(time.Second), modules, packages)
	if r.terminal {
		line = "\r\033[K" + line
	} else {
		line += "\n"
	}
	fmt.Fprint(r.out, line)
}

// Write takes go's output: a line is a package, or says that a module is being
// downloaded.
func (r *report) Write(data []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.partial = append(r.partial, data...)
	for {
		line, rest, found := bytes.Cut(r.partial, []byte("\n"))
		if !found {
			return len(data), nil
		}
		if bytes.HasPrefix(line, []byte("go: ")) {
			r.modules++
		} else {
			r.packages++
		}
		r.last = append(r.last, string(line))
		r.last = r.last[max(0, len(r.last)-tailLines):]
		r.partial = rest
	}
}

func (r *report) tail() string { return strings.Join(r.last, "\n") }

// close ends the reporting. A command that succeeds within one interval has
// printed nothing, unless it is on a terminal, where that is gone again.
func (r *report) close(success bool) {
	close(r.stop)
	r.stopped.Wait()
	if r.terminal {
		fmt.Fprint(r.out, "\r\033[K")
	}
	if elapsed := r.clock.Since(r.began); success && elapsed >= reportInterval {
		fmt.Fprintf(r.out, "lab: built in %s\n", elapsed.Round(time.Second))
	}
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
