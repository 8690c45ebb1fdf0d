package survey_test

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/checkertest"
	"github.com/reanchor/reanchor/checker/decode"
	"github.com/reanchor/reanchor/checker/kube"
	"github.com/reanchor/reanchor/checker/probe"
	"github.com/reanchor/reanchor/checker/report"
	"github.com/reanchor/reanchor/checker/scan"
	"github.com/reanchor/reanchor/checker/survey"
)

// holding is a TLS server that keeps the certificate it was started with.
func holding(t *testing.T, p *checkertest.Pair) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{p.Cert.Raw}, PrivateKey: p.Key}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func(conn net.Conn) {
				defer conn.Close()
				conn.Write([]byte("."))
			}(conn)
		}
	}()
	return l.Addr().String()
}

func issue(t *testing.T, ends time.Duration) *checkertest.Pair {
	t.Helper()
	p, err := checkertest.Issue(checkertest.Spec{CN: "etcd-manager-server-etcd-a", IPs: []string{"127.0.0.1"}, NotBefore: time.Now().Add(-800 * 24 * time.Hour), NotAfter: time.Now().Add(ends), CA: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func write(t *testing.T, file string, p *checkertest.Pair) {
	t.Helper()
	if err := os.WriteFile(file, p.CertPEM(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func surveyor(t *testing.T, o survey.Options) *survey.Surveyor {
	t.Helper()
	scanner, err := scan.New(scan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	o.Policy = checker.DefaultPolicy()
	return &survey.Surveyor{Options: o, Scanner: scanner, Prober: probe.Prober{Timeout: 2 * time.Second}, Clock: clock.RealClock{}, Engine: checker.NewEngine()}
}

func look(t *testing.T, s *survey.Surveyor) *report.Document {
	t.Helper()
	d, err := s.Survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAServerThatHoldsItsOldCertificate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.crt")
	old := issue(t, 10*24*time.Hour)
	write(t, file, old)
	target, err := probe.Parse(holding(t, old) + "=" + file)
	if err != nil {
		t.Fatal(err)
	}
	s := surveyor(t, survey.Options{NoProbe: true, Endpoints: []probe.Target{target}, Targets: scan.Targets{Paths: []string{file}}})
	if d := look(t, s); d.Endpoints[0].Match != checker.MatchYes || len(d.Endpoints[0].Findings) > 0 {
		t.Fatalf("before: %+v, want a match", d.Endpoints[0])
	}
	write(t, file, issue(t, 3000*24*time.Hour))
	d := look(t, s)
	e := d.Endpoints[0]
	if e.Match != checker.MatchNo || len(e.Findings) != 1 || e.Findings[0].ID != checker.LiveMismatch {
		t.Fatalf("after: %+v, want live_mismatch", e)
	}
	// The one in memory ends in ten days, so this is critical although every
	// file is fine.
	if e.Findings[0].Severity != checker.Critical || d.Summary.ExitCode != 2 {
		t.Errorf("severity %s, exit code %d; want critical, 2", e.Findings[0].Severity, d.Summary.ExitCode)
	}
}

func TestAnEmptyNodeIsUnknownAndSaysWhereItLooked(t *testing.T) {
	scanner, err := scan.New(scan.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s := surveyor(t, survey.Options{Detect: true})
	s.Scanner = scanner
	d := look(t, s)
	if d.Summary.ExitCode != 3 || d.Summary.Findings[checker.NothingFound] != 1 || len(d.Summary.Roots) == 0 {
		t.Errorf("exit code %d, findings %v, %d roots; want 3, nothing_found, and the markers as missing roots", d.Summary.ExitCode, d.Summary.Findings, len(d.Summary.Roots))
	}
}

func TestAClusterThatDoesNotAnswerIsUnknown(t *testing.T) {
	client, err := kubernetes.NewForConfig(&rest.Config{Host: "https://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "server.crt")
	write(t, file, issue(t, 3000*24*time.Hour))
	s := surveyor(t, survey.Options{NoProbe: true, Targets: scan.Targets{Paths: []string{file}}, Cluster: &survey.Cluster{
		Reader: kube.Reader{Client: client, Decoder: decode.New(nil)}, Request: kube.Request{Secrets: []string{"*"}},
	}})
	d := look(t, s)
	if d.Summary.ExitCode != 3 || d.Summary.OK != 1 {
		t.Errorf("exit code %d, %d ok; want 3, and the file judged all the same", d.Summary.ExitCode, d.Summary.OK)
	}
}
