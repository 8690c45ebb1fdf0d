package checker_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/checker"
)

func TestEveryFileOfAProcessIsListedWithItsVerdict(t *testing.T) {
	start := now()
	at := func(path string, changed time.Time) checker.File {
		return checker.File{Source: checker.SourceFile, Path: path, Changed: changed}
	}
	old, fresh := start.Add(-time.Hour), start.Add(time.Hour)
	orphan := at("/pki/ca.crt", fresh)
	orphan.Orphan = "nobody uses it"
	facts := checker.Facts{
		Files: []checker.File{
			at("/pki/server.crt", fresh), at("/pki/ca.crt", fresh), at("/pki/ca.crt", fresh), at("/pki/peer-ca.crt", old),
			at("/pki/other.crt", fresh), orphan,
		},
		Processes: []checker.Process{{PID: 7, Name: "etcd", Component: checker.Etcd, Start: start, Loaded: []checker.LoadedFile{
			{Path: "/pki/server.crt"}, {Path: "/pki/ca.crt", Trust: true}, {Path: "/pki/peer-ca.crt", Trust: true},
		}}},
	}
	policy := checker.DefaultPolicy()
	want := []checker.Loaded{
		{Process: "etcd", PID: 7, Path: "/pki/ca.crt", RestartSuspected: true},
		{Process: "etcd", PID: 7, Path: "/pki/peer-ca.crt"},
		// etcd reads its own certificate again at each handshake.
		{Process: "etcd", PID: 7, Path: "/pki/server.crt"},
	}
	if diff := cmp.Diff(want, checker.LoadedFiles(facts, policy)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	policy.Ignore = []checker.Ignore{{ID: checker.RestartSuspected, Glob: "/pki/*"}}
	want[0].RestartSuspected = false
	if diff := cmp.Diff(want, checker.LoadedFiles(facts, policy)); diff != "" {
		t.Errorf("ignored (-want +got):\n%s", diff)
	}
}

// TestTheVerdictsAreThoseOfTheFindings keeps the two ways of saying it together.
func TestTheVerdictsAreThoseOfTheFindings(t *testing.T) {
	for name, c := range processCases() {
		t.Run(name, func(t *testing.T) {
			facts := c.facts(newPKI(t))
			want, got := map[string]bool{}, map[string]bool{}
			report := checker.Check(facts, now(), checker.DefaultPolicy())
			for f := range report.All() {
				if f.ID == checker.RestartSuspected {
					want[f.Path] = true
				}
			}
			for _, l := range checker.LoadedFiles(facts, checker.DefaultPolicy()) {
				if l.RestartSuspected {
					got[l.Path] = true
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-findings +pairs):\n%s", diff)
			}
		})
	}
}
