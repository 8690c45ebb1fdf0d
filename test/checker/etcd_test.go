package checker_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/checkertest"
	"github.com/reanchor/reanchor/checker/probe"
	"github.com/reanchor/reanchor/checker/report"
	"github.com/reanchor/reanchor/checker/scan"
	"github.com/reanchor/reanchor/checker/survey"
	"github.com/reanchor/reanchor/hack/lab"
)

// patience is for etcd to start, and for a busy machine.
const patience = time.Minute

// member is one etcd with its files.
type member struct {
	t            *testing.T
	dir, program string
	client, peer string
	cmd          *exec.Cmd
}

func newMember(t *testing.T) *member {
	t.Helper()
	built, err := lab.Build(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	return &member{t: t, dir: t.TempDir(), program: built.Program(), client: freeAddress(t), peer: freeAddress(t)}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (m *member) file(name string) string { return filepath.Join(m.dir, name) }

func (m *member) issue(cn string, parent *checkertest.Pair) *checkertest.Pair {
	m.t.Helper()
	spec := checkertest.Spec{CN: cn, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0), CA: parent == nil}
	if parent == nil {
		spec.NotAfter = time.Now().AddDate(10, 0, 0)
	} else {
		spec.IPs, spec.Usages = []string{"127.0.0.1"}, checkertest.Both()
	}
	p, err := checkertest.Issue(spec, parent)
	if err != nil {
		m.t.Fatal(err)
	}
	return p
}

// write replaces a file as a person would: a new one renamed over the old.
func (m *member) write(name string, data []byte) {
	m.t.Helper()
	if err := os.WriteFile(m.file(name+".new"), data, 0o600); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(m.file(name+".new"), m.file(name)); err != nil {
		m.t.Fatal(err)
	}
}

// leaf issues and writes a certificate and its key.
func (m *member) leaf(name string, ca *checkertest.Pair) *checkertest.Pair {
	m.t.Helper()
	p := m.issue("etcd-a", ca)
	key, err := p.KeyPEM()
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(name+".key", key)
	m.write(name+".crt", p.CertPEM())
	return p
}

// start runs etcd under its own name, as the checker looks for it.
func (m *member) start() {
	m.t.Helper()
	url := func(address string) string { return "https://" + address }
	m.cmd = exec.Command(m.program)
	m.cmd.Args = []string{
		"etcd", "--name=a", "--data-dir=" + m.file("data"), "--log-level=error",
		"--listen-client-urls=" + url(m.client), "--advertise-client-urls=" + url(m.client),
		"--listen-peer-urls=" + url(m.peer), "--initial-advertise-peer-urls=" + url(m.peer), "--initial-cluster=a=" + url(m.peer),
		"--cert-file=" + m.file("server.crt"), "--key-file=" + m.file("server.key"), "--trusted-ca-file=" + m.file("ca.crt"), "--client-cert-auth",
		"--peer-cert-file=" + m.file("peer.crt"), "--peer-key-file=" + m.file("peer.key"), "--peer-trusted-ca-file=" + m.file("ca.crt"), "--peer-client-cert-auth",
	}
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(m.file("etcd.log"))
	if err != nil {
		m.t.Fatal(err)
	}
	defer log.Close()
	m.cmd.Stderr = log
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(m.stop)
	m.eventually("etcd serves both ports", func() bool {
		d := m.look()
		return d.Endpoints[0].State == checker.EndpointServing && d.Endpoints[1].State == checker.EndpointServing
	})
}

func (m *member) stop() {
	if m.cmd != nil {
		m.cmd.Process.Kill()
		m.cmd.Wait()
		m.cmd = nil
	}
}

func (m *member) eventually(what string, ok func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if ok() {
			return
		}
	}
	log, err := os.ReadFile(m.file("etcd.log"))
	m.t.Fatalf("never: %s; findings: %v; etcd's log (%v):\n%s", what, problems(m.look()), err, log)
}

// look surveys this etcd, and no other that may run on the machine.
func (m *member) look() *report.Document {
	m.t.Helper()
	var endpoints []probe.Target
	for address, file := range map[string]string{m.client: "server.crt", m.peer: "peer.crt"} {
		target, err := probe.Parse(address + "=" + m.file(file))
		if err != nil {
			m.t.Fatal(err)
		}
		endpoints = append(endpoints, target)
	}
	scanner, err := scan.New(scan.Options{CheckKeys: true})
	if err != nil {
		m.t.Fatal(err)
	}
	s := survey.Surveyor{
		Options: survey.Options{NoProbe: true, Proc: "/proc", Endpoints: endpoints, Targets: scan.Targets{Paths: []string{m.dir}}, Policy: checker.DefaultPolicy()},
		Scanner: scanner, Prober: probe.Prober{Timeout: 5 * time.Second}, Clock: clock.RealClock{}, Engine: checker.NewEngine(),
	}
	d, err := s.Survey(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return d
}

// problems are the findings at warning or above, as "id file-or-address".
func problems(d *report.Document) []string {
	found := []string{}
	for f := range d.All() {
		if f.Severity >= checker.Warning {
			found = append(found, string(f.ID)+" "+filepath.Base(f.Path))
		}
	}
	slices.Sort(found)
	return found
}

// accepts reports whether etcd lets a client with this certificate in.
func (m *member) accepts(client *checkertest.Pair, server *checkertest.Pair) bool {
	m.t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(server.Cert)
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	conn, err := (&tls.Dialer{Config: &tls.Config{
		RootCAs:      roots,
		Certificates: []tls.Certificate{{Certificate: [][]byte{client.Cert.Raw}, PrivateKey: client.Key}},
	}}).DialContext(ctx, "tcp", m.client)
	if err != nil {
		m.t.Fatal(err)
	}
	defer conn.Close()
	// In TLS 1.3 a refusal arrives with the first read.
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprint(conn, "GET /health HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n"); err != nil {
		return false
	}
	_, err = conn.Read(make([]byte, 1))
	var alert tls.AlertError
	if err != nil && !errors.As(err, &alert) && !strings.Contains(err.Error(), "tls:") {
		m.t.Fatal(err)
	}
	return err == nil
}

func TestWhatARunningEtcdNoticesAndWhatNot(t *testing.T) {
	m := newMember(t)
	ca := m.issue("etcd-ca", nil)
	m.write("ca.crt", ca.CertPEM())
	m.leaf("server", ca)
	m.leaf("peer", ca)
	m.start()
	if diff := cmp.Diff([]string{}, problems(m.look())); diff != "" {
		t.Fatalf("a fresh etcd (-want +got):\n%s", diff)
	}

	// etcd reads its own certificates again at each handshake: nothing to say,
	// neither by comparing with what it serves nor by the file's age.
	server, peer := m.leaf("server", ca), m.leaf("peer", ca)
	d := m.look()
	if diff := cmp.Diff([]string{}, problems(d)); diff != "" {
		t.Errorf("after its own certificates were replaced (-want +got):\n%s", diff)
	}
	served := map[string]bool{d.Endpoints[0].LeafID: true, d.Endpoints[1].LeafID: true}
	for _, p := range []*checkertest.Pair{server, peer} {
		if !served[p.Checked().Fingerprint.String()] {
			t.Error("etcd does not serve a certificate that was replaced on disk: the reload table is wrong")
		}
	}

	// The CA is not read again. The bundle that a rotation begins with:
	next := m.issue("etcd-ca", nil)
	newcomer := m.issue("newcomer", next)
	bundle := append(ca.CertPEM(), next.CertPEM()...)
	// The start of a process is only known to the second or so, so the file is
	// written until it is certainly younger.
	m.eventually("the replaced CA is reported", func() bool {
		m.write("ca.crt", bundle)
		return slices.Contains(problems(m.look()), "restart_suspected ca.crt")
	})
	if diff := cmp.Diff([]string{"restart_suspected ca.crt"}, problems(m.look())); diff != "" {
		t.Errorf("after the CA was replaced (-want +got):\n%s", diff)
	}
	if m.accepts(newcomer, ca) || !m.accepts(m.issue("old", ca), ca) {
		t.Error("etcd lets a client of the new CA in, or none of the old: the reload table is wrong")
	}

	m.stop()
	m.start()
	if diff := cmp.Diff([]string{}, problems(m.look())); diff != "" {
		t.Errorf("after the restart (-want +got):\n%s", diff)
	}
	if !m.accepts(newcomer, ca) {
		t.Error("after the restart, a client of the new CA is refused")
	}
}

func TestAnEtcdWhoseFilesNoLongerFitEachOther(t *testing.T) {
	m := newMember(t)
	ca := m.issue("etcd-ca", nil)
	m.write("ca.crt", ca.CertPEM())
	m.leaf("server", ca)
	m.leaf("peer", ca)
	m.start()
	// The CA alone was replaced, by one of the same name: etcd runs on, and the
	// next start would be its last.
	m.write("ca.crt", m.issue("etcd-ca", nil).CertPEM())
	got := problems(m.look())
	for _, want := range []string{"chain_bad_signature server.crt", "chain_bad_signature peer.crt"} {
		if !slices.Contains(got, want) {
			t.Errorf("missing %s in %v", want, got)
		}
	}
	// Somebody puts a certificate there whose key stayed behind: etcd cannot
	// load the pair any more, so no handshake works.
	m.write("ca.crt", ca.CertPEM())
	m.write("server.crt", m.issue("etcd-a", ca).CertPEM())
	m.eventually("the pair that does not fit is reported", func() bool {
		got = problems(m.look())
		return slices.Contains(got, "key_mismatch server.crt") && slices.Contains(got, "live_unreachable "+m.client)
	})
}
