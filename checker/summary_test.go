package checker_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/checkertest"
)

func TestExitCodes(t *testing.T) {
	p := newPKI(t)
	healthy := files(p.caFile(), file("/pki/a.crt", p.leaf(checkertest.Spec{})))
	expiring := files(p.caFile(), file("/pki/a.crt", p.leaf(checkertest.Spec{NotAfter: now().Add(20 * day)})))
	dying := files(p.caFile(), file("/pki/a.crt", p.leaf(checkertest.Spec{NotAfter: now().Add(2 * day)})))
	expired := files(p.caFile(), file("/pki/a.crt", p.leaf(checkertest.Spec{NotAfter: now().Add(-day)})))
	elsewhere := files(p.caFile(), p.entry("users/a", true, checkertest.Spec{NotAfter: now().Add(-day)}))
	unreadable := func(f checker.Facts) checker.Facts {
		f.Files = append(f.Files[:len(f.Files):len(f.Files)], checker.File{Source: checker.SourceFile, Path: "/n", Named: true, Faults: []checker.Fault{{ID: checker.Unreadable, Detail: "no"}}})
		return f
	}
	unreachable := func(f checker.Facts) checker.Facts {
		f.Endpoints = []checker.Endpoint{{Address: "127.0.0.1:1", State: checker.EndpointUnreachable, Detail: "connection refused"}}
		return f
	}
	for name, c := range map[string]struct {
		facts                                 checker.Facts
		warning, critical, expiredOnly, never int
	}{
		"healthy":                         {healthy, 0, 0, 0, 0},
		"an expiring leaf":                {expiring, 1, 0, 0, 0},
		"a leaf below critical":           {dying, 2, 2, 0, 0},
		"an expired leaf":                 {expired, 2, 2, 2, 0},
		"expired in another context":      {elsewhere, 1, 0, 0, 0},
		"an unreachable endpoint":         {unreachable(healthy), 1, 0, 0, 0},
		"nothing found":                   {checker.Facts{}, 3, 3, 3, 3},
		"a named path that is unreadable": {unreadable(healthy), 3, 3, 3, 3},
		"critical goes before unknown":    {unreadable(expired), 2, 2, 2, 3},
		"unknown goes before warning":     {unreadable(expiring), 3, 3, 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			for on, want := range map[checker.FailOn]int{checker.FailOnWarning: c.warning, checker.FailOnCritical: c.critical, checker.FailOnExpired: c.expiredOnly, checker.FailOnNever: c.never} {
				policy := checker.DefaultPolicy()
				policy.FailOn = on
				if got := checker.Check(c.facts, now(), policy).Summary.ExitCode; got != want {
					t.Errorf("--fail-on %s: exit code %d, want %d", on, got, want)
				}
			}
		})
	}
}

func TestTheWorstComesFirst(t *testing.T) {
	p := newPKI(t)
	names := map[string]checkertest.Spec{
		"fine": {NotAfter: now().Add(450 * day)}, "soon": {NotAfter: now().Add(20 * day)}, "sooner": {NotAfter: now().Add(16 * day)},
		"dead": {NotAfter: now().Add(-day)}, "deader": {NotAfter: now().Add(-9 * day)},
	}
	// What is fine is grouped: leaves go before CAs that end earlier.
	brief := p.issue(checkertest.Spec{CN: "brief", CA: true, NotAfter: now().Add(400 * day)}, nil)
	all := []checker.File{p.caFile(), file("/other/ca.crt", brief)}
	for cn, s := range names {
		s.CN = cn
		all = append(all, file("/pki/"+cn+".crt", p.leaf(s)))
	}
	var got []string
	for _, c := range checker.Check(files(all...), now(), checker.DefaultPolicy()).Certificates {
		got = append(got, c.Subject.CommonName)
	}
	if diff := cmp.Diff([]string{"deader", "dead", "sooner", "soon", "fine", "brief", "kubernetes"}, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestOneCertificateInManyFilesIsOneWithManyLocations(t *testing.T) {
	p := newPKI(t)
	r := checker.Check(files(p.caFile(), file("/a/ca.crt", p.ca), file("/b/ca.crt", p.ca)), now(), checker.DefaultPolicy())
	if len(r.Certificates) != 1 || len(r.Certificates[0].Locations) != 3 {
		t.Fatalf("%d certificates, first with %d locations; want 1 with 3", len(r.Certificates), len(r.Certificates[0].Locations))
	}
	if r.Summary.Certificates != 1 || r.Summary.OK != 1 || r.Summary.Files != 3 {
		t.Errorf("summary %+v", r.Summary)
	}
}

func TestAnEngineSaysTheSameTheSecondTime(t *testing.T) {
	p := newPKI(t)
	facts := files(file("/pki/a.crt", p.leaf(checkertest.Spec{})), file("/pki/ca.crt", p.issue(root("kubernetes"), nil)), file("/old/ca.crt", p.ca))
	engine := checker.NewEngine()
	first := engine.Check(facts, now(), checker.DefaultPolicy())
	if diff := cmp.Diff(first, engine.Check(facts, now(), checker.DefaultPolicy())); diff != "" {
		t.Errorf("second report differs (-first +second):\n%s", diff)
	}
}

func TestAReportSurvivesJSON(t *testing.T) {
	p := newPKI(t)
	before := checker.Check(files(p.caFile(), file("/pki/a.crt", p.leaf(checkertest.Spec{NotAfter: now().Add(-day)}))), now(), checker.DefaultPolicy())
	text, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	var after checker.Report
	if err := json.Unmarshal(text, &after); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}

func TestThePolicyNamesAllItsFaults(t *testing.T) {
	p := checker.DefaultPolicy()
	if err := p.Validate(); err != nil {
		t.Fatalf("the default policy is refused: %v", err)
	}
	p.Leaf, p.FailOn = checker.Thresholds{Warning: day, Critical: 2 * day}, "sometimes"
	p.Ignore = []checker.Ignore{{ID: "expird"}, {ID: checker.Expired, Glob: "["}}
	err := p.Validate()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 4 {
		t.Errorf("want four faults, got: %v", err)
	}
}

func TestDurationsAreForPeople(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 seconds", 12 * time.Second: "12 seconds", time.Minute: "1 minute", 90 * time.Minute: "1 hour",
		36 * time.Hour: "1 day", 400 * day: "400 days", 730 * day: "2 years",
	} {
		if got := checker.HumanDuration(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}
