package scan_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/checkertest"
	"github.com/reanchor/reanchor/checker/profile"
	"github.com/reanchor/reanchor/checker/scan"
)

// place is a directory to scan as a root file system.
type place struct {
	t    *testing.T
	root string
	ca   *checkertest.Pair
	*scan.Scanner
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{t: t, root: t.TempDir()}
	p.ca = p.issue("ca", true)
	var err error
	p.Scanner, err = scan.New(scan.Options{Root: p.root, CheckKeys: true, Settle: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *place) issue(cn string, ca bool) *checkertest.Pair {
	p.t.Helper()
	if ca {
		return p.make(checkertest.Spec{CN: cn, CA: true, NotAfter: time.Now().AddDate(9, 0, 0)}, nil)
	}
	return p.issueUntil(cn, time.Now().AddDate(9, 0, 0))
}

// issueUntil makes a leaf.
func (p *place) issueUntil(cn string, ends time.Time) *checkertest.Pair {
	p.t.Helper()
	return p.make(checkertest.Spec{CN: cn, DNS: []string{cn}, NotAfter: ends}, p.ca)
}

func (p *place) make(spec checkertest.Spec, parent *checkertest.Pair) *checkertest.Pair {
	p.t.Helper()
	spec.NotBefore = time.Now().Add(-2 * time.Hour)
	pair, err := checkertest.Issue(spec, parent)
	if err != nil {
		p.t.Fatal(err)
	}
	return pair
}

func (p *place) path(host string) string { return filepath.Join(p.root, host) }

func (p *place) write(host string, data []byte) {
	p.t.Helper()
	if err := os.MkdirAll(filepath.Dir(p.path(host)), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(p.path(host), data, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) cert(host, cn string) *checkertest.Pair {
	p.t.Helper()
	pair := p.issue(cn, false)
	p.write(host, pair.CertPEM())
	return pair
}

func (p *place) link(host, target string) {
	p.t.Helper()
	if err := os.MkdirAll(filepath.Dir(p.path(host)), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Symlink(target, p.path(host)); err != nil {
		p.t.Fatal(err)
	}
}

// look scans, within a deadline so that a hang is a failure.
func (p *place) look(t scan.Targets) scan.Facts {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 20*time.Second)
	defer cancel()
	facts, err := p.Scan(ctx, t)
	if err != nil {
		p.t.Fatal(err)
	}
	return facts
}

// seen are the files of a scan as "path: names, faults".
func seen(f scan.Facts) []string {
	var all []string
	for _, file := range f.Files {
		var parts []string
		for _, c := range file.Certs {
			parts = append(parts, c.Subject.CommonName)
		}
		for _, fault := range file.Faults {
			parts = append(parts, string(fault.ID))
		}
		where := file.Path
		if file.Key != "" {
			where += "#" + file.Key
		}
		all = append(all, where+": "+strings.Join(parts, " "))
	}
	slices.Sort(all)
	return all
}

func paths(all ...string) scan.Targets { return scan.Targets{Paths: all} }

func (p *place) expect(t scan.Targets, want ...string) {
	p.t.Helper()
	if diff := cmp.Diff(want, seen(p.look(t))); diff != "" {
		p.t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSymlinkLoopsEnd(t *testing.T) {
	p := newPlace(t)
	p.cert("/a/b/x.crt", "x")
	p.link("/a/b/up", "..")
	p.link("/a/c/down", "../b")
	p.link("/a/b/cross", "../c")
	p.link("/a/self.crt", "self.crt")
	p.link("/a/one.crt", "two.crt")
	p.link("/a/two.crt", "one.crt")
	p.expect(paths("/a"), "/a/b/x.crt: x", "/a/one.crt: symlink_loop", "/a/self.crt: symlink_loop", "/a/two.crt: symlink_loop")
}

func TestAbsoluteLinksStayInsideTheRoot(t *testing.T) {
	p := newPlace(t)
	p.cert("/var/real/current.crt", "inside")
	p.link("/etc/pki/a.crt", "/var/real/current.crt")
	p.link("/etc/pki/dir", "/var/real")
	p.link("/etc/pki/up.crt", "../../../../../../var/real/current.crt")
	p.expect(paths("/etc/pki"), "/etc/pki/a.crt: inside", "/etc/pki/dir/current.crt: inside", "/etc/pki/up.crt: inside")
	facts := p.look(paths("/etc/pki/a.crt"))
	if got := facts.Files[0].Resolved; got != "/var/real/current.crt" {
		t.Errorf("resolved to %q, want the host's path", got)
	}
}

func TestBrokenLinksSayWhy(t *testing.T) {
	p := newPlace(t)
	p.cert("/etc/pki/ok.crt", "ok")
	p.link("/etc/pki/gone.crt", "missing.crt")
	p.link("/etc/pki/unmounted.crt", "/var/lib/elsewhere/x.crt")
	p.expect(paths("/etc/pki"), "/etc/pki/gone.crt: broken_symlink", "/etc/pki/ok.crt: ok", "/etc/pki/unmounted.crt: out_of_scope_symlink")
}

func TestAProjectedVolumeIsUpToDateAfterOneCycle(t *testing.T) {
	p := newPlace(t)
	p.cert("/v/..2026_01/tls.crt", "old")
	p.link("/v/..data", "..2026_01")
	p.link("/v/tls.crt", "..data/tls.crt")
	p.expect(paths("/v"), "/v/tls.crt: old")
	p.expect(paths("/v"), "/v/tls.crt: old")
	p.cert("/v/..2026_02/tls.crt", "new")
	p.link("/v/..data_tmp", "..2026_02")
	if err := os.Rename(p.path("/v/..data_tmp"), p.path("/v/..data")); err != nil {
		t.Fatal(err)
	}
	p.expect(paths("/v"), "/v/tls.crt: new")
}

func TestAFileRewrittenInPlaceWithItsOldTimesIsReadAgain(t *testing.T) {
	p := newPlace(t)
	p.cert("/v/a.crt", "a")
	before, err := os.Stat(p.path("/v/a.crt"))
	if err != nil {
		t.Fatal(err)
	}
	p.expect(paths("/v"), "/v/a.crt: a")
	p.cert("/v/a.crt", "b")
	// A restored backup: the mtime says that nothing happened.
	if err := os.Chtimes(p.path("/v/a.crt"), before.ModTime(), before.ModTime()); err != nil {
		t.Fatal(err)
	}
	p.expect(paths("/v"), "/v/a.crt: b")
}

func TestWhatIsNoFileIsNotOpened(t *testing.T) {
	p := newPlace(t)
	p.cert("/v/a.crt", "a")
	if err := syscall.Mkfifo(p.path("/v/ca.crt"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.link("/v/linked.crt", "ca.crt")
	p.expect(paths("/v"), "/v/a.crt: a", "/v/ca.crt: not_regular", "/v/linked.crt: not_regular")
	p.expect(paths("/v/ca.crt"), "/v/ca.crt: not_regular")
}

func TestAFileOfFiveGigabytesIsNotRead(t *testing.T) {
	p := newPlace(t)
	p.cert("/v/a.crt", "a")
	p.write("/v/huge.crt", p.ca.CertPEM())
	if err := os.Truncate(p.path("/v/huge.crt"), 5<<30); err != nil {
		t.Fatal(err)
	}
	p.expect(paths("/v"), "/v/a.crt: a", "/v/huge.crt: too_large")
	if got := p.look(paths("/v/huge.crt")).Files[0].Faults[0].Detail; !strings.Contains(got, "5368709120 bytes") {
		t.Errorf("%q does not say how large it is", got)
	}
}

func TestAFileNamedLikeACAMustHoldOne(t *testing.T) {
	p := newPlace(t)
	p.write("/v/ca.crt", p.ca.CertPEM())
	for _, name := range []string{"/v/sub/ca.crt", "/v/client-ca.pem", "/v/rica.crt"} {
		p.cert(name, "leaf")
	}
	var got []string
	report := judge(p.look(paths("/v")))
	for f := range report.All() {
		got = append(got, string(f.ID)+" "+f.Path)
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"ca_flag /v/client-ca.pem", "ca_flag /v/sub/ca.crt"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAFileThatStaysHalfWrittenIsReported(t *testing.T) {
	p := newPlace(t)
	whole := p.issue("whole", false).CertPEM()
	p.write("/v/me.crt", whole[:len(whole)/2])
	p.write("/v/empty.crt", nil)
	p.expect(paths("/v"), "/v/empty.crt: no_certificate", "/v/me.crt: truncated_pem")
	// Once it is whole, nothing of the fault is remembered.
	p.write("/v/me.crt", whole)
	p.expect(paths("/v"), "/v/empty.crt: no_certificate", "/v/me.crt: whole")
}

func TestAVolumeMountedLaterIsSeen(t *testing.T) {
	p := newPlace(t)
	p.cert("/etc/kubernetes/pki/etcd-manager-main/etcd-manager-ca.crt", "ca")
	targets := scan.Targets{Profiles: []profile.Profile{profile.Kops()}}
	required := func() (state checker.RootState, why string) {
		for _, r := range p.look(targets).Roots {
			if strings.HasPrefix(r.Path, "/mnt/master-") {
				return r.State, r.Required
			}
		}
		return "", ""
	}
	if state, why := required(); state != checker.RootMissing || why == "" {
		t.Errorf("before: state %q, required %q; want missing, with a reason", state, why)
	}
	p.cert("/mnt/master-vol-1/pki/"+checkertest.Token+"/peers/me.crt", "me")
	if state, why := required(); state != checker.RootScanned || why != "" {
		t.Errorf("after: state %q, required %q; want scanned", state, why)
	}
}

func TestAVanishedFileIsForgotten(t *testing.T) {
	p := newPlace(t)
	p.cert("/v/a.crt", "a")
	p.cert("/v/b.crt", "b")
	p.expect(paths("/v"), "/v/a.crt: a", "/v/b.crt: b")
	if err := os.Remove(p.path("/v/a.crt")); err != nil {
		t.Fatal(err)
	}
	p.expect(paths("/v"), "/v/b.crt: b")
}

func TestThousandsOfFiles(t *testing.T) {
	p := newPlace(t)
	data := p.issue("same", false).CertPEM()
	for i := range 3000 {
		p.write(fmt.Sprintf("/v/%02d/%04d.crt", i%50, i), data)
	}
	facts := p.look(paths("/v"))
	if len(facts.Files) != 3000 || facts.Roots[0].Files != 3000 {
		t.Fatalf("%d files, root says %d; want 3000", len(facts.Files), facts.Roots[0].Files)
	}
	for _, f := range facts.Files {
		if f.Certs[0] != facts.Files[0].Certs[0] {
			t.Fatal("one certificate is there twice")
		}
	}
}

func TestNamedPaths(t *testing.T) {
	p := newPlace(t)
	p.cert("/v/a.crt", "a")
	p.cert("/v/b.txt", "b")
	p.write("/v/x.conf", []byte("nothing = here\n"))
	p.expect(paths("/v"), "/v/a.crt: a")
	p.expect(paths("/v/b.txt"), "/v/b.txt: b")
	p.expect(paths("/v/*.txt"), "/v/b.txt: b")
	p.expect(paths("/**/*.crt"), "/v/a.crt: a")
	p.expect(paths("/v/missing.crt"), "/v/missing.crt: not_found")
	p.expect(paths("/v/a.crt/below.crt"), "/v/a.crt/below.crt: not_found")
	p.expect(scan.Targets{Paths: []string{"/v"}, Exclude: []string{"/v/a.*"}})
	p.expect(scan.Targets{Paths: []string{"/v"}, Exclude: []string{"**/v"}}, "/v/a.crt: a")
	facts := p.look(scan.Targets{Paths: []string{"/v"}, Require: []string{"/v/*.crt", "/mnt/**/me.crt"}})
	if diff := cmp.Diff([]checker.Requirement{{Pattern: "/v/*.crt", Matches: 1}, {Pattern: "/mnt/**/me.crt"}}, facts.Requirements); diff != "" {
		t.Errorf("requirements (-want +got):\n%s", diff)
	}
	p.cert("/v/c.crt.old", "c")
	if r := p.look(scan.Targets{Paths: []string{"/v"}, Require: []string{"/v/c.*"}}).Requirements[0]; r.Matches != 0 {
		t.Errorf("%d files that nothing uses meet a requirement", r.Matches)
	}
	if facts := p.look(paths("/nowhere/*.crt")); facts.Roots[0].State != checker.RootMissing {
		t.Errorf("a pattern that matches nothing: root %+v, want missing", facts.Roots[0])
	}
}

func TestKubeconfigs(t *testing.T) {
	p := newPlace(t)
	leaf := p.cert("/etc/k/u.crt", "u")
	key, err := leaf.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	p.write("/etc/k/other.key", key)
	p.write("/etc/pki/ca.crt", p.ca.CertPEM())
	config := func(ca, cert, key string) []byte {
		return fmt.Appendf(nil, "clusters: [{name: c, cluster: {certificate-authority: %s}}]\nusers: [{name: u, user: {client-certificate: %s, client-key: %s}}]\n", ca, cert, key)
	}
	p.write("/etc/k/a.conf", config("../pki/ca.crt", "u.crt", "other.key"))
	p.expect(paths("/etc/k/a.conf"), "/etc/k/u.crt: u", "/etc/pki/ca.crt: ca")
	for _, f := range p.look(paths("/etc/k/a.conf")).Files {
		if f.Path == "/etc/k/u.crt" && (f.KeyFile == nil || f.KeyFile.Path != "/etc/k/other.key" || f.KeyFile.Keys[0] != leaf.Checked().SPKI) {
			t.Errorf("key %+v, want the one that the kubeconfig names", f.KeyFile)
		}
	}
	p.write("/etc/k/b.conf", config("gone.crt", "/etc/k/u.crt", "missing.key"))
	p.expect(paths("/etc/k/b.conf"), "/etc/k/b.conf#clusters/c/certificate-authority: kubeconfig_reference_missing", "/etc/k/u.crt: u")
	p.write("/etc/k/c.conf", []byte("current-context: x\nclusters: {"))
	p.expect(paths("/etc/k/c.conf"), "/etc/k/c.conf: kubeconfig_invalid")
	p.expect(scan.Targets{Kubeconfigs: []string{"/etc/k/u.crt"}}, "/etc/k/u.crt: kubeconfig_invalid")
}

func TestWhatTheCurrentContextDoesNotUseIsMarked(t *testing.T) {
	p := newPlace(t)
	for _, name := range []string{"one", "two", "both"} {
		p.cert("/etc/k/"+name+".crt", name)
	}
	config := func(current string) []byte {
		return fmt.Appendf(nil, "current-context: %s\ncontexts: [{name: one, context: {user: one}}, {name: two, context: {user: two}}]\n"+
			"clusters: []\nusers: [{name: one, user: {client-certificate: one.crt}}, {name: two, user: {client-certificate: two.crt}}, {name: three, user: {client-certificate: both.crt}}]\n", current)
	}
	marked := func(want ...string) {
		t.Helper()
		var got []string
		for _, f := range p.look(paths("/etc/k/*.conf")).Files {
			if f.OtherContext {
				got = append(got, f.Path)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("marked (-want +got):\n%s", diff)
		}
	}
	p.write("/etc/k/a.conf", config("one"))
	marked("/etc/k/both.crt", "/etc/k/two.crt")
	// One kubeconfig whose current-context uses the file is enough.
	p.write("/etc/k/b.conf", config("two"))
	marked("/etc/k/both.crt")
	p.write("/etc/k/b.conf", config(`""`))
	marked()
	// An embedded certificate is marked as one that is referred to.
	p.write("/etc/k/b.conf", bytes.ReplaceAll(config("two"), []byte("client-certificate: one.crt"), []byte("client-certificate-data: "+base64.StdEncoding.EncodeToString(p.ca.CertPEM()))))
	marked("/etc/k/b.conf", "/etc/k/both.crt")
}

func TestAnEmbeddedKeyIsCompared(t *testing.T) {
	p := newPlace(t)
	if err := checkertest.Write(p.root, checkertest.Kubeadm, checkertest.Options{Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	for _, f := range p.look(paths("/etc/kubernetes/admin.conf")).Files {
		if strings.HasPrefix(f.Key, "users/") && (len(f.Keys) != 1 || f.Keys[0] != f.Certs[0].SPKI) {
			t.Errorf("keys %v, want that of the certificate", f.Keys)
		}
	}
}

// TestRenewingAKubeconfigDoesNotRenewItsCA: what renews the client certificate
// would be the wrong advice for the CA beside it.
func TestRenewingAKubeconfigDoesNotRenewItsCA(t *testing.T) {
	p := newPlace(t)
	if err := checkertest.Write(p.root, checkertest.Kubeadm, checkertest.Options{Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	targets := scan.Targets{Profiles: []profile.Profile{profile.Kubeadm()}}
	for _, f := range p.look(targets).Files {
		if f.Source == checker.SourceKubeconfig && (f.Use.Renew == "") != f.Certs[0].IsCA {
			t.Errorf("%s %s: remedy %q", f.Path, f.Key, f.Use.Renew)
		}
	}
}

func TestKeysThatAreNotToBeRead(t *testing.T) {
	p := newPlace(t)
	leaf := p.cert("/v/a.crt", "a")
	key, err := leaf.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	p.write("/v/a.key", key)
	p.write("/v/both.pem", append(leaf.CertPEM(), key...))
	without, err := scan.New(scan.Options{Root: p.root})
	if err != nil {
		t.Fatal(err)
	}
	p.Scanner = without
	for _, f := range p.look(paths("/v")).Files {
		if f.KeyFile != nil || f.Keys != nil {
			t.Errorf("%s: keys were looked at", f.Path)
		}
	}
}

func TestOrphansNeedEvidence(t *testing.T) {
	p := newPlace(t)
	const volume = "/mnt/master-vol-1"
	me := volume + "/pki/" + checkertest.Token + "/peers/me.crt"
	p.cert(me, "me")
	orphaned := func() bool { return p.look(paths("/mnt")).Files[0].Orphan != "" }
	if orphaned() {
		t.Error("only pki is visible: nothing is known about data, so the certificate counts")
	}
	p.write(volume+"/data/"+checkertest.OrphanToken+"/x", nil)
	if !orphaned() {
		t.Error("data is visible and does not have the token")
	}
	p.write(volume+"/data/"+checkertest.Token+"/x", nil)
	if orphaned() {
		t.Error("data has the token")
	}
}

// A file's bytes are overwritten after it was decoded, and a certificate in DER
// must not be part of them.
func TestACertificateInDERKeepsItsSignature(t *testing.T) {
	p := newPlace(t)
	p.write("/v/ca.der", p.ca.Cert.Raw)
	p.write("/v/leaf.der", p.issue("leaf", false).Cert.Raw)
	if r := judge(p.look(paths("/v"))); r.Summary.Certificates != 2 || len(r.Summary.Findings) > 0 {
		t.Errorf("%d certificates, findings %v; want 2 and none", r.Summary.Certificates, r.Summary.Findings)
	}
}

// TestAFileOfNoTimeIsNotBlamedOnAClock: images are made reproducible by setting
// all times to 1970.
func TestAFileOfNoTimeIsNotBlamedOnAClock(t *testing.T) {
	p := newPlace(t)
	p.write("/v/ca.crt", p.ca.CertPEM())
	p.cert("/v/a.crt", "a")
	for _, at := range []time.Time{time.Unix(0, 0), time.Now().AddDate(-1, 0, 0)} {
		if err := os.Chtimes(p.path("/v/a.crt"), at, at); err != nil {
			t.Fatal(err)
		}
		if r := judge(p.look(paths("/v"))); r.Summary.Certificates != 2 || len(r.Summary.Findings) > 0 {
			t.Errorf("mtime %s: %d certificates, findings %v; want 2 and none", at, r.Summary.Certificates, r.Summary.Findings)
		}
	}
}
