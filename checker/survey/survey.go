// Package survey looks at everything once and judges it: the one engine behind
// the command line, the init container and the exporter.
package survey

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/utils/clock"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/kube"
	"github.com/reanchor/reanchor/checker/probe"
	"github.com/reanchor/reanchor/checker/process"
	"github.com/reanchor/reanchor/checker/profile"
	"github.com/reanchor/reanchor/checker/report"
	"github.com/reanchor/reanchor/checker/scan"
)

// Options say where to look and how to judge.
type Options struct {
	// Targets without profiles and with Detect get those found on the node.
	Targets scan.Targets
	Detect  bool
	// Endpoints are servers named by the user, probed also with NoProbe.
	Endpoints []probe.Target
	NoProbe   bool
	// Proc is the proc file system; empty: processes are not looked at.
	Proc string
	// Cluster reads Secrets and ConfigMaps; nil: none.
	Cluster *Cluster
	Policy  checker.Policy
	Origin  report.Origin
}

// Cluster is an API server to read from.
type Cluster struct {
	kube.Reader
	kube.Request
}

// Surveyor surveys again and again; it is not safe for concurrent use.
type Surveyor struct {
	Options Options
	Scanner *scan.Scanner
	Prober  probe.Prober
	// ProbeEvery is how long a server's answer is good for while no file
	// changes: each probe makes etcd log a rejected connection. 0: every survey
	// probes.
	ProbeEvery time.Duration
	// Clock says at which time certificates are judged, and how old an answer is.
	Clock  clock.PassiveClock
	Engine *checker.Engine

	last answers
}

// Survey looks once. It fails only when ctx ends: what cannot be looked at is a
// finding.
func (s *Surveyor) Survey(ctx context.Context) (*report.Document, error) {
	o := &s.Options
	targets := o.Targets
	if o.Detect {
		targets.Profiles = s.Scanner.Detect(profile.All())
	}
	scanned, err := s.Scanner.Scan(ctx, targets)
	if err != nil {
		return nil, fmt.Errorf("surveying: %w", err)
	}
	facts := checker.Facts{Files: scanned.Files, Roots: scanned.Roots, Requirements: scanned.Requirements}
	if o.Detect && len(targets.Profiles) == 0 {
		facts.Roots = append(facts.Roots, undetected()...)
	}
	if o.Cluster != nil {
		facts.Files = append(facts.Files, o.Cluster.Read(ctx, o.Cluster.Request)...)
	}
	endpoints := slices.Clone(o.Endpoints)
	if !o.NoProbe {
		endpoints = append(endpoints, probe.OnNode(targets.Profiles, facts.Files)...)
	}
	facts.Endpoints = s.probe(ctx, endpoints, facts.Files)
	if ctx.Err() != nil {
		// Servers that were not asked any more would look unreachable.
		return nil, fmt.Errorf("surveying: %w", context.Cause(ctx))
	}
	s.processes(&facts, targets.Profiles)
	now := s.Clock.Now()
	document := report.New(s.Engine.Check(facts, now, o.Policy), now, o.Policy, o.Origin)
	document.Processes = checker.LoadedFiles(facts, o.Policy)
	return document, nil
}

// undetected names where a node of some profile would have been recognised.
func undetected() []checker.Root {
	var roots []checker.Root
	for _, p := range profile.All() {
		for _, m := range p.Markers {
			roots = append(roots, checker.Root{Path: m, Profile: p.Name, State: checker.RootMissing})
		}
	}
	return roots
}

// processes lists what runs, with how it is restarted. The certificate that
// kube-apiserver keeps in memory needs no guess where it was seen.
func (s *Surveyor) processes(facts *checker.Facts, profiles []profile.Profile) {
	if s.Options.Proc == "" {
		return
	}
	found, err := process.List(s.Options.Proc)
	if err != nil {
		// The certificates are judged all the same; that the processes are not
		// is said where every place that was not there is named.
		facts.Roots = append(facts.Roots, checker.Root{Path: s.Options.Proc, State: checker.RootMissing})
		return
	}
	loopbackSeen := slices.ContainsFunc(facts.Endpoints, func(e checker.Endpoint) bool {
		return e.Use.Role == "apiserver-loopback" && e.State == checker.EndpointServing
	})
	for i := range found {
		p := &found[i]
		if p.Component == checker.APIServer && loopbackSeen {
			p.MemoryLifetime = 0
		}
		for _, known := range profiles {
			if p.Restart == "" {
				p.Restart = known.Restart[p.Component]
			}
		}
	}
	facts.Processes = found
}
