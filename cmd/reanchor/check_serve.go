package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/term"
	"k8s.io/utils/clock"

	"github.com/reanchor/reanchor/checker/exporter"
	"github.com/reanchor/reanchor/checker/report"
	"github.com/reanchor/reanchor/checker/survey"
)

// probeEvery spares the log of etcd, where every probe leaves a line.
const probeEvery = 5 * time.Minute

// serve surveys at intervals until the process is told to end; SIGHUP surveys
// at once.
func (c *CheckCmd) serve(ctx context.Context, s streams, surveyor *survey.Surveyor) error {
	surveyor.ProbeEvery = probeEvery
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.ListenAddress)
	if err != nil {
		return fmt.Errorf("listening on --listen-address: %w", err)
	}
	fmt.Fprintf(s.err, "serving metrics on http://%s/metrics\n", listener.Addr())
	e := exporter.Exporter{
		Collector: exporter.NewCollector(version(), c.CompatMetrics),
		Survey: func(ctx context.Context, asked bool) (*report.Document, error) {
			if asked {
				surveyor.Refresh()
			}
			ctx, cancel := context.WithTimeout(ctx, c.Timeout)
			defer cancel()
			return surveyor.Survey(ctx)
		},
		Interval: time.Duration(c.Interval), Rescan: hangups(ctx), Clock: clock.RealClock{},
		Observe: func(snapshot *exporter.Snapshot, err error) {
			if err != nil {
				fmt.Fprintln(s.err, "survey failed:", err)
				return
			}
			fmt.Fprintln(s.err, report.Summary(snapshot.Document))
		},
	}
	return e.Serve(ctx, listener)
}

// hangups turns SIGHUP into values.
func hangups(ctx context.Context) <-chan struct{} {
	signals, out := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
			}
			select {
			case <-ctx.Done():
				return
			case out <- struct{}{}:
			}
		}
	}()
	return out
}

// widthOf is the terminal's width, and whether there is one. COLUMNS decides
// where it is set, so that output can be shaped in a script.
func widthOf(w io.Writer) (width int, terminal bool) {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		terminal = true
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil {
			width = columns
		}
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		width = n
	}
	return width, terminal
}
