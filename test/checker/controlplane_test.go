package checker_test

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/checkertest"
	"github.com/reanchor/reanchor/checker/probe"
	"github.com/reanchor/reanchor/checker/profile"
	"github.com/reanchor/reanchor/checker/report"
	"github.com/reanchor/reanchor/checker/scan"
	"github.com/reanchor/reanchor/checker/survey"
	"github.com/reanchor/reanchor/hack/lab"
)

// controlPlane is a lab whose API server has the files of a kubeadm node, whose
// controller-manager makes its certificate in memory as kubeadm's does, and
// whose scheduler loads one from a file.
type controlPlane struct {
	t *testing.T
	// root is the node's file system.
	root string
	// at is where what listens on a port of a kubeadm node does here.
	at map[string]string
	// scheduler is the name of its files, without extension.
	scheduler string
}

func newControlPlane(t *testing.T) *controlPlane {
	t.Helper()
	p := &controlPlane{t: t, root: t.TempDir(), scheduler: filepath.Join(t.TempDir(), "scheduler")}
	p.at = map[string]string{"10257": freeAddress(t), "10259": freeAddress(t)}
	p.issueScheduler()
	secure := func(port string) []string {
		host, number, err := net.SplitHostPort(p.at[port])
		if err != nil {
			t.Fatal(err)
		}
		return []string{"--bind-address=" + host, "--secure-port=" + number}
	}
	l, err := lab.Start(t.Context(), lab.Options{Nodes: -1, Progress: os.Stderr, ExtraArgs: map[lab.Component][]string{
		lab.ControllerManager: secure("10257"),
		lab.Scheduler:         append(secure("10259"), "--tls-cert-file="+p.scheduler+".crt", "--tls-private-key-file="+p.scheduler+".key"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
	})
	server, err := url.Parse(l.Config().Host)
	if err != nil {
		t.Fatal(err)
	}
	p.at["6443"] = server.Host
	p.install(filepath.Dir(l.Kubeconfig()))
	return p
}

// install copies the lab's files to where kubeadm has them.
func (p *controlPlane) install(labDir string) {
	p.t.Helper()
	pki := filepath.Join(p.root, "etc/kubernetes/pki")
	if err := os.MkdirAll(pki, 0o755); err != nil {
		p.t.Fatal(err)
	}
	for _, name := range []string{"ca.crt", "apiserver.crt", "apiserver.key"} {
		data, err := os.ReadFile(filepath.Join(labDir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(pki, name), data, 0o600)
		}
		if err != nil {
			p.t.Fatal(err)
		}
	}
}

// issueScheduler writes a new certificate for the scheduler.
func (p *controlPlane) issueScheduler() *checkertest.Pair {
	p.t.Helper()
	pair, err := checkertest.Issue(checkertest.Spec{
		CN: "kube-scheduler", CA: true, IPs: []string{"127.0.0.1"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(9, 0, 0),
	}, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	key, err := pair.KeyPEM()
	if err != nil {
		p.t.Fatal(err)
	}
	for extension, data := range map[string][]byte{".key": key, ".crt": pair.CertPEM()} {
		file := p.scheduler + extension
		if err := os.WriteFile(file+".new", data, 0o600); err != nil {
			p.t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			p.t.Fatal(err)
		}
	}
	return pair
}

// look surveys below root, and asks these servers and no other.
func (p *controlPlane) look(root string, targets scan.Targets, servers []probe.Target) *report.Document {
	p.t.Helper()
	scanner, err := scan.New(scan.Options{Root: root, CheckKeys: true})
	if err != nil {
		p.t.Fatal(err)
	}
	s := survey.Surveyor{
		Options: survey.Options{NoProbe: true, Endpoints: servers, Targets: targets, Policy: checker.DefaultPolicy()},
		Scanner: scanner, Prober: probe.Prober{Timeout: 5 * time.Second}, Clock: clock.RealClock{}, Engine: checker.NewEngine(),
	}
	d, err := s.Survey(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return d
}

// servers are those of a kubeadm node, at the lab's addresses.
func (p *controlPlane) servers() []probe.Target {
	p.t.Helper()
	scanner, err := scan.New(scan.Options{Root: p.root})
	if err != nil {
		p.t.Fatal(err)
	}
	node := []profile.Profile{profile.Kubeadm()}
	facts, err := scanner.Scan(p.t.Context(), scan.Targets{Profiles: node})
	if err != nil {
		p.t.Fatal(err)
	}
	targets := probe.OnNode(node, facts.Files)
	for i := range targets {
		_, port, err := net.SplitHostPort(targets[i].Addresses[0])
		if err != nil {
			p.t.Fatal(err)
		}
		targets[i].Addresses = []string{p.at[port]}
	}
	return targets
}

// TestWhatARealControlPlaneServes probes by the endpoint map of kubeadm.
func TestWhatARealControlPlaneServes(t *testing.T) {
	p := newControlPlane(t)
	var d *report.Document
	p.eventually("every server answers", func() bool {
		d = p.look(p.root, scan.Targets{Profiles: []profile.Profile{profile.Kubeadm()}}, p.servers())
		for _, e := range d.Endpoints {
			if e.State != checker.EndpointServing {
				return false
			}
		}
		return true
	})
	names := map[string]string{}
	for _, c := range d.Certificates {
		names[c.ID], _, _ = strings.Cut(c.Subject.CommonName, "@")
	}
	var got []string
	for _, e := range d.Endpoints {
		line := []string{string(e.Role), "sni=" + e.ServerName, "serves " + names[e.LeafID], "match " + string(e.Match)}
		for _, f := range e.Findings {
			line = append(line, string(f.ID))
		}
		got = append(got, strings.Join(line, " "))
	}
	want := []string{
		"apiserver sni= serves kube-apiserver match yes",
		"apiserver-loopback sni=apiserver-loopback-client serves apiserver-loopback-client match unknown live_unmapped",
		"controller-manager-server sni= serves localhost match unknown live_unmapped",
		"scheduler-server sni= serves kube-scheduler match unknown live_unmapped",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{}, problems(d)); diff != "" {
		t.Errorf("a control plane that has just started (-want +got):\n%s", diff)
	}
	p.schedulerReloads()
}

// schedulerReloads: kube-scheduler takes a replaced certificate without a
// restart, like kube-apiserver, controller-manager and kubelet. So once it has,
// there is no mismatch.
func (p *controlPlane) schedulerReloads() {
	server, err := probe.Parse(p.at["10259"] + "=" + p.scheduler + ".crt")
	if err != nil {
		p.t.Fatal(err)
	}
	look := func() *report.Document {
		return p.look("/", scan.Targets{Paths: []string{p.scheduler + ".crt"}}, []probe.Target{server})
	}
	before := look()
	if before.Endpoints[0].Match != checker.MatchYes {
		p.t.Fatalf("before: %+v", before.Endpoints[0])
	}
	replaced := p.issueScheduler().Checked().Fingerprint.String()
	p.eventually("kube-scheduler serves its new certificate", func() bool {
		e := look().Endpoints[0]
		if e.Match == checker.MatchNo && (e.LeafID != before.Endpoints[0].LeafID || e.Findings[0].ID != checker.LiveMismatch) {
			p.t.Errorf("until it does: %+v, want live_mismatch with the old one", e)
		}
		return e.Match == checker.MatchYes && e.LeafID == replaced
	})
}

func (p *controlPlane) eventually(what string, ok func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(2 * patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if ok() {
			return
		}
	}
	p.t.Fatalf("never: %s", what)
}
