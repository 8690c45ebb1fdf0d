package scan_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/checkertest"
	"github.com/reanchor/reanchor/checker/profile"
	"github.com/reanchor/reanchor/checker/scan"
)

// key writes a private key for its owner alone.
func (p *place) key(host string, pair *checkertest.Pair) {
	p.t.Helper()
	p.write(host, p.keyPEM(pair))
	if err := os.Chmod(p.path(host), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) keyPEM(pair *checkertest.Pair) []byte {
	p.t.Helper()
	data, err := pair.KeyPEM()
	if err != nil {
		p.t.Fatal(err)
	}
	return data
}

// mismatches are the findings about pairs of certificate and key.
func mismatches(f scan.Facts) []string {
	var all []string
	report := checker.Check(checker.Facts{Files: f.Files}, time.Now(), checker.DefaultPolicy())
	for finding := range report.All() {
		switch finding.ID {
		case checker.KeyMismatch, checker.KeyUnreadable:
			all = append(all, fmt.Sprintf("%s %s %s", finding.Severity, finding.ID, finding.Path))
		}
	}
	return all
}

// TestACertificateIsComparedWithTheKeyThatHasItsName puts the right key and a
// wrong one under every name by which pairs are known.
func TestACertificateIsComparedWithTheKeyThatHasItsName(t *testing.T) {
	for _, names := range [][2]string{
		{"x.crt", "x.key"}, {"tls.crt", "tls.key"}, {"x.cert", "x.key"}, {"x.cer", "x.key"},
		{"x.pem", "x-key.pem"}, {"x.pem", "x.key"}, {"cert.pem", "key.pem"},
	} {
		p := newPlace(t)
		right, wrong := p.cert("/v/"+names[0], "x"), p.issue("y", false)
		p.key("/v/"+names[1], right)
		if f := p.look(paths("/v")); len(f.Files) != 1 || f.Files[0].KeyFile == nil || f.Files[0].KeyFile.Path != "/v/"+names[1] {
			t.Errorf("%v: the key was not found: %+v", names, f.Files)
		} else if got := mismatches(f); len(got) > 0 {
			t.Errorf("%v: %v, want nothing", names, got)
		}
		p.key("/v/"+names[1], wrong)
		if diff := cmp.Diff([]string{"critical key_mismatch /v/" + names[0]}, mismatches(p.look(paths("/v")))); diff != "" {
			t.Errorf("%v with another key (-want +got):\n%s", names, diff)
		}
	}
}

func TestAKeyWithAnotherNameIsNotCompared(t *testing.T) {
	p := newPlace(t)
	p.cert("/v/x.crt", "x")
	p.key("/v/y.key", p.issue("y", false))
	p.key("/v/x-key.pem", p.issue("y", false))
	if got := mismatches(p.look(paths("/v"))); len(got) > 0 {
		t.Errorf("%v, want nothing", got)
	}
}

// TestAKeyThatBelongsToNoCertificateIsJudgedByItsMode: a service account's, for
// one, or that of a certificate that was deleted.
func TestAKeyThatBelongsToNoCertificateIsJudgedByItsMode(t *testing.T) {
	const root = "/srv/kubernetes/"
	p := newPlace(t)
	for name, mode := range map[string]os.FileMode{"x.key": 0o640, "kube-apiserver/service-account.key": 0o644, "fine.key": 0o600} {
		p.key(root+name, p.issue("x", false))
		if err := os.Chmod(p.path(root+name), mode); err != nil {
			t.Fatal(err)
		}
	}
	p.cert(root+"x.crt", "x")
	p.write(root+"readme.key", []byte("no key at all"))
	p.write(root+"empty.key", nil)
	p.key(root+"old.bak/left.key", p.issue("x", false))
	loose := func(f scan.Facts) []string {
		var all []string
		report := checker.Check(checker.Facts{Files: f.Files}, time.Now(), checker.DefaultPolicy())
		for finding := range report.All() {
			if strings.HasSuffix(finding.Path, ".key") {
				all = append(all, string(finding.ID)+" "+finding.Path)
			}
		}
		slices.Sort(all)
		return all
	}
	want := []string{"key_permissions " + root + "kube-apiserver/service-account.key", "key_permissions " + root + "x.key"}
	for name, targets := range map[string]scan.Targets{"a profile": {Profiles: []profile.Profile{profile.Kops()}}, "a directory": paths(root)} {
		if diff := cmp.Diff(want, loose(p.look(targets))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	// Keys that are not to be compared are not opened either.
	var err error
	if p.Scanner, err = scan.New(scan.Options{Root: p.root}); err != nil {
		t.Fatal(err)
	}
	for _, f := range p.look(paths(root)).Files {
		if strings.HasSuffix(f.Path, ".key") {
			t.Errorf("%s was looked at", f.Path)
		}
	}
}

func TestAnEncryptedKeyIsToldOnce(t *testing.T) {
	p := newPlace(t)
	p.cert("/v/x.pem", "x")
	p.write("/v/x-key.pem", []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"))
	report := checker.Check(checker.Facts{Files: p.look(paths("/v")).Files}, time.Now(), checker.DefaultPolicy())
	if n := report.Summary.Findings[checker.EncryptedKey]; n != 1 {
		t.Errorf("%d findings, want 1", n)
	}
}

func TestAKeyFileWithoutAKeyIsTold(t *testing.T) {
	p := newPlace(t)
	pair := p.cert("/v/x.crt", "x")
	p.write("/v/x.key", pair.CertPEM())
	if diff := cmp.Diff([]string{"info key_unreadable /v/x.key"}, mismatches(p.look(paths("/v")))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAKeyInTheCertificatesOwnFileIsCompared(t *testing.T) {
	p := newPlace(t)
	right, wrong := p.issue("x", false), p.issue("y", false)
	for pair, want := range map[*checkertest.Pair][]string{right: nil, wrong: {"critical key_mismatch /v/both.pem"}} {
		p.write("/v/both.pem", append(right.CertPEM(), p.keyPEM(pair)...))
		if diff := cmp.Diff(want, mismatches(p.look(paths("/v")))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestTheKeyOfAKubeconfigIsCompared(t *testing.T) {
	p := newPlace(t)
	right, wrong := p.cert("/k/x.crt", "x"), p.issue("y", false)
	encode := base64.StdEncoding.EncodeToString
	for name, c := range map[string]struct{ user, where string }{
		"embedded": {
			user:  "{client-certificate-data: " + encode(right.CertPEM()) + ", client-key-data: %s}",
			where: "/k/a.conf#users/u/client-certificate-data",
		},
		"referenced": {user: "{client-certificate: x.crt, client-key: secret.key}", where: "/k/x.crt"},
	} {
		for pair, want := range map[*checkertest.Pair][]string{right: nil, wrong: {"critical key_mismatch " + c.where}} {
			user := c.user
			if name == "embedded" {
				user = fmt.Sprintf(user, encode(p.keyPEM(pair)))
			}
			p.key("/k/secret.key", pair)
			p.write("/k/a.conf", []byte("clusters: []\nusers: [{name: u, user: "+user+"}]\n"))
			if diff := cmp.Diff(want, mismatches(p.look(scan.Targets{Kubeconfigs: []string{"/k/a.conf"}}))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	}
}
