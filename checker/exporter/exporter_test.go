package exporter_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/checkertest"
	"github.com/reanchor/reanchor/checker/exporter"
	"github.com/reanchor/reanchor/checker/report"
)

const day = 24 * time.Hour

func now() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

func issue(t *testing.T, cn string, ends time.Duration) *checkertest.Pair {
	t.Helper()
	p, err := checkertest.Issue(checkertest.Spec{CN: cn, CA: true, NotBefore: now().Add(-3000 * day), NotAfter: now().Add(ends)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func file(path string, p *checkertest.Pair) checker.File {
	return checker.File{Source: checker.SourceFile, Path: path, Certs: []*checker.Cert{p.Checked()}}
}

func snapshot(facts checker.Facts) *exporter.Snapshot {
	policy := checker.DefaultPolicy()
	return &exporter.Snapshot{
		Document: report.New(checker.Check(facts, now(), policy), now(), policy, report.Origin{Node: "n"}),
		Finished: now(), Took: 1500 * time.Millisecond,
	}
}

func text(t *testing.T, c *exporter.Collector) string {
	t.Helper()
	var b strings.Builder
	if err := exporter.Text(&b, c); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestALeftoverIsACertificateWhereLeftoversAreJudged: with --include-orphaned.
func TestALeftoverIsACertificateWhereLeftoversAreJudged(t *testing.T) {
	orphan := file("/old.crt", issue(t, "old", -day))
	orphan.Orphan = "gone"
	for _, include := range []bool{false, true} {
		policy := checker.DefaultPolicy()
		policy.IncludeOrphaned = include
		facts := checker.Facts{Files: []checker.File{orphan}}
		c := exporter.NewCollector("v", true)
		c.Publish(&exporter.Snapshot{Document: report.New(checker.Check(facts, now(), policy), now(), policy, report.Origin{})})
		got := text(t, c)
		for _, series := range []string{"reanchor_cert_not_after_timestamp_seconds{", "x509_cert_not_after{"} {
			if strings.Contains(got, series) != include {
				t.Errorf("%s is there: %t, with leftovers judged: %t", series, !include, include)
			}
		}
	}
}

// oneOfEverything is a survey with a certificate that is fine and one that has
// expired, and with everything that has a metric of its own.
func oneOfEverything(t *testing.T, fine, dead *checkertest.Pair) *exporter.Snapshot {
	t.Helper()
	orphan := file("/old.crt", issue(t, "old", -day))
	orphan.Orphan = "gone"
	// Names in certificates may be any bytes, Prometheus takes UTF-8 alone.
	strange := file("/b.crt", dead)
	strange.Certs[0].Subject.CommonName = "dead\xff"
	user := file("/admin.conf", fine)
	user.Source, user.Key = checker.SourceKubeconfig, "clusters/prod/certificate-authority-data"
	secret := file("ns/name", fine)
	secret.Source, secret.Key = checker.SourceSecret, "ca.crt"
	all := snapshot(checker.Facts{
		Files: []checker.File{file("/a.crt", fine), strange, orphan, user, secret, {Path: "/broken.crt", Source: checker.SourceFile, Faults: []checker.Fault{{ID: checker.TruncatedPEM, Detail: "x"}}}},
		Endpoints: []checker.Endpoint{
			{Address: "127.0.0.1:1", State: checker.EndpointServing, Chain: []*checker.Cert{dead.Checked()}, ExpectPaths: []string{"/a.crt"}},
			// The same again, as by a profile and by hand: one series, no error.
			{Address: "127.0.0.1:1", State: checker.EndpointServing, Chain: []*checker.Cert{dead.Checked()}, ExpectPaths: []string{"/a.crt"}},
			{Address: "127.0.0.1:2", State: checker.EndpointUnreachable, Detail: "refused"},
		},
		Roots: []checker.Root{{Path: "/pki", Profile: "kops", State: checker.RootScanned}, {Path: "/mnt", State: checker.RootMissing}},
	})
	all.Processes = []checker.Loaded{
		{Process: "etcd", PID: 1, Path: "/a.crt"}, {Process: "etcd", PID: 1, Path: "/b.crt", RestartSuspected: true},
		// Another etcd started later: the first is stale all the same.
		{Process: "etcd", PID: 2, Path: "/b.crt"},
	}
	return all
}

func TestWhatIsExported(t *testing.T) {
	fine, dead := issue(t, "fine", 3000*day), issue(t, "dead", -day)
	c := exporter.NewCollector("v1", true)
	c.Publish(oneOfEverything(t, fine, dead))
	got := text(t, c)
	for _, want := range []string{
		fmt.Sprintf(`reanchor_cert_not_after_timestamp_seconds{index="0",is_ca="true",issuer_cn="fine",key="",path="/a.crt",profile="",role="",serial="%x",source="file",subject_cn="fine"} %s`, fine.Cert.SerialNumber, exponent(fine.Cert.NotAfter)),
		`reanchor_cert_finding{finding="expired",path="/b.crt",severity="critical",subject_cn="dead` + "\uFFFD" + `"} 1`,
		`reanchor_cert_finding{finding="truncated_pem",path="/broken.crt",severity="warning",subject_cn=""} 1`,
		`reanchor_cert_finding{finding="orphaned",path="/old.crt",severity="info",subject_cn="old"} 1`,
		`reanchor_findings{finding="expired"} 1`,
		`reanchor_findings{finding="chain_bad_signature"} 0`,
		`reanchor_endpoint_up{address="127.0.0.1:1",role="",server_name=""} 1`,
		`reanchor_endpoint_up{address="127.0.0.1:2",role="",server_name=""} 0`,
		`reanchor_endpoint_matches_disk{address="127.0.0.1:1",role="",server_name=""} 0`,
		`reanchor_process_restart_suspected{path="/a.crt",process="etcd"} 0`,
		`reanchor_process_restart_suspected{path="/b.crt",process="etcd"} 1`,
		`reanchor_scan_root_up{profile="kops",root="/pki"} 1`,
		`reanchor_scan_root_up{profile="",root="/mnt"} 0`,
		`reanchor_scan_errors_total{reason="truncated_pem"} 1`,
		`reanchor_scan_errors_total{reason="unreadable"} 0`,
		`reanchor_scan_certificates 3`,
		`reanchor_scan_duration_seconds 1.5`,
		fmt.Sprintf(`reanchor_last_scan_timestamp_seconds %s`, exponent(now())),
		`reanchor_check_build_info{version="v1"} 1`,
		`x509_cert_expired{configmap_key="",configmap_name="",configmap_namespace="",embedded_key="",embedded_kind="",filename="b.crt",filepath="/b.crt"`,
		`embedded_key="prod",embedded_kind="cluster",filename="admin.conf",filepath="/admin.conf"`,
		fmt.Sprintf(`secret_key="ca.crt",secret_name="name",secret_namespace="ns",serial_number="%d"`, fine.Cert.SerialNumber),
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %s", want)
		}
	}
	for _, unwanted := range []string{`reanchor_endpoint_matches_disk{address="127.0.0.1:2"`, `reanchor_cert_not_after_timestamp_seconds{index="0",is_ca="true",issuer_cn="old"`} {
		if strings.Contains(got, unwanted) {
			t.Errorf("there is %s", unwanted)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

// exponent is how Prometheus writes a time.
func exponent(at time.Time) string { return fmt.Sprintf("%g", float64(at.Unix())) }

func TestCompatibilityIsOptIn(t *testing.T) {
	c := exporter.NewCollector("v1", false)
	c.Publish(snapshot(checker.Facts{Files: []checker.File{file("/a.crt", issue(t, "a", day))}}))
	if strings.Contains(text(t, c), "x509_") {
		t.Error("x509_* although nobody asked")
	}
}

func TestErrorsAreCountedOverSurveys(t *testing.T) {
	c := exporter.NewCollector("v1", false)
	broken := checker.Facts{Files: []checker.File{{Path: "/x", Source: checker.SourceFile, Faults: []checker.Fault{{ID: checker.Unreadable, Detail: "no"}}}}}
	c.Publish(snapshot(broken))
	c.Publish(snapshot(broken))
	c.Publish(snapshot(checker.Facts{}))
	if got := text(t, c); !strings.Contains(got, `reanchor_scan_errors_total{reason="unreadable"} 2`) {
		t.Errorf("want 2 after two broken surveys:\n%s", got)
	}
}

func TestTheTextFileIsWholeOrNotThere(t *testing.T) {
	dir := t.TempDir()
	c := exporter.NewCollector("v1", false)
	c.Publish(snapshot(checker.Facts{}))
	target := filepath.Join(dir, "reanchor.prom")
	if err := exporter.TextFile(target, c); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(target)
	if err != nil || string(got) != text(t, c) {
		t.Errorf("error %v, %d bytes", err, len(got))
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("%d files remain, want 1", len(names))
	}
	if err := exporter.TextFile(filepath.Join(dir, "missing", "x.prom"), c); err == nil {
		t.Error("a directory that does not exist is no error")
	}
}

// daemon is a running exporter.
type daemon struct {
	url     string
	surveys atomic.Int32
	asked   atomic.Int32
	failed  atomic.Int32
	cancel  context.CancelFunc
	done    chan error
}

func serve(t *testing.T, c clock.PassiveClock, interval time.Duration, rescan chan struct{}, survey func(n int32) (*report.Document, error)) *daemon {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	d := &daemon{url: "http://" + l.Addr().String(), cancel: cancel, done: make(chan error, 1)}
	e := exporter.Exporter{
		Collector: exporter.NewCollector("v1", false), Interval: interval, Rescan: rescan, Clock: c,
		Survey: func(_ context.Context, asked bool) (*report.Document, error) {
			if asked {
				d.asked.Add(1)
			}
			return survey(d.surveys.Add(1))
		},
		Observe: func(_ *exporter.Snapshot, err error) {
			if err != nil {
				d.failed.Add(1)
			}
		},
	}
	go func() { d.done <- e.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		<-d.done
	})
	return d
}

func (d *daemon) get(t *testing.T, path string) (int, string) {
	t.Helper()
	response, err := http.Get(d.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

func TestTheDaemonSurveysAgainAndOnDemand(t *testing.T) {
	rescan := make(chan struct{})
	d := serve(t, clock.RealClock{}, time.Hour, rescan, func(n int32) (*report.Document, error) {
		return snapshot(checker.Facts{Roots: []checker.Root{{Path: fmt.Sprintf("/survey-%d", n), State: checker.RootScanned}}}).Document, nil
	})
	eventually(t, "ready", func() bool { code, _ := d.get(t, "/readyz"); return code == http.StatusOK })
	if d.asked.Load() != 0 {
		t.Error("nobody asked for the first survey")
	}
	rescan <- struct{}{}
	eventually(t, "the second survey is published", func() bool {
		_, body := d.get(t, "/metrics")
		return strings.Contains(body, "/survey-2") && !strings.Contains(body, "/survey-1")
	})
	if d.asked.Load() != 1 {
		t.Error("the survey does not know that it was asked for")
	}
}

func TestTheDaemonSurveysAtIntervals(t *testing.T) {
	d := serve(t, clock.RealClock{}, time.Millisecond, nil, func(int32) (*report.Document, error) {
		return snapshot(checker.Facts{}).Document, nil
	})
	eventually(t, "five surveys", func() bool { return d.surveys.Load() >= 5 })
	if n := d.asked.Load(); n != 0 {
		t.Errorf("%d surveys were asked for, by nobody", n)
	}
}

func TestItIsNotReadyBeforeTheFirstSurveyButAlive(t *testing.T) {
	hold := make(chan struct{})
	d := serve(t, clock.RealClock{}, time.Hour, nil, func(int32) (*report.Document, error) {
		<-hold
		return snapshot(checker.Facts{}).Document, nil
	})
	if code, _ := d.get(t, "/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("readyz %d before the first survey", code)
	}
	if code, _ := d.get(t, "/healthz"); code != http.StatusOK {
		t.Errorf("healthz %d while the first survey runs", code)
	}
	if _, body := d.get(t, "/metrics"); !strings.Contains(body, "reanchor_check_build_info") {
		t.Error("no metrics before the first survey")
	}
	close(hold)
	eventually(t, "ready", func() bool { code, _ := d.get(t, "/readyz"); return code == http.StatusOK })
}

func TestItIsUnhealthyWhenSurveysNoLongerEnd(t *testing.T) {
	fake := clocktesting.NewFakeClock(now())
	hold := make(chan struct{})
	rescan := make(chan struct{}, 1)
	d := serve(t, fake, time.Hour, rescan, func(n int32) (*report.Document, error) {
		if n > 1 {
			<-hold
		}
		return snapshot(checker.Facts{}).Document, nil
	})
	// After serve, so that it runs before the daemon is waited for.
	t.Cleanup(func() { close(hold) })
	eventually(t, "ready", func() bool { code, _ := d.get(t, "/readyz"); return code == http.StatusOK })
	rescan <- struct{}{}
	eventually(t, "the second survey began", func() bool { return d.surveys.Load() == 2 })
	if code, _ := d.get(t, "/healthz"); code != http.StatusOK {
		t.Errorf("healthz %d at once", code)
	}
	fake.Step(4 * time.Hour)
	if code, body := d.get(t, "/healthz"); code != http.StatusServiceUnavailable {
		t.Errorf("healthz %d after four hours: %s", code, body)
	}
}

func TestTheDaemonEndsWithItsContext(t *testing.T) {
	d := serve(t, clock.RealClock{}, time.Hour, nil, func(int32) (*report.Document, error) { return snapshot(checker.Facts{}).Document, nil })
	eventually(t, "ready", func() bool { code, _ := d.get(t, "/readyz"); return code == http.StatusOK })
	d.cancel()
	err := <-d.done
	if err != nil {
		t.Errorf("a context that ended is no error: %v", err)
	}
	d.done <- nil
}

func TestASurveyThatFailsLeavesTheLastOne(t *testing.T) {
	d := serve(t, clock.RealClock{}, time.Millisecond, nil, func(n int32) (*report.Document, error) {
		if n > 1 {
			return nil, context.DeadlineExceeded
		}
		return snapshot(checker.Facts{Roots: []checker.Root{{Path: "/first", State: checker.RootScanned}}}).Document, nil
	})
	eventually(t, "three failures", func() bool { return d.failed.Load() >= 3 })
	if _, body := d.get(t, "/metrics"); !strings.Contains(body, `root="/first"} 1`) {
		t.Error("the first survey is gone")
	}
}
