package bundle_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
)

func TestACacheAnswersAsParseDoes(t *testing.T) {
	c := bundle.NewCache(100, 1<<20)
	a, b := year(t, "a"), year(t, "b")
	for name, text := range map[string]string{
		"one anchor":      a.PEM(),
		"two anchors":     a.PEM() + b.PEM(),
		"unparsable":      bundletest.Unparsable(1),
		"no certificate":  "hello",
		"damaged":         a.PEM()[:100],
		"more than cache": strings.Repeat("#", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			want, wantErr := bundle.Parse([]byte(text))
			for _, when := range []string{"first", "second"} {
				got, err := c.Parse(text)
				if !got.Equal(want) || (err == nil) != (wantErr == nil) || (err != nil && err.Error() != wantErr.Error()) {
					t.Errorf("the %s time got %d anchors and %v, want %d and %v", when, got.Len(), err, want.Len(), wantErr)
				}
			}
		})
	}
	if _, err := c.Parse("hello"); !errors.Is(err, bundle.ErrNoCertificate) {
		t.Errorf("a remembered failure is %v", err)
	}
}

func TestACacheDoesNotParseAgain(t *testing.T) {
	c := bundle.NewCache(100, 1<<20)
	text := strings.Repeat(year(t, "a").PEM(), 50)
	if _, err := c.Parse(text); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(10, func() { _, _ = c.Parse(text) }); n != 0 {
		t.Errorf("a hit allocates %v times", n)
	}
}

func TestACacheKeepsACopyOfTheText(t *testing.T) {
	// A webhook's text is in memory that the next request overwrites.
	c, want := bundle.NewCache(100, 1<<20), year(t, "a").PEM()
	memory := []byte(want)
	if _, err := c.Parse(unsafe.String(unsafe.SliceData(memory), len(memory))); err != nil {
		t.Fatal(err)
	}
	clear(memory)
	if n := testing.AllocsPerRun(1, func() { _, _ = c.Parse(want) }); n != 0 {
		// The first of the two runs would have parsed and kept it again.
		t.Errorf("a hit allocates %v times", n)
	}
	if c.Len() != 1 {
		t.Errorf("%d texts are kept, want the one", c.Len())
	}
}

func TestACacheIsBounded(t *testing.T) {
	for name, tc := range map[string]struct{ entries, bytes, size, most int }{
		"by entries":                     {10, 1 << 20, 10, 10},
		"by bytes":                       {1000, 1000, 100, 10},
		"a bound of one keeps none":      {1, 1000, 10, 0},
		"a text over the bound is never": {10, 100, 51, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := bundle.NewCache(tc.entries, tc.bytes)
			for i := range 500 {
				text := strings.Repeat(" ", tc.size-3) + string([]byte{byte('a' + i/26%26), byte('a' + i%26), '!'})
				if _, err := c.Parse(text); !errors.Is(err, bundle.ErrNoCertificate) {
					t.Fatal(err)
				}
				if c.Len() > tc.most {
					t.Fatalf("after %d texts %d are kept, want at most %d", i+1, c.Len(), tc.most)
				}
			}
		})
	}
}

func TestWhatIsUsedStaysInTheCache(t *testing.T) {
	c := bundle.NewCache(8, 1<<20)
	used := strings.Repeat(year(t, "a").PEM(), 20)
	for i := range 100 {
		if _, err := c.Parse(used); err != nil {
			t.Fatal(err)
		}
		_, _ = c.Parse(strings.Repeat("x", i+1))
	}
	if n := testing.AllocsPerRun(1, func() { _, _ = c.Parse(used) }); n > 10 {
		t.Errorf("a text that is used all the time was parsed again (%v allocations)", n)
	}
}

func TestACacheIsSafeForConcurrentUse(t *testing.T) {
	c := bundle.NewCache(4, 1<<16)
	texts := []string{year(t, "a").PEM(), year(t, "b").PEM(), "x", "y", "z"}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			end := time.Now().Add(50 * time.Millisecond)
			for i := g; time.Now().Before(end); i++ {
				_, _ = c.Parse(texts[i%len(texts)])
			}
		})
	}
	wg.Wait()
}
