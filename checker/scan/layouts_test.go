package scan_test

import (
	"fmt"
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

// layout scans a generated node with the profiles that it is recognised as.
func layout(t *testing.T, l checkertest.Layout, o checkertest.Options) (scan.Facts, []string) {
	t.Helper()
	p := newPlace(t)
	o.Now = time.Now()
	if err := checkertest.Write(p.root, l, o); err != nil {
		t.Fatal(err)
	}
	profiles := p.Detect(profile.All())
	var names []string
	for _, found := range profiles {
		names = append(names, found.Name)
	}
	return p.look(scan.Targets{Profiles: profiles}), names
}

func TestEveryLayoutIsRecognisedAndHealthy(t *testing.T) {
	for l, want := range map[checkertest.Layout]string{
		checkertest.Kubeadm: "kubeadm", checkertest.Kops118: "kops", checkertest.Kops121: "kops",
		checkertest.Kops130: "kops", checkertest.K3s: "k3s", checkertest.RKE2: "rke2",
	} {
		t.Run(string(l), func(t *testing.T) {
			facts, names := layout(t, l, checkertest.Options{})
			if diff := cmp.Diff([]string{want}, names); diff != "" {
				t.Errorf("profiles (-want +got):\n%s", diff)
			}
			report := checker.Check(checker.Facts{Files: facts.Files, Roots: facts.Roots}, time.Now(), checker.DefaultPolicy())
			for f := range report.All() {
				if f.ID != checker.Orphaned {
					t.Errorf("a healthy node has %s %s at %s: %s", f.Severity, f.ID, f.Path, f.Message)
				}
			}
			for _, f := range facts.Files {
				if f.Orphan != "" {
					continue
				}
				if f.Use.Role == "" && f.Source == checker.SourceFile {
					t.Errorf("%s has no role", f.Path)
				}
				if len(f.Certs) > 0 && !f.Certs[0].IsCA && f.Use.Renew == "" {
					t.Errorf("%s has no instruction for renewing it", f.Path)
				}
			}
		})
	}
}

// TestRoles pins what the facts say about each layout, by path.
func TestRoles(t *testing.T) {
	const volume = checkertest.MainVolume + "/pki/" + checkertest.Token
	for l, want := range map[checkertest.Layout][]string{
		checkertest.Kops130: {
			volume + "/clients/server.crt etcd-server main",
			volume + "/peers/me.crt etcd-peer main",
			"/mnt/master-vol-0f9e8d7c6b5a43210/pki/" + checkertest.Token + "/clients/server.crt etcd-server events",
			"/etc/kubernetes/pki/etcd-manager-main/etcd-manager-server-etcd-a.crt etcd-manager-server main",
			"/srv/kubernetes/kube-apiserver/server.crt apiserver ",
			"/srv/kubernetes/kube-apiserver/etcd-client.crt apiserver-etcd-client ",
			"/srv/kubernetes/kubelet-server.crt kubelet-server ",
			"/etc/kubernetes/kops-controller/kops-controller.crt kops-controller ",
		},
		checkertest.Kops118: {
			"/srv/kubernetes/server.cert apiserver ",
			"/srv/kubernetes/kubelet-api.pem apiserver-kubelet-client ",
			"/etc/kubernetes/pki/kube-apiserver/etcd-client.crt apiserver-etcd-client ",
		},
		checkertest.Kubeadm: {
			"/etc/kubernetes/pki/etcd/peer.crt etcd-peer ",
			"/etc/kubernetes/pki/apiserver.crt apiserver ",
			"/var/lib/kubelet/pki/kubelet-client-current.pem kubelet-client ",
			"/etc/kubernetes/admin.conf admin-kubeconfig ",
		},
		checkertest.RKE2: {
			"/var/lib/rancher/rke2/server/tls/etcd/server-client.crt etcd-server ",
			"/var/lib/rancher/rke2/agent/serving-kubelet.crt kubelet-server ",
		},
	} {
		t.Run(string(l), func(t *testing.T) {
			facts, _ := layout(t, l, checkertest.Options{})
			var got []string
			for _, f := range facts.Files {
				got = append(got, fmt.Sprintf("%s %s %s", f.Path, f.Use.Role, f.Use.Instance))
			}
			for _, w := range want {
				if !slices.Contains(got, w) {
					t.Errorf("missing %q in:\n%s", w, strings.Join(got, "\n"))
				}
			}
		})
	}
}

func TestTheIncident(t *testing.T) {
	facts, _ := layout(t, checkertest.Kops118, checkertest.Options{Incident: true})
	report := checker.Check(checker.Facts{Files: facts.Files, Roots: facts.Roots}, time.Now(), checker.DefaultPolicy())
	if report.Summary.ExitCode != 2 {
		t.Errorf("exit code %d, want 2", report.Summary.ExitCode)
	}
	const volume = checkertest.MainVolume + "/pki/"
	want := map[string]bool{volume + checkertest.Token + "/clients/server.crt": true, volume + checkertest.Token + "/peers/me.crt": true}
	for _, c := range report.Certificates[:2] {
		where := c.Locations[0].Path
		if !want[where] {
			t.Errorf("%s is among the first two", where)
		}
		delete(want, where)
		if f := c.Findings[0]; f.ID != checker.Expired || !strings.HasPrefix(f.Remedy, "restart etcd-manager-main on this node, one node at a time") {
			t.Errorf("%s: %s with the remedy %q", where, f.ID, f.Remedy)
		}
	}
	for _, c := range report.Certificates[2:] {
		if c.Status >= checker.Warning {
			t.Errorf("%s is %s; only the two leaves are wrong", c.Locations[0].Path, c.Status)
		}
	}
	if report.Summary.Orphaned != 2 || report.Summary.Findings[checker.Orphaned] != 2 {
		t.Errorf("%d orphaned certificates, %d findings; want the two leaves of the old token", report.Summary.Orphaned, report.Summary.Findings[checker.Orphaned])
	}
}

// TestProfilesAreWellFormed: a typing error in a pattern or a port would
// otherwise only be found on a node of that kind.
func TestProfilesAreWellFormed(t *testing.T) {
	for _, p := range profile.All() {
		for _, r := range p.Roots {
			for _, f := range r.Files {
				if f.Use.Profile != p.Name {
					t.Errorf("%s: %s below %s belongs to profile %q", p.Name, f.Glob, r.Path, f.Use.Profile)
				}
			}
		}
		roles := map[checker.Role]bool{}
		for _, r := range p.Roots {
			for _, f := range r.Files {
				roles[f.Role] = true
			}
		}
		for _, s := range p.Servers {
			for _, role := range slices.Concat(s.Loads, s.Beside) {
				if !roles[role] {
					t.Errorf("%s: the server on port %d needs role %q, which no file has", p.Name, s.Port, role)
				}
			}
			if s.Use.Restart == "" && s.Use.Component != "" {
				t.Errorf("%s: nothing says how %s on port %d is restarted", p.Name, s.Use.Component, s.Port)
			}
		}
	}
}

func TestANamedFileHasTheRoleThatItsNodeGivesIt(t *testing.T) {
	p := newPlace(t)
	if err := checkertest.Write(p.root, checkertest.Kops130, checkertest.Options{Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	const me = checkertest.MainVolume + "/pki/" + checkertest.Token + "/peers/me.crt"
	f := p.look(paths(me)).Files[0]
	if f.Use.Role != "etcd-peer" || f.Use.Instance != "main" || !strings.HasPrefix(f.Use.Renew, "restart etcd-manager") {
		t.Errorf("use %+v", f.Use)
	}
	p.cert("/home/me/me.crt", "x")
	if f := p.look(paths("/home/me/me.crt")).Files[0]; f.Use != (checker.Use{}) {
		t.Errorf("a file of no profile: use %+v", f.Use)
	}
}
