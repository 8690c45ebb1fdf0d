package checker_test

import (
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/checkertest"
	"github.com/reanchor/reanchor/checker/probe"
	"github.com/reanchor/reanchor/checker/scan"
	"github.com/reanchor/reanchor/checker/survey"
)

const (
	benchFiles = 10_000
	benchDir   = "REANCHOR_BENCH_DIR"
)

// benchTargets are what the benchmark fails above, in the order of its line.
func benchTargets() [3]int { return [...]int{1500, 150, 100} }

// benchLine is what the child and the benchmark print.
const benchLine = "BENCH checker files=10000 cold_ms=%d warm_ms=%d rss_mb=%d\n"

// BenchmarkChecker10000Files surveys 10,000 different certificates, half of
// them RSA 2048 and half P-256, in 100 directories with their CAs: with an
// empty cache (cold) and again (warm). A process of its own does the work, so
// that rss_mb is the checker's peak and not that of issuing certificates; of
// five such processes the middle values count.
func BenchmarkChecker10000Files(b *testing.B) {
	dir := b.TempDir()
	if err := benchTree(dir); err != nil {
		b.Fatal(err)
	}
	var rounds [5][3]int
	for b.Loop() {
		for i := range rounds {
			rounds[i] = surveyInChild(b, dir)
		}
	}
	var middle [3]int
	for of := range middle {
		slices.SortFunc(rounds[:], func(x, y [3]int) int { return cmp.Compare(x[of], y[of]) })
		middle[of] = rounds[len(rounds)/2][of]
		if name, most := [...]string{"cold_ms", "warm_ms", "rss_mb"}[of], benchTargets()[of]; middle[of] > most {
			b.Errorf("%s is %d, want at most %d; all rounds: %v", name, middle[of], most, rounds)
		}
	}
	fmt.Printf(benchLine, middle[0], middle[1], middle[2])
}

// surveyInChild is one round: cold, warm, peak memory.
func surveyInChild(b *testing.B, dir string) (round [3]int) {
	b.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestSurveyAsChild$")
	cmd.Env = append(os.Environ(), benchDir+"="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	if _, err := fmt.Sscanf(string(out), benchLine, &round[0], &round[1], &round[2]); err != nil {
		b.Fatalf("%v in %q", err, out)
	}
	return round
}

// benchTree writes the certificates.
func benchTree(dir string) error {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	born := time.Now().Add(-day)
	for d := range 100 {
		sub := filepath.Join(dir, fmt.Sprintf("node-%02d", d))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return err
		}
		var key crypto.Signer
		if d%2 == 0 {
			key = rsaKey
		}
		ca, err := checkertest.Issue(checkertest.Spec{CN: fmt.Sprintf("ca-%d", d), CA: true, NotBefore: born, NotAfter: born.Add(3650 * day), Key: key}, nil)
		if err != nil {
			return err
		}
		for n := range benchFiles / 100 {
			name, pair := filepath.Join(sub, fmt.Sprintf("%03d.crt", n)), ca
			if n > 0 {
				spec := checkertest.Spec{CN: fmt.Sprintf("node-%d-%d", d, n), DNS: []string{"a.example.com", "b.example.com"}, IPs: []string{"127.0.0.1"}, NotBefore: born, NotAfter: born.Add(365 * day), Usages: checkertest.Both(), Key: key}
				if pair, err = checkertest.Issue(spec, ca); err != nil {
					return err
				}
			}
			if err := os.WriteFile(name, pair.CertPEM(), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestSurveyAsChild is what the benchmark measures; without the benchmark's
// variable it has nothing to do.
func TestSurveyAsChild(t *testing.T) {
	dir := os.Getenv(benchDir)
	if dir == "" {
		return
	}
	// As the command does.
	debug.SetGCPercent(50)
	scanner, err := scan.New(scan.Options{CheckKeys: true})
	if err != nil {
		t.Fatal(err)
	}
	s := &survey.Surveyor{
		Options: survey.Options{NoProbe: true, Targets: scan.Targets{Paths: []string{dir}}, Policy: checker.DefaultPolicy()},
		Scanner: scanner, Prober: probe.Prober{Timeout: time.Second}, Clock: clock.RealClock{}, Engine: checker.NewEngine(),
	}
	var took []time.Duration
	for range 8 {
		began := time.Now()
		d, err := s.Survey(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
		if d.Summary.OK != benchFiles {
			t.Fatalf("summary %+v, want all of %d ok", d.Summary, benchFiles)
		}
	}
	cold, warm := took[0], took[1:]
	slices.Sort(warm)
	fmt.Printf(benchLine, cold.Milliseconds(), warm[len(warm)/2].Milliseconds(), peakMB(t))
}

// peakMB is the most memory the process ever had.
func peakMB(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kb int
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kb); n == 1 {
			return kb / 1024
		}
	}
	t.Fatal("/proc/self/status has no VmHWM")
	return 0
}
