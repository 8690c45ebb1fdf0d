// Package exporter publishes reports as Prometheus metrics: once as text, or as
// a daemon that surveys at intervals.
//
// Rules:
//
//   - /metrics shows one whole snapshot or the next one, never a mixture, and
//     never nothing in between: the metrics are made from the snapshot at scrape
//     time.
//   - Times are absolute; a daemon that hangs shows old truths, not a countdown
//     that stands still.
//   - What is fine is an explicit 0, what is broken has a series of its own.
//   - Every label set is unique, also when two findings or endpoints are alike:
//     one clash would turn the whole scrape into an error.
//   - Leftovers appear as the finding "orphaned" and not as certificates, unless
//     they are to be judged too.
package exporter

import (
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/report"
)

// Snapshot is one survey's outcome. It is immutable once published.
type Snapshot struct {
	*report.Document
	// Finished is when the survey ended, Took how long it lasted.
	Finished time.Time
	Took     time.Duration
	// Errors counts, since the start, findings about contents and access.
	Errors map[checker.RuleID]int
}

// Collector is a prometheus.Collector over the current snapshot.
type Collector struct {
	current atomic.Pointer[Snapshot]
	// compat adds the x509_cert_* series of x509-certificate-exporter.
	compat bool
	own    descriptions
	x509   compatDescriptions
}

// NewCollector returns a collector without a snapshot; with compat it also
// exports x509_cert_not_after, x509_cert_not_before and x509_cert_expired.
func NewCollector(version string, compat bool) *Collector {
	return &Collector{compat: compat, own: newDescriptions(version), x509: newCompatDescriptions()}
}

// Publish makes a snapshot the current one and counts its errors on top of the
// previous one's. It must not be called concurrently with itself.
func (c *Collector) Publish(s *Snapshot) {
	counted := map[checker.RuleID]int{}
	if last := c.current.Load(); last != nil {
		for id, n := range last.Errors {
			counted[id] = n
		}
	}
	for _, rule := range checker.Rules() {
		if rule.WhenNamed != checker.OK {
			counted[rule.ID] += s.Summary.Findings[rule.ID]
		}
	}
	s.Errors = counted
	c.current.Store(s)
}

// Current is the snapshot last published, or nil.
func (c *Collector) Current() *Snapshot { return c.current.Load() }

// descriptions are the metrics' names.
type descriptions struct {
	notAfter, notBefore, finding, findings                *prometheus.Desc
	endpointUp, endpointMatches, endpointNotAfter         *prometheus.Desc
	restartSuspected                                      *prometheus.Desc
	rootUp, errors, certificates, lastScan, took, version *prometheus.Desc
}

func newDescriptions(version string) descriptions {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("reanchor_"+name, help, labels, nil)
	}
	certificate := []string{"source", "path", "key", "index", "subject_cn", "issuer_cn", "serial", "is_ca", "role", "profile"}
	endpoint := []string{"address", "server_name", "role"}
	return descriptions{
		notAfter:         describe("cert_not_after_timestamp_seconds", "End of a certificate's validity.", certificate...),
		notBefore:        describe("cert_not_before_timestamp_seconds", "Beginning of a certificate's validity.", certificate...),
		finding:          describe("cert_finding", "1 for each finding of the last survey.", "path", "subject_cn", "finding", "severity"),
		findings:         describe("findings", "Findings of the last survey by rule; 0 where there are none.", "finding"),
		endpointUp:       describe("endpoint_up", "Whether an endpoint served a certificate.", endpoint...),
		endpointMatches:  describe("endpoint_matches_disk", "Whether an endpoint serves a certificate that is in its files; absent when there is nothing to compare.", endpoint...),
		endpointNotAfter: describe("endpoint_cert_not_after_timestamp_seconds", "End of validity of the certificate that an endpoint serves.", endpoint...),
		restartSuspected: describe("process_restart_suspected", "Whether a file changed after a process had loaded it that reads it only at start; 0 where it did not.", "process", "path"),
		rootUp:           describe("scan_root_up", "Whether a place could be searched.", "root", "profile"),
		errors:           describe("scan_errors_total", "Files and places that could not be read or decoded, counted in every survey.", "reason"),
		certificates:     describe("scan_certificates", "Distinct certificates found in the last survey."),
		lastScan:         describe("last_scan_timestamp_seconds", "When the last survey ended."),
		took:             describe("scan_duration_seconds", "How long the last survey took."),
		version: prometheus.NewDesc("reanchor_check_build_info", "The program's version.", nil,
			prometheus.Labels{"version": version}),
	}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	d := &c.own
	for _, desc := range []*prometheus.Desc{
		d.notAfter, d.notBefore, d.finding, d.findings, d.endpointUp, d.endpointMatches, d.endpointNotAfter,
		d.restartSuspected, d.rootUp, d.errors, d.certificates, d.lastScan, d.took, d.version,
	} {
		out <- desc
	}
	if c.compat {
		c.x509.describe(out)
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	e := &emitter{out: out, seen: map[string]bool{}}
	e.gauge(c.own.version, 1)
	s := c.current.Load()
	if s == nil {
		return
	}
	c.certificates(e, s)
	c.findings(e, s)
	c.endpoints(e, s)
	c.processes(e, s)
	for _, r := range s.Summary.Roots {
		e.gauge(c.own.rootUp, boolean(r.State == checker.RootScanned), r.Path, r.Profile)
	}
	e.gauge(c.own.certificates, float64(s.Summary.Certificates))
	e.gauge(c.own.lastScan, seconds(s.Finished))
	e.gauge(c.own.took, s.Took.Seconds())
	if c.compat {
		c.x509.collect(e, s)
	}
}

func (c *Collector) certificates(e *emitter, s *Snapshot) {
	for i := range s.Certificates {
		cert := &s.Certificates[i]
		for _, l := range cert.Locations {
			if l.Orphaned && !s.Thresholds.IncludeOrphaned {
				continue
			}
			labels := []string{
				string(l.Source), l.Path, l.Key, strconv.Itoa(l.Index), cert.Subject.CommonName, cert.Issuer.CommonName,
				cert.Serial, strconv.FormatBool(cert.IsCA), string(l.Role), l.Profile,
			}
			e.gauge(c.own.notAfter, seconds(cert.NotAfter), labels...)
			e.gauge(c.own.notBefore, seconds(cert.NotBefore), labels...)
		}
	}
}

func (c *Collector) findings(e *emitter, s *Snapshot) {
	one := func(f checker.Finding, cn string) {
		e.gauge(c.own.finding, 1, f.Path, cn, string(f.ID), f.Severity.String())
	}
	for i := range s.Certificates {
		for _, f := range s.Certificates[i].Findings {
			one(f, s.Certificates[i].Subject.CommonName)
		}
	}
	for i := range s.Endpoints {
		for _, f := range s.Endpoints[i].Findings {
			one(f, "")
		}
	}
	for _, f := range s.Findings {
		one(f, "")
	}
	for _, rule := range checker.Rules() {
		e.gauge(c.own.findings, float64(s.Summary.Findings[rule.ID]), string(rule.ID))
		if rule.WhenNamed != checker.OK {
			e.emit(c.own.errors, prometheus.CounterValue, float64(s.Errors[rule.ID]), string(rule.ID))
		}
	}
}

func (c *Collector) endpoints(e *emitter, s *Snapshot) {
	ends := make(map[string]time.Time, len(s.Certificates))
	for i := range s.Certificates {
		ends[s.Certificates[i].ID] = s.Certificates[i].NotAfter
	}
	for i := range s.Endpoints {
		served := &s.Endpoints[i]
		labels := []string{served.Address, served.ServerName, string(served.Role)}
		e.gauge(c.own.endpointUp, boolean(served.State == checker.EndpointServing), labels...)
		if served.Match != checker.MatchUnknown {
			e.gauge(c.own.endpointMatches, boolean(served.Match == checker.MatchYes), labels...)
		}
		if served.LeafID != "" {
			e.gauge(c.own.endpointNotAfter, seconds(ends[served.LeafID]), labels...)
		}
	}
}

// processes has one series for a program and a file, however many processes of
// that name run: 1 if any of them is suspected.
func (c *Collector) processes(e *emitter, s *Snapshot) {
	type pair struct{ process, path string }
	suspected := map[pair]bool{}
	for _, l := range s.Processes {
		p := pair{l.Process, l.Path}
		suspected[p] = suspected[p] || l.RestartSuspected
	}
	for p, yes := range suspected {
		e.gauge(c.own.restartSuspected, boolean(yes), p.process, p.path)
	}
}

// emitter sends metrics with label sets that are unique and valid.
type emitter struct {
	out  chan<- prometheus.Metric
	seen map[string]bool
}

func (e *emitter) gauge(d *prometheus.Desc, value float64, labels ...string) {
	e.emit(d, prometheus.GaugeValue, value, labels...)
}

func (e *emitter) emit(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
	for i := range labels {
		// Names in certificates are any bytes; Prometheus takes UTF-8 only.
		labels[i] = strings.ToValidUTF8(labels[i], "\uFFFD")
	}
	id := d.String() + "\x00" + strings.Join(labels, "\x00")
	if e.seen[id] {
		return
	}
	e.seen[id] = true
	if m, err := prometheus.NewConstMetric(d, kind, value, labels...); err == nil {
		e.out <- m
	}
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
