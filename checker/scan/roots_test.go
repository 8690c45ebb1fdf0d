package scan_test

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
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

// only leaves one directory of a node, moved to another place.
func (p *place) only(from, to string) {
	p.t.Helper()
	elsewhere := p.t.TempDir()
	if err := os.Rename(p.path(from), filepath.Join(elsewhere, "kept")); err != nil {
		p.t.Fatal(err)
	}
	for _, top := range []string{"etc", "mnt", "srv", "var"} {
		if err := os.RemoveAll(p.path(top)); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(p.path(to)), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(elsewhere, "kept"), p.path(to)); err != nil {
		p.t.Fatal(err)
	}
}

// TestAnEtcdVolumeIsReadWhereverItIsMounted: the volume is all there is, so it
// must also be what the node is recognised by.
func TestAnEtcdVolumeIsReadWhereverItIsMounted(t *testing.T) {
	for name, mount := range map[string]string{
		"AWS":                     "/mnt/master-vol-0a1b2c3d4e5f60718",
		"GCE":                     "/mnt/master-us-central1-a-a-etcd-main",
		"OpenStack":               "/mnt/master-a.etcd-main.example.com",
		"ContainerOS":             "/mnt/disks/master-us-central1-a-a-etcd-main",
		"a volume mounted by you": "/mnt/disks/example.com--main--1/mnt",
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			if err := checkertest.Write(p.root, checkertest.Kops130, checkertest.Options{Now: time.Now(), Incident: true}); err != nil {
				t.Fatal(err)
			}
			p.only(checkertest.MainVolume, mount)
			profiles := p.Detect(profile.All())
			if len(profiles) != 1 || profiles[0].Name != "kops" {
				t.Fatalf("%d profiles, want kops alone", len(profiles))
			}
			facts := p.look(scan.Targets{Profiles: profiles})
			live, dead := mount+"/pki/"+checkertest.Token, mount+"/pki/"+checkertest.OrphanToken
			var got []string
			for _, f := range facts.Files {
				line := f.Path + " " + string(f.Use.Role) + " " + f.Use.Instance
				if f.Orphan != "" {
					line += " orphaned"
				}
				got = append(got, line)
			}
			slices.Sort(got)
			want := []string{
				live + "/clients/ca.crt etcd-clients-ca main", live + "/clients/server.crt etcd-server main",
				live + "/peers/ca.crt etcd-peers-ca main", live + "/peers/me.crt etcd-peer main",
				dead + "/clients/ca.crt etcd-clients-ca main orphaned", dead + "/clients/server.crt etcd-server main orphaned",
				dead + "/peers/ca.crt etcd-peers-ca main orphaned", dead + "/peers/me.crt etcd-peer main orphaned",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if r := judge(facts); r.Summary.Expired != 2 || r.Summary.ExitCode != 2 {
				t.Errorf("%d expired, exit code %d; want both leaves, 2", r.Summary.Expired, r.Summary.ExitCode)
			}
		})
	}
}

func TestContainerOSKeepsKubernetesElsewhere(t *testing.T) {
	for _, layout := range []checkertest.Layout{checkertest.Kops118, checkertest.Kops121, checkertest.Kops130} {
		p := newPlace(t)
		if err := checkertest.Write(p.root, layout, checkertest.Options{Now: time.Now()}); err != nil {
			t.Fatal(err)
		}
		want := roles(p.look(scan.Targets{Profiles: []profile.Profile{profile.Kops()}}), "/srv/kubernetes")
		p.only("/srv/kubernetes", "/etc/srv/kubernetes")
		profiles := p.Detect(profile.All())
		if len(profiles) != 1 || profiles[0].Name != "kops" {
			t.Fatalf("%s: %d profiles, want kops alone", layout, len(profiles))
		}
		got := roles(p.look(scan.Targets{Profiles: profiles}), "/etc/srv/kubernetes")
		if diff := cmp.Diff(want, got); diff != "" || len(got) < 5 {
			t.Errorf("%s: (-/srv +/etc/srv):\n%s", layout, diff)
		}
	}
}

// roles are those of the files below a directory, by the rest of their paths.
func roles(f scan.Facts, dir string) map[string]checker.Role {
	found := map[string]checker.Role{}
	for _, file := range f.Files {
		if rest, ok := strings.CutPrefix(file.Path, dir); ok {
			found[rest] = file.Use.Role
		}
	}
	return found
}

func TestEtcdWithoutItsManager(t *testing.T) {
	p := newPlace(t)
	const srv = "/srv/kubernetes/"
	p.write(srv+"ca.crt", p.ca.CertPEM())
	spec := checkertest.Spec{CN: "etcd", DNS: []string{"etcd"}, Usages: checkertest.Both(), NotAfter: time.Now().Add(-time.Hour)}
	for _, base := range []string{"etcd", "etcd-peer", "etcd-client"} {
		pair := p.make(spec, p.ca)
		p.write(srv+base+".pem", pair.CertPEM())
		p.key(srv+base+"-key.pem", pair)
	}
	facts := p.look(scan.Targets{Profiles: p.Detect(profile.All())})
	want := map[string]checker.Role{"ca.crt": "ca", "etcd.pem": "etcd-server", "etcd-peer.pem": "etcd-peer", "etcd-client.pem": "apiserver-etcd-client"}
	if diff := cmp.Diff(want, roles(facts, srv)); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
	}
	if r := judge(facts); r.Summary.Expired != 3 || r.Summary.Findings[checker.KeyMismatch]+r.Summary.Findings[checker.EKUMissing] > 0 {
		t.Errorf("findings %v, want three expired", r.Summary.Findings)
	}
}

// TestTheDatesOfAServiceAccountKeyDoNotMatter: kops stores the pair as a CA's.
func TestTheDatesOfAServiceAccountKeyDoNotMatter(t *testing.T) {
	p := newPlace(t)
	p.write("/srv/kubernetes/ca.crt", p.ca.CertPEM())
	expired := p.make(checkertest.Spec{CN: "service-account", CA: true, NotAfter: time.Now().Add(-time.Hour)}, nil)
	for _, name := range []string{"service-account.cert", "kube-apiserver/service-account.crt"} {
		p.write("/srv/kubernetes/"+name, expired.CertPEM())
	}
	targets := scan.Targets{Profiles: p.Detect(profile.All())}
	if r := judge(p.look(targets)); r.Summary.Certificates != 2 || len(r.Summary.Findings) > 0 {
		t.Errorf("%d certificates, findings %v; want 2 and none", r.Summary.Certificates, r.Summary.Findings)
	}
	p.write("/srv/kubernetes/another.crt", expired.CertPEM())
	if r := judge(p.look(targets)); r.Summary.Expired != 1 {
		t.Error("the same certificate in another file is expired")
	}
}

// TestABackupIsToldByWhatIsBelowThePlaceAskedFor: who names a directory of
// backups wants them judged.
func TestABackupIsToldByWhatIsBelowThePlaceAskedFor(t *testing.T) {
	p := newPlace(t)
	p.cert("/root/pki.bak/a.crt", "a")
	p.cert("/root/pki.bak/old~/b.crt", "b")
	p.cert("/root/pki.bak/c.crt.old", "c")
	for target, want := range map[string][]string{
		"/root":                 {"/root/pki.bak/a.crt", "/root/pki.bak/c.crt.old", "/root/pki.bak/old~/b.crt"},
		"/root/pki.bak":         {"/root/pki.bak/c.crt.old", "/root/pki.bak/old~/b.crt"},
		"/root/pki.bak/*.crt":   nil,
		"/root/pki.bak/**/*":    {"/root/pki.bak/c.crt.old", "/root/pki.bak/old~/b.crt"},
		"/root/pki.bak/c.crt.*": {"/root/pki.bak/c.crt.old"},
		// A file that is named is judged whatever its name.
		"/root/pki.bak/c.crt.old": nil,
	} {
		if diff := cmp.Diff(want, orphans(p.look(paths(target)))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", target, diff)
		}
	}
}

func TestWhatOnlyABackupRefersToIsNotInUse(t *testing.T) {
	p := newPlace(t)
	p.write("/k/u.txt", p.issueUntil("u", time.Now().Add(-time.Hour)).CertPEM())
	config := []byte("clusters: []\nusers: [{name: u, user: {client-certificate: u.txt}}]\n")
	p.write("/k/admin.conf.old", config)
	p.write("/k/all.bak/admin.conf", []byte("clusters: []\nusers: [{name: u, user: {client-certificate: ../u.txt}}]\n"))
	p.expect(paths("/k"))
	p.write("/k/admin.conf", config)
	p.expect(paths("/k"), "/k/u.txt: u")
}

// TestAnAgentOfK3sHasNoServersDirectories, and nobody misses backups.
func TestAnAgentOfK3sHasNoServersDirectories(t *testing.T) {
	p := newPlace(t)
	const agent = "/var/lib/rancher/k3s/agent/"
	p.cert(agent+"client-kubelet.crt", "live")
	p.write(agent+"client-ca.crt", p.ca.CertPEM())
	p.write(agent+"containerd/rootfs/etc/ssl/a.crt", p.issueUntil("a container's", time.Now().Add(-time.Hour)).CertPEM())
	targets := scan.Targets{Profiles: p.Detect(profile.All())}
	missing := func(f scan.Facts) (all []string) {
		for _, r := range f.Roots {
			if r.State == checker.RootMissing {
				all = append(all, r.Path)
			}
		}
		return all
	}
	facts := p.look(targets)
	want := []string{"/var/lib/rancher/k3s/server/tls", "/var/lib/rancher/k3s/server/cred", "/etc/rancher/k3s/k3s.yaml"}
	if diff := cmp.Diff(want, missing(facts)); diff != "" {
		t.Errorf("missing roots (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{agent + "client-ca.crt: ca", agent + "client-kubelet.crt: live"}, seen(facts)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	const old = agent + "tls-1700000000/client-kubelet.crt"
	p.write(old, p.issueUntil("old", time.Now().Add(-time.Hour)).CertPEM())
	if diff := cmp.Diff([]string{old}, orphans(p.look(targets))); diff != "" {
		t.Errorf("orphans (-want +got):\n%s", diff)
	}
}

func TestADirectoryThatOnlyLooksLikeARotationIsInUse(t *testing.T) {
	p := newPlace(t)
	p.cert("/opt/app/server/tls-2/a.crt", "a")
	if got := orphans(p.look(paths("/opt"))); len(got) > 0 {
		t.Errorf("orphans %v, want none", got)
	}
}

func TestTheOldNamesOfKopsAsCrt(t *testing.T) {
	p := newPlace(t)
	p.cert("/srv/kubernetes/proxy-client.crt", "apiserver-proxy-client")
	if f := p.look(scan.Targets{Profiles: []profile.Profile{profile.Kops()}}); f.Files[0].Use.Role != "front-proxy-client" {
		t.Errorf("role %q", f.Files[0].Use.Role)
	}
}

func TestOfTheDatedFilesOfKubeletOneIsInUse(t *testing.T) {
	p := newPlace(t)
	const dir = "/var/lib/kubelet/pki/"
	for _, kind := range []string{"kubelet-client", "kubelet-server"} {
		for _, year := range []string{"2024", "2025", "2026"} {
			p.cert(dir+kind+"-"+year+"-01-01-00-00-00.pem", kind)
		}
	}
	if got := orphans(p.look(paths(dir))); len(got) > 0 {
		t.Errorf("orphans %v; without a link nobody knows which is in use", got)
	}
	p.link(dir+"kubelet-client-current.pem", dir+"kubelet-client-2025-01-01-00-00-00.pem")
	p.link(dir+"kubelet-server-current.pem", "kubelet-server-2026-01-01-00-00-00.pem")
	want := []string{
		dir + "kubelet-client-2024-01-01-00-00-00.pem", dir + "kubelet-client-2026-01-01-00-00-00.pem",
		dir + "kubelet-server-2024-01-01-00-00-00.pem", dir + "kubelet-server-2025-01-01-00-00-00.pem",
	}
	if diff := cmp.Diff(want, orphans(p.look(paths(dir)))); diff != "" {
		t.Errorf("orphans (-want +got):\n%s", diff)
	}
}

// TestARequestBesideTheCertificatesIsTold: kubeadm certs generate-csr leaves
// them there.
func TestARequestBesideTheCertificatesIsTold(t *testing.T) {
	p := newPlace(t)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, p.issue("x", false).Key)
	if err != nil {
		t.Fatal(err)
	}
	const request = "/etc/kubernetes/pki/apiserver.csr"
	p.write(request, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	files := p.look(scan.Targets{Profiles: []profile.Profile{profile.Kubeadm()}}).Files
	if len(files) != 1 || files[0].Path != request || len(files[0].Requests) != 1 {
		t.Errorf("files %+v, want the request", files)
	}
}
