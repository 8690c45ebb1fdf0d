package bundle_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"

	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
)

// What is written for a set is compared as text by others, and a write that only
// changed the order would look like a new bundle to them.
func TestOneSetIsAlwaysWrittenWithTheSameBytes(t *testing.T) {
	a, b, c := year(t, "a"), year(t, "b"), year(t, "c")
	odd := bundletest.Unparsable(5)
	texts := []string{a.PEM(), b.PEM(), c.PEM(), odd}
	want := slices.Clone(texts)
	slices.SortFunc(want, func(x, y string) int {
		return bundle.FingerprintOf(derOf(t, x)).Compare(bundle.FingerprintOf(derOf(t, y)))
	})
	whole := mustParse(t, odd).Union(bundle.Of(a.Cert, b.Cert, c.Cert))
	if got := string(whole.PEM()); got != strings.Join(want, "") {
		t.Fatalf("the set is not written in the order of its fingerprints:\n%s", got)
	}
	orders := [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 0, 2}, {2, 0, 3, 1}, {0, 0, 1, 2, 3, 3}, {3, 1, 2, 1, 0, 3, 0, 2}}
	for _, order := range orders {
		var text strings.Builder
		var certs []*x509.Certificate
		union := mustParse(t, odd)
		for _, i := range order {
			text.WriteString(texts[i])
			union = mustParse(t, texts[i]).Union(union)
			if i < 3 {
				certs = append(certs, []*bundletest.CA{a, b, c}[i].Cert)
			}
		}
		for how, s := range map[string]bundle.Set{
			"read from a text":        mustParse(t, text.String()),
			"made of certificates":    bundle.Of(certs...).Union(mustParse(t, odd)),
			"put together one by one": union,
			"made of anchors, twice":  bundle.FromAnchors(append(union.Anchors(), whole.Anchors()...)...),
		} {
			if !bytes.Equal(s.PEM(), whole.PEM()) {
				t.Errorf("%s in the order %v, the set is written as\n%s\nwant\n%s", how, order, s.PEM(), whole.PEM())
			}
		}
	}
}

func derOf(t *testing.T, text string) []byte {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatalf("no PEM block in %q", text)
	}
	return block.Bytes
}
