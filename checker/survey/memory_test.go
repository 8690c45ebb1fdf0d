package survey_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	testclock "k8s.io/utils/clock/testing"

	"github.com/reanchor/reanchor/checker/checkertest"
	"github.com/reanchor/reanchor/checker/report"
	"github.com/reanchor/reanchor/checker/scan"
	"github.com/reanchor/reanchor/checker/survey"
)

// TestWhatASurveyorRemembersNeverShows edits a tree at random and compares,
// after each edit, the report of a surveyor that saw all earlier states with
// that of one that saw none, byte for byte.
func TestWhatASurveyorRemembersNeverShows(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			g := newGarden(t, seed)
			now := testclock.NewFakePassiveClock(time.Now())
			fresh := func() *survey.Surveyor {
				s := surveyor(t, survey.Options{NoProbe: true, Targets: scan.Targets{Paths: []string{g.dir}}})
				scanner, err := scan.New(scan.Options{CheckKeys: true, Settle: time.Nanosecond})
				if err != nil {
					t.Fatal(err)
				}
				s.Scanner, s.Clock = scanner, now
				return s
			}
			old := fresh()
			reports := map[string]bool{}
			for step := range 40 {
				what := g.edit()
				now.SetTime(now.Now().Add(time.Duration(g.random.IntN(30)) * 24 * time.Hour))
				want, got := asJSON(t, fresh()), asJSON(t, old)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("step %d, %s (-fresh +remembering):\n%s", step, what, diff)
				}
				reports[got] = true
			}
			if len(reports) < 20 {
				t.Errorf("only %d different reports in 40 steps: the edits change too little", len(reports))
			}
		})
	}
}

func asJSON(t *testing.T, s *survey.Surveyor) string {
	t.Helper()
	var text bytes.Buffer
	if err := report.JSON(&text, look(t, s)); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// garden is a tree of certificates that is edited.
type garden struct {
	t      *testing.T
	dir    string
	random *rand.Rand
	// cas are two generations with one name, and a stranger.
	cas []*checkertest.Pair
}

func newGarden(t *testing.T, seed uint64) *garden {
	t.Helper()
	g := &garden{t: t, dir: t.TempDir(), random: rand.New(rand.NewPCG(seed, 1))}
	for _, cn := range []string{"ca", "ca", "stranger"} {
		g.cas = append(g.cas, g.issue(checkertest.Spec{CN: cn, CA: true}, nil))
	}
	for range 12 {
		g.plant()
	}
	return g
}

func (g *garden) issue(spec checkertest.Spec, parent *checkertest.Pair) *checkertest.Pair {
	g.t.Helper()
	spec.NotBefore = time.Now().Add(-24 * time.Hour)
	spec.NotAfter = time.Now().Add(time.Duration(1+g.random.IntN(900)) * 24 * time.Hour)
	p, err := checkertest.Issue(spec, parent)
	if err != nil {
		g.t.Fatal(err)
	}
	return p
}

func (g *garden) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// place is one of a few paths, so that edits meet.
func (g *garden) place(extension string) string {
	dir := filepath.Join(g.dir, fmt.Sprintf("d%d", g.random.IntN(3)))
	g.must(os.MkdirAll(dir, 0o755))
	return filepath.Join(dir, fmt.Sprintf("%d%s", g.random.IntN(5), extension))
}

func (g *garden) put(file string, data []byte) {
	g.must(os.RemoveAll(file))
	g.must(os.WriteFile(file, data, 0o600))
}

// plant writes a leaf, with or without its key.
func (g *garden) plant() {
	leaf := g.issue(checkertest.Spec{CN: "leaf", DNS: []string{"leaf"}, Usages: checkertest.Both()}, g.cas[g.random.IntN(3)])
	file := g.place("")
	g.put(file+".crt", leaf.CertPEM())
	if g.random.IntN(2) == 0 {
		key, err := leaf.KeyPEM()
		g.must(err)
		g.put(file+".key", key)
	}
}

// edit changes one thing.
func (g *garden) edit() string {
	edits := []struct {
		name string
		do   func()
	}{
		{"a new leaf", g.plant},
		{"a CA comes", func() { g.put(g.place("-ca.crt"), g.cas[g.random.IntN(3)].CertPEM()) }},
		{"a bundle comes", func() {
			g.put(g.place(".pem"), append(g.cas[0].CertPEM(), g.cas[1+g.random.IntN(2)].CertPEM()...))
		}},
		{"a CA is replaced", func() { g.cas[g.random.IntN(2)] = g.issue(checkertest.Spec{CN: "ca", CA: true}, nil) }},
		{"a file goes", func() { g.must(os.RemoveAll(g.place(".crt"))) }},
		{"CAs go", func() { g.must(os.RemoveAll(g.place("-ca.crt"))) }},
		{"a directory goes", func() { g.must(os.RemoveAll(filepath.Dir(g.place("")))) }},
		{"a link comes", func() {
			file := g.place(".crt")
			g.must(os.RemoveAll(file))
			g.must(os.Symlink(g.place(".crt"), file))
		}},
		{"a link to a directory comes", func() {
			file := filepath.Join(g.dir, "link")
			g.must(os.RemoveAll(file))
			g.must(os.Symlink(filepath.Dir(g.place("")), file))
		}},
		{"a file is cut", func() { g.put(g.place(".crt"), g.cas[0].CertPEM()[:200]) }},
		{"a key goes", func() { g.must(os.RemoveAll(g.place(".key"))) }},
		{"a backup is made", func() { g.put(g.place(".pem.bak"), g.cas[2].CertPEM()) }},
	}
	e := edits[g.random.IntN(len(edits))]
	e.do()
	return e.name
}
