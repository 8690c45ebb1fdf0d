// Package survey looks at everything once and judges it: the one engine behind
// the command line, the init container and the exporter.
package survey

import (
	"context"
	"fmt"
	"slices"

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
	// Clock says at which time certificates are judged.
	Clock  clock.PassiveClock
	Engine *checker.Engine
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
	facts.Files = append(facts.Files, s.cluster(ctx)...)
	endpoints := slices.Clone(o.Endpoints)
	if !o.NoProbe {
		endpoints = append(endpoints, probe.OnNode(targets.Profiles, facts.Files)...)
	}
	facts.Endpoints = s.Prober.Probe(ctx, endpoints)
	facts.Processes = s.processes(targets.Profiles, facts.Endpoints)
	now := s.Clock.Now()
	return report.New(s.Engine.Check(facts, now, o.Policy), now, o.Policy, o.Origin), nil
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

// cluster reads Secrets and ConfigMaps. A failure is an unreadable place that
// was named, so the exit code says unknown.
func (s *Surveyor) cluster(ctx context.Context) []checker.File {
	if s.Options.Cluster == nil {
		return nil
	}
	files, err := s.Options.Cluster.Read(ctx, s.Options.Cluster.Request)
	if err != nil {
		files = append(files, checker.File{
			Source: checker.SourceSecret, Path: "the cluster", Named: true,
			Faults: []checker.Fault{{ID: checker.Unreadable, Detail: err.Error()}},
		})
	}
	return files
}

// processes lists what runs, with how it is restarted. The certificate that
// kube-apiserver keeps in memory needs no guess where it was seen.
func (s *Surveyor) processes(profiles []profile.Profile, endpoints []checker.Endpoint) []checker.Process {
	if s.Options.Proc == "" {
		return nil
	}
	found, err := process.List(s.Options.Proc)
	if err != nil {
		// Without /proc the comparison with processes is not made; the
		// certificates are judged all the same.
		return nil
	}
	loopbackSeen := slices.ContainsFunc(endpoints, func(e checker.Endpoint) bool {
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
	return found
}
