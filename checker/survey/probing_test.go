package survey_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	testclock "k8s.io/utils/clock/testing"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/checkertest"
	"github.com/reanchor/reanchor/checker/probe"
	"github.com/reanchor/reanchor/checker/scan"
	"github.com/reanchor/reanchor/checker/survey"
)

// reloading is a TLS server that, like etcd, reads its certificate at each
// handshake; handshakes counts them. With before it calls that and refuses.
type reloading struct {
	mu         sync.Mutex
	serves     *checkertest.Pair
	before     func()
	handshakes atomic.Int32
	address    string
}

func newReloading(t *testing.T, p *checkertest.Pair) *reloading {
	t.Helper()
	r := &reloading{serves: p}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.handshakes.Add(1)
		if r.before != nil {
			r.before()
			return nil, errors.New("not now")
		}
		return &tls.Certificate{Certificate: [][]byte{r.serves.Cert.Raw}, PrivateKey: r.serves.Key}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	r.address = l.Addr().String()
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
	return r
}

func (r *reloading) serve(p *checkertest.Pair) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serves, r.before = p, nil
}

func TestServersAreProbedEveryFiveMinutesOrWhenThereIsAReason(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.crt")
	first, second := issue(t, 3000*24*time.Hour), issue(t, 2000*24*time.Hour)
	write(t, file, first)
	server := newReloading(t, first)
	target, err := probe.Parse(server.address + "=" + file)
	if err != nil {
		t.Fatal(err)
	}
	now := testclock.NewFakePassiveClock(time.Now())
	s := surveyor(t, survey.Options{NoProbe: true, Endpoints: []probe.Target{target}, Targets: scan.Targets{Paths: []string{file}}})
	s.Clock, s.ProbeEvery = now, 5*time.Minute
	if s.Scanner, err = scan.New(scan.Options{CheckKeys: true}); err != nil {
		t.Fatal(err)
	}

	expect := func(when string, handshakes int32, serves *checkertest.Pair) {
		t.Helper()
		d := look(t, s)
		if got := server.handshakes.Load(); got != handshakes {
			t.Errorf("%s: %d handshakes until now, want %d", when, got, handshakes)
		}
		e := d.Endpoints[0]
		if e.LeafID != serves.Checked().Fingerprint.String() || e.Match != checker.MatchYes || len(e.Findings) != 0 {
			t.Errorf("%s: endpoint %+v, want a match with what it serves", when, e)
		}
		if got := d.Certificates[0].ID; len(d.Certificates) != 1 || got != serves.Checked().Fingerprint.String() {
			t.Errorf("%s: the certificate on disk is %s, want the new one at once", when, got)
		}
	}
	expect("the first survey", 1, first)
	now.SetTime(now.Now().Add(4*time.Minute + 59*time.Second))
	expect("within five minutes", 1, first)
	now.SetTime(now.Now().Add(time.Second))
	expect("after five minutes", 2, first)
	expect("at once again", 2, first)
	s.Refresh()
	expect("asked for", 3, first)

	// Without a new probe this would look like a mismatch.
	server.serve(second)
	write(t, file, second)
	expect("a file has changed", 4, second)
	expect("and no more", 4, second)

	key, err := second.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(strings.TrimSuffix(file, ".crt")+".key", key, 0o600); err != nil {
		t.Fatal(err)
	}
	expect("a key has come", 5, second)
}

func TestAOneShotCheckAlwaysProbes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.crt")
	pair := issue(t, 3000*24*time.Hour)
	write(t, file, pair)
	server := newReloading(t, pair)
	target, err := probe.Parse(server.address)
	if err != nil {
		t.Fatal(err)
	}
	s := surveyor(t, survey.Options{NoProbe: true, Endpoints: []probe.Target{target}, Targets: scan.Targets{Paths: []string{file}}})
	look(t, s)
	look(t, s)
	if got := server.handshakes.Load(); got != 2 {
		t.Errorf("%d handshakes in two surveys", got)
	}
}

// TestAProbeCutShortIsNoAnswer: a survey that ends half-way must not call
// servers unreachable that it did not wait for, now or in the next survey.
func TestAProbeCutShortIsNoAnswer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.crt")
	pair := issue(t, 3000*24*time.Hour)
	write(t, file, pair)
	ctx, cancel := context.WithCancel(t.Context())
	server := newReloading(t, pair)
	server.before = cancel
	target, err := probe.Parse(server.address)
	if err != nil {
		t.Fatal(err)
	}
	s := surveyor(t, survey.Options{NoProbe: true, Endpoints: []probe.Target{target}, Targets: scan.Targets{Paths: []string{file}}})
	s.ProbeEvery = time.Hour
	if d, err := s.Survey(ctx); err == nil {
		t.Fatalf("a survey that was cut short: %+v, want an error", d.Endpoints)
	}
	server.serve(pair)
	if d := look(t, s); d.Endpoints[0].State != checker.EndpointServing {
		t.Errorf("the next survey: %+v, want the server to be asked", d.Endpoints[0])
	}
}

func TestWithoutProcThatIsSaid(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.crt")
	write(t, file, issue(t, 3000*24*time.Hour))
	nowhere := filepath.Join(t.TempDir(), "proc")
	d := look(t, surveyor(t, survey.Options{NoProbe: true, Proc: nowhere, Targets: scan.Targets{Paths: []string{file}}}))
	if d.Summary.ExitCode != 0 || len(d.Processes) != 0 {
		t.Errorf("exit code %d, processes %v; want the certificate judged", d.Summary.ExitCode, d.Processes)
	}
	for _, r := range d.Summary.Roots {
		if r == (checker.Root{Path: nowhere, State: checker.RootMissing}) {
			return
		}
	}
	t.Errorf("roots %v do not say that %s was not there", d.Summary.Roots, nowhere)
}

func TestWhatAProcessLoadedIsReported(t *testing.T) {
	dir := t.TempDir()
	file, proc := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "proc")
	write(t, file, issue(t, 3000*24*time.Hour))
	fakeProcess(t, proc, "etcd\x00--trusted-ca-file="+file+"\x00")
	d := look(t, surveyor(t, survey.Options{NoProbe: true, Proc: proc, Targets: scan.Targets{Paths: []string{file}}}))
	if len(d.Processes) != 1 || d.Processes[0] != (checker.Loaded{Process: "etcd", PID: 42, Path: file, RestartSuspected: true}) {
		t.Errorf("processes %+v, want etcd with its CA, which is newer", d.Processes)
	}
}

// fakeProcess writes a proc file system with one process that started when the
// machine did, in 2001.
func fakeProcess(t *testing.T, proc, cmdline string) {
	t.Helper()
	for name, text := range map[string]string{
		"stat":       "btime 1000000000\n",
		"42/cmdline": cmdline,
		"42/environ": "",
		"42/stat":    "42 (etcd) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 100 1000000 100 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
	} {
		name = filepath.Join(proc, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
