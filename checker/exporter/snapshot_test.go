package exporter_test

import (
	"fmt"
	"regexp"
	"sync"
	"testing"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/exporter"
)

// numbered is a snapshot that carries its number in several families of
// metrics: n is the number of roots, of endpoints and of processes, and a label.
func numbered(n int) *exporter.Snapshot {
	facts := checker.Facts{}
	for i := range n {
		facts.Roots = append(facts.Roots, checker.Root{Path: fmt.Sprintf("/%d/%d", n, i), State: checker.RootScanned})
		facts.Endpoints = append(facts.Endpoints, checker.Endpoint{Address: fmt.Sprintf("host-%d:%d", n, i+1), State: checker.EndpointNotTLS, Detail: "x"})
	}
	s := snapshot(facts)
	for i := range n {
		s.Processes = append(s.Processes, checker.Loaded{Process: "etcd", Path: fmt.Sprintf("/%d/%d", n, i)})
	}
	return s
}

// TestAScrapeShowsOneWholeSurvey scrapes while surveys are published; the race
// detector looks on.
func TestAScrapeShowsOneWholeSurvey(t *testing.T) {
	c := exporter.NewCollector("v1", true)
	c.Publish(numbered(1))
	snapshots := make([]*exporter.Snapshot, 20)
	for i := range snapshots {
		snapshots[i] = numbered(i + 1)
	}
	scraped, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			select {
			case <-scraped:
				return
			default:
			}
			s := *snapshots[i%len(snapshots)]
			c.Publish(&s)
		}
	}()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				whole(t, text(t, c))
			}
		})
	}
	wg.Wait()
	close(scraped)
	<-ended
}

// whole fails for a text that mixes surveys or lacks a part of one.
func whole(t *testing.T, text string) {
	t.Helper()
	numbers := map[string]bool{}
	counts := map[string]int{}
	for _, family := range []string{
		`reanchor_scan_root_up\{profile="",root="/(\d+)/`, `reanchor_endpoint_up\{address="host-(\d+):`,
		`reanchor_process_restart_suspected\{path="/(\d+)/`,
	} {
		for _, m := range regexp.MustCompile(family).FindAllStringSubmatch(text, -1) {
			numbers[m[1]] = true
			counts[family]++
		}
	}
	for n := range numbers {
		for family, count := range counts {
			if len(numbers) != 1 || len(counts) != 3 || fmt.Sprint(count) != n {
				t.Errorf("a scrape of surveys %v has %d of %s", numbers, count, family)
			}
		}
	}
	if len(numbers) == 0 {
		t.Error("a scrape without a survey")
	}
}
