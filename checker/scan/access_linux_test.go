package scan_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/checkertest"
	"github.com/reanchor/reanchor/checker/profile"
	"github.com/reanchor/reanchor/checker/scan"
)

// asNobody scans without root's right to read everything.
func (p *place) asNobody(targets scan.Targets) scan.Facts {
	p.t.Helper()
	if os.Geteuid() != 0 {
		return p.look(targets)
	}
	// The directory that t.TempDir makes its own in is for root alone.
	if err := os.Chmod(filepath.Dir(p.root), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := syscall.Setresuid(-1, 65534, -1); err != nil {
		p.t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setresuid(-1, 0, -1); err != nil {
			p.t.Fatal(err)
		}
	}()
	return p.look(targets)
}

func (p *place) forbid(hosts ...string) {
	p.t.Helper()
	for _, host := range hosts {
		if err := os.Chmod(p.path(host), 0); err != nil {
			p.t.Fatal(err)
		}
		// So that the directory can be removed by the same user.
		p.t.Cleanup(func() { os.Chmod(p.path(host), 0o700) })
	}
}

func TestWhatMayNotBeReadIsToldAndTheRestIsRead(t *testing.T) {
	p := newPlace(t)
	pair := p.cert("/v/a.crt", "a")
	p.key("/v/a.key", pair)
	p.cert("/v/b.crt", "b")
	p.cert("/v/secret.crt", "x")
	p.cert("/v/closed/c.crt", "x")
	p.write("/v/admin.conf", []byte("clusters: []\nusers: [{name: u, user: {client-certificate: a.crt}}]\n"))
	p.write("/v/old.crt.bak", pair.CertPEM())
	p.forbid("/v/a.key", "/v/secret.crt", "/v/closed", "/v/admin.conf", "/v/old.crt.bak")

	facts := p.asNobody(paths("/v"))
	want := []string{"/v/a.crt: a", "/v/admin.conf: unreadable", "/v/b.crt: b", "/v/closed: unreadable", "/v/old.crt.bak: unreadable", "/v/secret.crt: unreadable"}
	if diff := cmp.Diff(want, seen(facts)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	report := judge(facts)
	count := map[checker.RuleID]int{checker.Unreadable: 3, checker.KeyUnreadable: 1, checker.Orphaned: 1, checker.ChainUnknownIssuer: 2}
	if diff := cmp.Diff(count, report.Summary.Findings); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	if report.Summary.ExitCode != 1 {
		t.Errorf("exit code %d, want a warning", report.Summary.ExitCode)
	}
	named := p.asNobody(paths("/v/secret.crt", "/v/b.crt"))
	if r := judge(named); r.Summary.ExitCode != 3 || r.Summary.Certificates != 1 {
		t.Errorf("a named file that may not be read: exit code %d, %d certificates; want unknown and the other one read", r.Summary.ExitCode, r.Summary.Certificates)
	}
}

func TestARootThatMayNotBeReadIsToldOnce(t *testing.T) {
	p := newPlace(t)
	p.cert("/srv/kubernetes/server.crt", "a")
	p.cert("/mnt/master-vol-1/pki/"+checkertest.Token+"/peers/me.crt", "me")
	p.cert("/etc/kubernetes/kops-controller/kops-controller.crt", "k")
	p.forbid("/srv/kubernetes", "/mnt")
	facts := p.asNobody(scan.Targets{Profiles: []profile.Profile{profile.Kops()}})
	var states []string
	for _, r := range facts.Roots {
		if r.State != checker.RootMissing {
			states = append(states, r.Path+" "+string(r.State))
		}
	}
	want := []string{"/mnt unreadable", "/mnt/disks unreadable", "/srv/kubernetes unreadable", "/etc/kubernetes/kops-controller scanned"}
	if diff := cmp.Diff(want, states); diff != "" {
		t.Errorf("roots (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/etc/kubernetes/kops-controller/kops-controller.crt: k"}, seen(facts)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// TestAFileThatGrowsIsReadNoFurtherThanTheLimit: what the kernel serves from
// /proc has the size 0, as a file that grows after the stat has one too small.
func TestAFileThatGrowsIsReadNoFurtherThanTheLimit(t *testing.T) {
	s, err := scan.New(scan.Options{MaxFileSize: 10})
	if err != nil {
		t.Fatal(err)
	}
	p := &place{t: t, Scanner: s}
	p.expect(paths("/proc/self/status"), "/proc/self/status: too_large")
}

func TestAClosedDataDirectoryIsNoEvidence(t *testing.T) {
	p := newPlace(t)
	p.cert("/mnt/master-vol-1/pki/"+checkertest.Token+"/peers/me.crt", "me")
	p.write("/mnt/master-vol-1/data/"+checkertest.OrphanToken+"/x", nil)
	p.forbid("/mnt/master-vol-1/data")
	if got := orphans(p.asNobody(paths("/mnt"))); len(got) > 0 {
		t.Errorf("orphans %v, want none: nobody knows what is below data", got)
	}
}
