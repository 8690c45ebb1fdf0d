package bundle_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func year(tb testing.TB, name string) *bundletest.CA {
	return bundletest.NewRoot(tb, name, bundletest.From(now.Add(-time.Hour), 365*24*time.Hour))
}

func mustParse(tb testing.TB, text string) bundle.Set {
	tb.Helper()
	s, err := bundle.Parse([]byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestParseReadsTheSameSetWhateverTheTextLooksLike(t *testing.T) {
	a, b := year(t, "a"), year(t, "b")
	want := bundle.Of(a.Cert, b.Cert)
	oneLine := "-----BEGIN CERTIFICATE-----\n" + strings.ReplaceAll(pemBody(a.PEM()), "\n", "") + "\n-----END CERTIFICATE-----"
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("not a key")}))
	for name, text := range map[string]string{
		"in order":                            a.PEM() + b.PEM(),
		"in the other order":                  b.PEM() + a.PEM(),
		"with duplicates":                     a.PEM() + b.PEM() + a.PEM(),
		"without the last new line":           a.PEM() + strings.TrimSpace(b.PEM()),
		"with comments between and around":    "# root a\n" + a.PEM() + "\n# root b\n\n" + b.PEM() + "# end",
		"with lines wrapped in another place": oneLine + "\n" + b.PEM(),
		"with carriage returns":               strings.ReplaceAll(a.PEM()+b.PEM(), "\n", "\r\n"),
		"with a block of another type":        a.PEM() + key + b.PEM(),
	} {
		t.Run(name, func(t *testing.T) {
			got := mustParse(t, text)
			if !got.Equal(want) || got.Hash() != want.Hash() {
				t.Errorf("read %d anchors with hash %s, want the two of %s", got.Len(), got.Hash(), want.Hash())
			}
		})
	}
}

func pemBody(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[1:len(lines)-1], "\n")
}

func TestParseRefusesWhatIsNotABundle(t *testing.T) {
	a := year(t, "a")
	for name, tc := range map[string]struct {
		text string
		want error
		says string
	}{
		"no text":                            {"", bundle.ErrNoCertificate, ""},
		"text without PEM":                   {"hello", bundle.ErrNoCertificate, ""},
		"a key alone":                        {string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})), bundle.ErrNoCertificate, ""},
		"a second block that is cut off":     {a.PEM() + a.PEM()[:200], bundle.ErrMalformed, "block 1"},
		"a first block without its end line": {a.PEM()[:200] + "\n" + a.PEM(), bundle.ErrMalformed, "block 0"},
		"a block with damaged base64":        {a.PEM() + strings.Replace(a.PEM(), "M", "!", 1), bundle.ErrMalformed, "block 1"},
		"an empty block":                     {"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", bundle.ErrMalformed, "block 0"},
		"more text than a ConfigMap holds":   {strings.Repeat(" ", bundle.MaxBytes+1), bundle.ErrTooLarge, ""},
		"more blocks than are read":          {strings.Repeat(a.PEM(), bundle.MaxAnchors+1), bundle.ErrTooLarge, "block 512"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := bundle.Parse([]byte(tc.text))
			if !errors.Is(err, tc.want) {
				t.Fatalf("got error %v, want %v", err, tc.want)
			}
			if !strings.Contains(err.Error(), tc.says) {
				t.Errorf("the error %q does not name %q", err, tc.says)
			}
			if strings.Contains(err.Error(), pemBody(a.PEM())[:20]) {
				t.Errorf("the error quotes the block: %q", err)
			}
		})
	}
}

func TestAnAnchorThatGoCannotParseIsKeptWithUnknownValidity(t *testing.T) {
	s := mustParse(t, bundletest.Unparsable(1)+year(t, "a").PEM())
	if s.Len() != 2 {
		t.Fatalf("kept %d anchors, want 2", s.Len())
	}
	far := now.Add(100 * 365 * 24 * time.Hour)
	if got := s.ValidAt(far); got.Len() != 1 || got.Anchors()[0].ValidityKnown() {
		t.Errorf("after a hundred years want the unparsable anchor alone to count as unexpired, got %d", got.Len())
	}
	if _, ok := s.NotAfter(); ok {
		t.Error("a set with an anchor of unknown validity has no known end")
	}
}

func TestHashIsTheDocumentedAlgorithm(t *testing.T) {
	a, b := year(t, "a"), year(t, "b")
	fps := []bundle.Fingerprint{a.Fingerprint(), b.Fingerprint()}
	slices.SortFunc(fps, bundle.Fingerprint.Compare)
	h := sha256.New()
	for _, f := range fps {
		h.Write(f[:])
	}
	if got, want := bundle.Of(a.Cert, b.Cert).Hash(), "v1:"+hex.EncodeToString(h.Sum(nil)); got != want {
		t.Errorf("hash %s, want %s", got, want)
	}
}

func TestValidityBounds(t *testing.T) {
	a := bundletest.NewRoot(t, "a", bundletest.From(now, time.Hour))
	b := bundletest.NewRoot(t, "b", bundletest.From(now.Add(time.Hour), time.Hour))
	s := bundle.Of(a.Cert, b.Cert)
	for name, tc := range map[string]struct {
		at   time.Time
		want int
	}{
		"an anchor that is not valid yet counts as unexpired": {now.Add(-time.Minute), 2},
		"an anchor is valid at its last instant":              {now.Add(time.Hour), 2},
		"and expired one second later":                        {now.Add(time.Hour + time.Second), 1},
		"all expired":                                         {now.Add(3 * time.Hour), 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := s.ValidAt(tc.at).Len(); got != tc.want {
				t.Errorf("%d unexpired anchors, want %d", got, tc.want)
			}
			if got := s.ExpiredAt(tc.at).Len(); got != 2-tc.want {
				t.Errorf("%d expired anchors, want %d", got, 2-tc.want)
			}
		})
	}
	if end, ok := s.NotAfter(); !ok || !end.Equal(now.Add(2*time.Hour)) {
		t.Errorf("the set ends at %v %v, want when its last anchor does", end, ok)
	}
	if _, ok := (bundle.Set{}).NotAfter(); ok {
		t.Error("the empty set has no end")
	}
}

func TestSetLaws(t *testing.T) {
	a, b, c := year(t, "a"), year(t, "b"), year(t, "c")
	all := []bundle.Set{
		{}, bundle.Of(a.Cert), bundle.Of(b.Cert), bundle.Of(a.Cert, b.Cert),
		bundle.Of(a.Cert, b.Cert, c.Cert), mustParse(t, bundletest.Unparsable(7)+c.PEM()),
	}
	for _, s := range all {
		for _, o := range all {
			check := func(law string, ok bool) {
				if !ok {
					t.Errorf("%s does not hold for sets of %d and %d anchors", law, s.Len(), o.Len())
				}
			}
			check("union commutes", s.Union(o).Equal(o.Union(s)) && s.Union(o).Hash() == o.Union(s).Hash())
			check("union contains both", s.Union(o).ContainsAll(s) && s.Union(o).ContainsAll(o))
			check("intersection commutes", s.Intersect(o).Equal(o.Intersect(s)))
			check("difference and intersection make the whole", s.Minus(o).Union(s.Intersect(o)).Equal(s))
			check("equal sets have equal hashes and no others do", s.Equal(o) == (s.Hash() == o.Hash()))
			check("nothing of o is left in s minus o", s.Minus(o).Intersect(o).Empty())
		}
		if s.Empty() {
			continue
		}
		if again := mustParse(t, string(s.PEM())); !again.Equal(s) {
			t.Errorf("writing and reading a set of %d anchors gives another set", s.Len())
		}
	}
}

func TestASetIsRestoredFromItsSummary(t *testing.T) {
	a, b := year(t, "a"), year(t, "b")
	full := bundle.Of(a.Cert, b.Cert)
	var summary []bundle.Anchor
	for _, x := range full.Anchors() {
		f, err := bundle.ParseFingerprint(x.Fingerprint.String())
		if err != nil {
			t.Fatal(err)
		}
		summary = append(summary, bundle.Anchor{Fingerprint: f, Subject: x.Subject, NotBefore: x.NotBefore, NotAfter: x.NotAfter})
	}
	s := bundle.FromAnchors(summary...)
	if s.Hash() != full.Hash() || !s.Equal(full) {
		t.Error("a summary is another set than the certificates it was taken from")
	}
	if len(s.PEM()) != 0 {
		t.Error("a summary has no certificate to write")
	}
	if got := s.Union(full).PEM(); !bytes.Equal(got, full.PEM()) {
		t.Error("the union of a summary and the certificates keeps the certificates")
	}
}

func TestVerify(t *testing.T) {
	life := bundletest.From(now.Add(-time.Hour), 48*time.Hour)
	oldRoot, newRoot := year(t, "root"), year(t, "root")
	issuer := oldRoot.Intermediate("issuer", life)
	leaf := issuer.Leaf("web", life)
	renewed := oldRoot.Renew(bundletest.From(now, 365*24*time.Hour))
	expired := oldRoot.Renew(bundletest.From(now.Add(-2*time.Hour), time.Hour))
	for name, tc := range map[string]struct {
		set  bundle.Set
		at   time.Time
		want bool
	}{
		"the anchor that signed it":                              {bundle.Of(oldRoot.Cert), now, true},
		"one of several anchors":                                 {bundle.Of(newRoot.Cert, oldRoot.Cert), now, true},
		"an anchor of the same name and another key":             {bundle.Of(newRoot.Cert), now, false},
		"a renewal with the same key and name":                   {bundle.Of(renewed.Cert), now, true},
		"the anchor itself has expired":                          {bundle.Of(expired.Cert), now, false},
		"the issuer has expired":                                 {bundle.Of(oldRoot.Cert), now.Add(49 * time.Hour), false},
		"no anchors, not the system's roots":                     {bundle.Set{}, now, false},
		"an anchor known by summary only proves nothing":         {bundle.FromAnchors(bundle.Anchor{Fingerprint: oldRoot.Fingerprint()}), now, false},
		"an anchor that Go cannot parse proves nothing":          {mustParse(t, bundletest.Unparsable(1)), now, false},
		"an anchor that cannot be parsed does not hide the rest": {mustParse(t, bundletest.Unparsable(1)+oldRoot.PEM()), now, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.set.Verifies(chain(issuer), tc.at); got != tc.want {
				t.Errorf("issuer verified: %v, want %v (%v)", got, tc.want, tc.set.Verify(chain(issuer), tc.at))
			}
			err := tc.set.Verify([]*x509.Certificate{leaf, issuer.Cert}, tc.at)
			if got := err == nil; got != tc.want {
				t.Errorf("leaf verified: %v, want %v (%v)", got, tc.want, err)
			}
			if err != nil && !errors.Is(err, bundle.ErrUnverifiable) {
				t.Errorf("error %v is not ErrUnverifiable", err)
			}
		})
	}
	if got := bundle.Of(newRoot.Cert, oldRoot.Cert, renewed.Cert).VerifiedBy(chain(issuer), now); !got.Equal(bundle.Of(oldRoot.Cert, renewed.Cert)) {
		t.Errorf("verified by %d anchors, want the old root and its renewal", got.Len())
	}
	if !anchorOf(oldRoot).SameKeyAndName(anchorOf(renewed)) || anchorOf(oldRoot).SameKeyAndName(anchorOf(newRoot)) {
		t.Error("a renewal has the same key and name, a new root of that name has not")
	}
}

func TestParseChainWantsCertificatesItCanRead(t *testing.T) {
	root := year(t, "root")
	issuer := root.Intermediate("issuer", bundletest.From(now, time.Hour))
	got, err := bundle.ParseChain([]byte(issuer.PEM() + root.PEM()))
	if err != nil || len(got) != 2 || !got[0].Equal(issuer.Cert) {
		t.Fatalf("read %d certificates, error %v", len(got), err)
	}
	if _, err := bundle.ParseChain([]byte("")); !errors.Is(err, bundle.ErrNoCertificate) {
		t.Errorf("an empty chain gives %v", err)
	}
	if _, err := bundle.ParseChain([]byte(bundletest.Unparsable(1))); err == nil || !strings.Contains(err.Error(), "block 0") {
		t.Errorf("an unparsable certificate gives %v, want an error that names block 0", err)
	}
}

// A root that comes behind a damaged certificate would verify itself, and a rotation
// towards a bundle that does not verify the issuer would go ahead.
func TestTheSecondCertificateOfAChainNeverPassesForTheFirst(t *testing.T) {
	root := year(t, "root")
	issuer := root.Intermediate("issuer", bundletest.From(now, time.Hour)).PEM()
	for name, tc := range map[string]struct {
		first string
		want  error
	}{
		"its base64 is damaged":         {strings.Replace(issuer, "MII", "M~I", 1), bundle.ErrMalformed},
		"it is cut off":                 {issuer[:len(issuer)/2] + "\n", bundle.ErrMalformed},
		"its last line is damaged":      {strings.Replace(issuer, "-----END", "----END", 1), bundle.ErrMalformed},
		"its first line is damaged":     {strings.Replace(issuer, "-----BEGIN", "----BEGIN", 1), bundle.ErrMalformed},
		"it is empty":                   {"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", bundle.ErrMalformed},
		"there are more than are read":  {strings.Repeat(issuer, bundle.MaxAnchors), bundle.ErrTooLarge},
		"there is a comment before it":  {"issuer\n" + issuer, nil},
		"there is another block before": {"-----BEGIN X-----\nAAAA\n-----END X-----\n" + issuer, nil},
	} {
		t.Run(name, func(t *testing.T) {
			chain, err := bundle.ParseChain([]byte(tc.first + root.PEM()))
			if !errors.Is(err, tc.want) || (tc.want == nil) != (len(chain) == 2) {
				t.Errorf("read %d certificates, error %v, want error %v", len(chain), err, tc.want)
			}
			if tc.want == nil && chain[0].Equal(root.Cert) {
				t.Error("the root passes for the issuer")
			}
		})
	}
}

func TestParseFingerprintRefusesOtherText(t *testing.T) {
	for _, text := range []string{"", "abc", strings.Repeat("g", 64), strings.Repeat("a", 63), strings.Repeat("a", 66)} {
		if _, err := bundle.ParseFingerprint(text); err == nil {
			t.Errorf("%q was read as a fingerprint", text)
		}
	}
}

func FuzzParse(f *testing.F) {
	a := bundletest.NewRoot(f, "a", bundletest.From(now, time.Hour))
	f.Add([]byte(a.PEM()))
	f.Add([]byte(a.PEM() + bundletest.Unparsable(3)))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"))
	f.Add([]byte("-----BEGIN X-----\nA: b\n\nAAAA\n-----END X-----"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := bundle.Parse(text)
		if (err == nil) == s.Empty() {
			t.Fatalf("a set of %d anchors and error %v", s.Len(), err)
		}
		if err != nil {
			return
		}
		again, err := bundle.Parse(s.PEM())
		if err != nil || !again.Equal(s) || again.Hash() != s.Hash() {
			t.Fatalf("reading what was written gives another set: %v", err)
		}
	})
}

func chain(ca *bundletest.CA) []*x509.Certificate { return []*x509.Certificate{ca.Cert} }

func anchorOf(ca *bundletest.CA) bundle.Anchor { return bundle.Of(ca.Cert).Anchors()[0] }
