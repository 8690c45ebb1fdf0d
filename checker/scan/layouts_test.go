package scan_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
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
				// kubelet keeps its certificate and the key in one file.
				known := f.ID == checker.Orphaned || f.ID == checker.PrivateKeyInBundle && strings.HasPrefix(f.Path, "/var/lib/kubelet/pki/kubelet-client-")
				if !known || f.Severity > checker.Info {
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
			"/mnt/master-vol-0b2c3d4e5f6071829/pki/" + checkertest.Token + "/clients/server.crt etcd-server cilium",
			"/mnt/master-vol-0b2c3d4e5f6071829/pki/" + checkertest.Token + "/peers/me.crt etcd-peer cilium",
			"/mnt/master-vol-0d4e5f60718293a4b/pki/" + checkertest.Token + "/clients/server.crt etcd-server leases",
			"/mnt/master-vol-0d4e5f60718293a4b/pki/" + checkertest.Token + "/peers/me.crt etcd-peer leases",
			"/etc/kubernetes/pki/etcd-manager-cilium/etcd-manager-server-etcd-cilium-a.crt etcd-manager-server cilium",
			"/etc/kubernetes/pki/etcd-manager-leases/etcd-manager-client-etcd-leases-a.crt etcd-manager-client leases",
			"/etc/kubernetes/pki/cilium/etcd-client-cilium.crt cilium-etcd-client ",
			"/srv/kubernetes/kube-controller-manager/server.crt controller-manager-server ",
			"/srv/kubernetes/kube-controller-manager/ca.crt ca ",
			"/srv/kubernetes/kube-scheduler/server.crt scheduler-server ",
			"/srv/kubernetes/aws-iam-authenticator/cert.pem aws-iam-authenticator ",
			"/etc/kubernetes/kube-apiserver-healthcheck/secrets/client.crt healthcheck-client ",
			"/var/lib/kube-proxy/kubeconfig kubeconfig ",
		},
		checkertest.Kops121: {
			"/srv/kubernetes/server.crt apiserver ",
			"/srv/kubernetes/kubelet-api.crt apiserver-kubelet-client ",
			"/srv/kubernetes/apiserver-aggregator.crt front-proxy-client ",
			"/etc/kubernetes/pki/kube-apiserver/etcd-client.crt apiserver-etcd-client ",
		},
		checkertest.Kops118: {
			"/srv/kubernetes/proxy-client.cert front-proxy-client ",
			"/srv/kubernetes/apiserver-aggregator.cert front-proxy-client ",
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
			"/var/lib/rancher/rke2/server/tls/kube-scheduler/kube-scheduler.crt scheduler-server ",
			"/var/lib/rancher/rke2/server/tls/client-ca.nochain.crt ca ",
			"/var/lib/rancher/rke2/server/tls/client-rke2-cloud-controller.crt client ",
			"/etc/rancher/rke2/rke2.yaml admin-kubeconfig ",
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

// TestWhatIsLeftBehindIsToldInEveryLayout lists the orphans of each node, and
// plants copies of an expired certificate in every directory that holds one.
func TestWhatIsLeftBehindIsToldInEveryLayout(t *testing.T) {
	const kubelet, volume = "/var/lib/kubelet/pki/", checkertest.MainVolume + "/pki/" + checkertest.OrphanToken
	at := time.Now()
	dead := []string{volume + "/clients/ca.crt", volume + "/clients/server.crt", volume + "/peers/ca.crt", volume + "/peers/me.crt"}
	for l, want := range map[checkertest.Layout][]string{
		checkertest.Kubeadm: {kubelet + "kubelet-client-2025-01-01-00-00-00.pem"},
		checkertest.Kops118: dead,
		checkertest.Kops121: dead,
		checkertest.Kops130: dead,
		checkertest.K3s:     rotated("k3s", at),
		checkertest.RKE2:    rotated("rke2", at),
	} {
		t.Run(string(l), func(t *testing.T) {
			p := newPlace(t)
			if err := checkertest.Write(p.root, l, checkertest.Options{Now: at, Incident: true}); err != nil {
				t.Fatal(err)
			}
			targets := scan.Targets{Profiles: p.Detect(profile.All())}
			if diff := cmp.Diff(slices.Sorted(slices.Values(want)), orphans(p.look(targets))); diff != "" {
				t.Errorf("orphans (-want +got):\n%s", diff)
			}
			before := judge(p.look(targets))
			planted := p.plant()
			after := p.look(targets)
			if diff := cmp.Diff(slices.Sorted(slices.Values(append(want, planted...))), orphans(after)); diff != "" {
				t.Errorf("with backups (-want +got):\n%s", diff)
			}
			if a, b := judge(after).Summary, before.Summary; a.Expired != b.Expired || a.ExitCode != b.ExitCode {
				t.Errorf("%d expired, exit code %d; before the backups %d and %d", a.Expired, a.ExitCode, b.Expired, b.ExitCode)
			}
		})
	}
}

func judge(f scan.Facts) checker.Report {
	return checker.Check(checker.Facts{Files: f.Files, Roots: f.Roots}, time.Now(), checker.DefaultPolicy())
}

// orphans are the paths of the files that nothing uses.
func orphans(f scan.Facts) []string {
	paths := map[string]bool{}
	for _, file := range f.Files {
		if file.Orphan != "" {
			paths[file.Path] = true
		}
	}
	return slices.Sorted(maps.Keys(paths))
}

// rotated are the files that `certificate rotate` copied.
func rotated(name string, at time.Time) []string {
	dir := fmt.Sprintf("/var/lib/rancher/%s/server/tls-%d/", name, at.Add(-checkertest.NodeAge).Unix())
	var all []string
	for _, base := range []string{
		"client-admin", "client-auth-proxy", "client-ca", "client-ca.nochain", "client-controller", "client-" + name + "-cloud-controller",
		"client-" + name + "-controller", "client-kube-apiserver", "client-kube-proxy", "client-scheduler", "client-supervisor",
		"etcd/client", "etcd/peer-ca", "etcd/peer-server-client", "etcd/server-ca", "etcd/server-client",
		"kube-controller-manager/kube-controller-manager", "kube-scheduler/kube-scheduler",
		"request-header-ca", "server-ca", "server-ca.nochain", "serving-kube-apiserver",
	} {
		all = append(all, dir+base+".crt")
	}
	return all
}

// plant leaves backups in every directory with certificates, and files with
// such names that hold none, and returns the paths of the former.
func (p *place) plant() []string {
	p.t.Helper()
	dead := p.issueUntil("left behind", time.Now().Add(-time.Hour)).CertPEM()
	var planted []string
	put := func(host string, data []byte) {
		p.write(host, data)
		planted = append(planted, host)
	}
	for dir, name := range p.directories() {
		for _, suffix := range []string{".bak", ".old", "~", ".rpmsave", ".orig"} {
			put(filepath.Join(dir, name+suffix), dead)
		}
		if !strings.HasSuffix(dir, "/agent") {
			// Below which the images of containers are: it is not searched.
			put(filepath.Join(dir, "all.bak", name), dead)
		}
		p.write(filepath.Join(dir, "notes.txt.bak"), []byte("not a certificate\n"))
		p.write(filepath.Join(dir, "me.key.bak"), []byte("nor this\n"))
	}
	for _, host := range p.kubeconfigs() {
		text, err := os.ReadFile(p.path(host))
		if err != nil {
			p.t.Fatal(err)
		}
		// One that only refers to certificates holds none.
		if p.write(host+".bak", text); strings.Contains(string(text), "client-certificate-data") {
			planted = append(planted, host+".bak")
		}
		if strings.HasSuffix(filepath.Dir(host), "/cred") {
			put(host+".old", dead)
		}
	}
	return planted
}

// directories are those with certificates, and the name of one of these.
func (p *place) directories() map[string]string {
	found := map[string]string{}
	for _, host := range p.regular() {
		if slices.Contains([]string{".crt", ".cert", ".pem"}, filepath.Ext(host)) && !strings.HasSuffix(host, "key.pem") {
			found[filepath.Dir(host)] = filepath.Base(host)
		}
	}
	return found
}

func (p *place) kubeconfigs() []string {
	return slices.DeleteFunc(p.regular(), func(host string) bool {
		return !strings.HasSuffix(host, ".conf") && !strings.HasSuffix(host, ".yaml") && !strings.HasSuffix(host, "kubeconfig")
	})
}

// regular are the host's paths of all files.
func (p *place) regular() []string {
	p.t.Helper()
	var all []string
	err := filepath.WalkDir(p.root, func(file string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			all = append(all, strings.TrimPrefix(file, p.root))
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return all
}
