package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/checkertest"
	"github.com/reanchor/reanchor/checker/report"
)

// checked is what one run of the command gave.
type checked struct {
	code     int
	out, err string
}

// check runs `reanchor check` as a process would, away from this machine's own
// endpoints and processes.
func check(t *testing.T, args ...string) checked {
	t.Helper()
	t.Setenv("COLUMNS", "")
	var out, errs bytes.Buffer
	args = append([]string{"check", "--no-processes", "--termination-log", "/nowhere"}, args...)
	err := run(t.Context(), args, streams{&out, &errs})
	return checked{exitCode(err), out.String(), errs.String()}
}

func node(t *testing.T, l checkertest.Layout, incident bool) string {
	t.Helper()
	dir := t.TempDir()
	if err := checkertest.Write(dir, l, checkertest.Options{Now: time.Now(), Incident: incident}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// caFile writes a CA that ends at a time from now.
func caFile(t *testing.T, ends time.Duration) string {
	t.Helper()
	p, err := checkertest.Issue(checkertest.Spec{CN: "ca", CA: true, NotBefore: time.Now().AddDate(-9, 0, 0), NotAfter: time.Now().Add(ends)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, p.CertPEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

const longLife = 9 * 365 * 24 * time.Hour

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestTheIncidentOnTheCommandLine(t *testing.T) {
	got := check(t, "--rootfs", node(t, checkertest.Kops118, true), "--no-probe")
	if got.code != 2 {
		t.Errorf("exit code %d, want 2", got.code)
	}
	var rows []string
	for line := range strings.Lines(got.out) {
		if !strings.HasPrefix(line, " ") {
			rows = append(rows, line)
		}
	}
	const volume = checkertest.MainVolume + "/pki/" + checkertest.Token
	for i, file := range []string{volume + "/clients/server.crt", volume + "/peers/me.crt"} {
		if !strings.HasPrefix(rows[i+1], "EXPIRED") || !strings.Contains(rows[i+1], file) {
			t.Errorf("row %d is not %s: %s", i+1, file, rows[i+1])
		}
	}
	if strings.HasPrefix(rows[3], "EXPIRED") || !strings.Contains(got.out, "→ restart etcd-manager-main on this node, one node at a time") {
		t.Error(got.out)
	}
	if !strings.Contains(got.out, "ORPHANED") || !strings.Contains(got.out, "Not there:   /mnt/disks/*/pki") {
		t.Errorf("the orphan or the missing roots are not named:\n%s", got.out)
	}
}

func TestTheSameIncidentWithoutTheVolumeMountedIsNotGreen(t *testing.T) {
	dir := node(t, checkertest.Kops118, true)
	if err := os.RemoveAll(filepath.Join(dir, "mnt")); err != nil {
		t.Fatal(err)
	}
	got := check(t, "--rootfs", dir, "--no-probe")
	if got.code != 1 || !strings.Contains(got.out, "none of its volumes is visible") {
		t.Errorf("exit code %d\n%s", got.code, got.out)
	}
}

func TestInitContainer(t *testing.T) {
	fine, expired := caFile(t, longLife), caFile(t, -time.Hour)
	for name, c := range map[string]struct {
		args []string
		code int
		line string
	}{
		"a fine CA lets the pod start":                        {[]string{fine}, 0, "OK: 1 certificate, 1 ok"},
		"an expired CA does not, and one line says why":       {[]string{"--path", expired}, 2, "CRITICAL expired " + expired + ": expired 1 hour ago"},
		"an endpoint that nobody serves yet lets it start":    {[]string{fine, "--endpoint", closedPort(t)}, 0, "WARNING live_unreachable"},
		"a CA that ends tomorrow lets it start":               {[]string{caFile(t, 24*time.Hour)}, 0, "CRITICAL expiring"},
		"a file that is not there does not":                   {[]string{"/nowhere/ca.crt"}, 3, "UNKNOWN not_found /nowhere/ca.crt"},
		"nothing found is never green":                        {[]string{t.TempDir()}, 3, "UNKNOWN nothing_found"},
		"neither is a requirement that matches nothing":       {[]string{fine, "--require", "/mnt/*/me.crt"}, 3, "UNKNOWN nothing_found /mnt/*/me.crt"},
		"an endpoint alone that nobody serves is not a check": {[]string{"https://" + closedPort(t)}, 3, "UNKNOWN nothing_found"},
	} {
		t.Run(name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "termination-log")
			if err := os.WriteFile(log, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			got := check(t, append([]string{"--fail-on", "expired", "--quiet", "--termination-log", log}, c.args...)...)
			if got.code != c.code || !strings.HasPrefix(got.out, c.line) || strings.Count(got.out, "\n") != 1 {
				t.Errorf("exit code %d, want %d; output %q, want one line %q...", got.code, c.code, got.out, c.line)
			}
			left, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			if want := got.out; (c.code == 0) != (len(left) == 0) || (c.code != 0 && string(left) != want) {
				t.Errorf("termination log %q, want the line if and only if it fails", left)
			}
		})
	}
}

func TestWhatFailsInSixtyDays(t *testing.T) {
	file := caFile(t, 400*24*time.Hour)
	for now, want := range map[string]int{"": 0, "+60d": 1, "+350d": 2, "+2y": 2, "2020-01-01T00:00:00Z": 0} {
		args := []string{file}
		if now != "" {
			args = append(args, "--now", now)
		}
		if got := check(t, args...); got.code != want {
			t.Errorf("--now %q: exit code %d, want %d\n%s", now, got.code, want, got.out)
		}
	}
}

func TestWrongUsageIsUnknown(t *testing.T) {
	for _, args := range [][]string{
		{"--bogus"}, {"--profile", "talos"}, {"--output", "xml"}, {"--warning", "soon"}, {"--warning", "1d"}, {"--now", "tomorrow"},
		{"--ignore", "expird"}, {"--endpoint", "nowhere"}, {"--serve", "--now", "+1d"}, {"--exclude", "["}, {"--passphrase-file", "/nowhere"},
		{"--timeout", "0s"}, {"--quiet", "--output", "json"},
	} {
		if got := check(t, args...); got.code != 3 || got.err == "" || strings.Count(got.err, "reanchor:") != 1 {
			t.Errorf("%v: exit code %d, stderr %q; want 3 and one message", args, got.code, got.err)
		}
	}
}

func TestWrongUsageSaysWhereTheRightOneIs(t *testing.T) {
	for want, args := range map[string][]string{
		"unknown flag --bogus; see reanchor check --help": {"check", "--bogus"},
		"; see reanchor webhook --help":                   {"webhook", "--address", "nowhere"},
		"; see reanchor --help":                           {"chekc"},
	} {
		var out, errs bytes.Buffer
		if err := run(t.Context(), args, streams{&out, &errs}); err == nil || !strings.HasSuffix(errs.String(), want+"\n") {
			t.Errorf("%v: %v, stderr %q; want it to end in %q", args, err, errs.String(), want)
		}
	}
}

func TestTheVersionIsPrinted(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"version"}, streams{&out, io.Discard}); err != nil {
		t.Fatal(err)
	}
	if want := "reanchor " + version() + " " + runtime.Version() + " "; !strings.HasPrefix(out.String(), want) {
		t.Errorf("got %q, want it to begin with %q", out.String(), want)
	}
}

func TestHelpIsNoFailure(t *testing.T) {
	if got := check(t, "--help"); got.code != 0 || !strings.Contains(got.out, "--fail-on") {
		t.Errorf("exit code %d, output %q", got.code, got.out)
	}
}

func TestMachineFormats(t *testing.T) {
	dir := node(t, checkertest.K3s, false)
	textfile := filepath.Join(t.TempDir(), "reanchor.prom")
	got := check(t, "--rootfs", dir, "--no-probe", "-o", "json", "--textfile", textfile, "--node-name", "n1")
	var d report.Document
	if err := json.Unmarshal([]byte(got.out), &d); err != nil {
		t.Fatal(err)
	}
	if d.Node != "n1" || d.Summary.Certificates == 0 || d.Summary.ExitCode != got.code {
		t.Errorf("node %q, summary %+v, exit code %d", d.Node, d.Summary, got.code)
	}
	prometheus := check(t, "--rootfs", dir, "--no-probe", "-o", "prometheus", "--compat-metrics").out
	for _, want := range []string{"reanchor_cert_not_after_timestamp_seconds{", "x509_cert_not_after{"} {
		if !strings.Contains(prometheus, want) {
			t.Errorf("no %s in the Prometheus output", want)
		}
	}
	if written, err := os.ReadFile(textfile); err != nil || !strings.Contains(string(written), "reanchor_findings") {
		t.Errorf("textfile: %v, %d bytes", err, len(written))
	}
}

// TestNoPrivateKeyIsEverPrinted looks for the body of any private key of the
// node in every output.
func TestNoPrivateKeyIsEverPrinted(t *testing.T) {
	dir := node(t, checkertest.Kubeadm, false)
	admin, err := os.ReadFile(filepath.Join(dir, "etc/kubernetes/admin.conf"))
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{regexp.MustCompile(`client-key-data: (\S{60})`).FindStringSubmatch(string(admin))[1]}
	err = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".key") {
			return err
		}
		key, err := os.ReadFile(path)
		secrets = append(secrets, strings.Split(string(key), "\n")[1])
		return err
	})
	if err != nil || len(secrets) < 10 {
		t.Fatalf("%d keys: %v", len(secrets), err)
	}
	for _, format := range []string{"table", "wide", "json", "jsonl", "yaml", "prometheus"} {
		got := check(t, "--rootfs", dir, "--no-probe", "-o", format)
		for _, secret := range secrets {
			if strings.Contains(got.out+got.err, secret) {
				t.Errorf("%s prints a private key", format)
			}
		}
		if strings.Contains(got.out, "PRIVATE KEY") {
			t.Errorf("%s prints PEM", format)
		}
	}
}

func TestIgnoreAndThresholds(t *testing.T) {
	file := caFile(t, 300*24*time.Hour)
	for _, c := range []struct {
		args []string
		want int
	}{
		{nil, 1},
		{[]string{"--ignore", "expiring"}, 0},
		{[]string{"--ignore", "expiring:/other/*"}, 1},
		{[]string{"--ca-warning", "200d", "--ca-critical", "10d"}, 0},
		{[]string{"--ca-warning", "2y", "--ca-critical", "310d"}, 2},
		{[]string{"--fail-on", "critical"}, 0},
	} {
		if got := check(t, append(c.args, file)...); got.code != c.want {
			t.Errorf("%v: exit code %d, want %d\n%s", c.args, got.code, c.want, got.out)
		}
	}
}

// syncBuffer is written by the daemon and read by the test.
type syncBuffer struct{ lines chan string }

func (b syncBuffer) Write(p []byte) (int, error) {
	b.lines <- string(p)
	return len(p), nil
}

func TestServing(t *testing.T) {
	file := caFile(t, longLife)
	ctx, cancel := context.WithCancel(t.Context())
	logs := syncBuffer{make(chan string, 100)}
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"check", "--serve", "--listen-address", "127.0.0.1:0", "--no-processes", file}, streams{io.Discard, logs})
	}()
	next := func() string {
		select {
		case line := <-logs.lines:
			return line
		case <-time.After(patience):
			t.Fatal("the daemon says nothing")
			return ""
		}
	}
	url := regexp.MustCompile(`http://\S+`).FindString(next())
	if line := next(); !strings.HasPrefix(line, "OK: 1 certificate,") {
		t.Errorf("first survey: %s", line)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if line := next(); !strings.HasPrefix(line, "UNKNOWN: 0 certificates") {
		t.Errorf("after SIGHUP: %s", line)
	}
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || !strings.Contains(string(body), `reanchor_findings{finding="nothing_found"} 1`) {
		t.Errorf("metrics: %v\n%s", err, body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("told to end: %v", err)
	}
}

func TestAPortInUseIsUnknown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := check(t, "--serve", "--listen-address", l.Addr().String()); got.code != checker.Unknown.ExitCode() || !strings.Contains(got.err, "--listen-address") {
		t.Errorf("exit code %d, stderr %q", got.code, got.err)
	}
}

// TestTheManifestsArgumentsAreUnderstood keeps the DaemonSet and its overlay in
// step with the flags.
func TestTheManifestsArgumentsAreUnderstood(t *testing.T) {
	for _, file := range []string{"daemonset.yaml", "processes/daemonset.yaml"} {
		text, err := os.ReadFile(filepath.Join("../../manifests/checker", file))
		if err != nil {
			t.Fatal(err)
		}
		var d appsv1.DaemonSet
		if err := yaml.Unmarshal(text, &d); err != nil {
			t.Fatal(err)
		}
		var cli commands
		parser, err := kong.New(&cli)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse(d.Spec.Template.Spec.Containers[0].Args); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if !cli.Check.Serve || cli.Check.ListenAddress != ":9784" {
			t.Errorf("%s: serve %t on %s", file, cli.Check.Serve, cli.Check.ListenAddress)
		}
	}
}

func TestNoColorOfAnyValueIsUnderstood(t *testing.T) {
	dir := node(t, checkertest.Kubeadm, false)
	for _, value := range []string{"1", "please", "false", ""} {
		t.Setenv("NO_COLOR", value)
		if got := check(t, "--rootfs", dir, "--no-probe", "--quiet"); got.code != 0 {
			t.Errorf("with NO_COLOR=%q: exit %d, %s", value, got.code, got.err)
		}
	}
}
