package proxies

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/hack/lab/identity"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func long(now time.Time) bundletest.Validity {
	return bundletest.From(now.Add(-time.Hour), 1000*time.Hour)
}

// authority is an identity that a test tells what to do.
type authority struct {
	t  *testing.T
	mu sync.Mutex
	// issuer signs; nil: nobody answers.
	issuer   *bundletest.CA
	lifetime time.Duration
	asked    int
}

func (a *authority) use(issuer *bundletest.CA) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.issuer = issuer
}

func (a *authority) requests() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

func (a *authority) Sign(r identity.Request) (identity.Leaf, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	if a.issuer == nil {
		return identity.Leaf{}, errors.New("nobody answers")
	}
	return sign(a.t, a.issuer, r, bundletest.From(time.Now().Add(-time.Second), a.lifetime+time.Second)), nil
}

func sign(t *testing.T, issuer *bundletest.CA, r identity.Request, v bundletest.Validity) identity.Leaf {
	t.Helper()
	pair, err := tls.X509KeyPair([]byte(issuer.PEM()), []byte(issuer.KeyPEM()))
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{r.Name}, NotBefore: v.NotBefore, NotAfter: v.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, issuer.Cert, r.Key, pair.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return identity.Leaf{Certificate: c, Chain: [][]byte{der, issuer.Cert.Raw}}
}

func trustIn(t *testing.T, anchors ...*bundletest.CA) *trust {
	t.Helper()
	text := ""
	for _, a := range anchors {
		text += a.PEM()
	}
	parsed, err := parseTrust(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestAChainIsVerifiedAsLinkerdsProxiesDo(t *testing.T) {
	past := bundletest.From(noon.Add(-2*time.Hour), time.Hour)
	root := bundletest.NewRoot(t, "root", long(noon))
	twin := bundletest.NewRoot(t, "root", long(noon))
	stranger := bundletest.NewRoot(t, "stranger", long(noon))
	expired := bundletest.NewRoot(t, "root", past)
	issuer := root.Intermediate("issuer", long(noon))
	chain := func(issuer *bundletest.CA, v bundletest.Validity) []*x509.Certificate {
		return []*x509.Certificate{issuer.Leaf("web", v), issuer.Cert}
	}
	cases := map[string]struct {
		anchors []*bundletest.CA
		chain   []*x509.Certificate
		name    string
		want    Reason
	}{
		"a chain below an anchor is good":                       {[]*bundletest.CA{root}, chain(issuer, long(noon)), "web", ""},
		"one of several anchors is enough":                      {[]*bundletest.CA{stranger, twin, root}, chain(issuer, long(noon)), "web", ""},
		"an expired anchor is as good as another":               {[]*bundletest.CA{expired}, chain(expired.Intermediate("issuer", long(noon)), long(noon)), "web", ""},
		"an anchor renewed with its key verifies what was":      {[]*bundletest.CA{root.Renew(long(noon.Add(time.Hour)))}, chain(issuer, long(noon)), "web", ""},
		"a leaf that has expired is not":                        {[]*bundletest.CA{root}, chain(issuer, past), "web", Expired},
		"a leaf of the future is not":                           {[]*bundletest.CA{root}, chain(issuer, bundletest.From(noon.Add(time.Hour), time.Hour)), "web", Expired},
		"an issuer that has expired is not":                     {[]*bundletest.CA{root}, chain(root.Intermediate("issuer", past), long(noon)), "web", Expired},
		"no anchor of the name is an unknown authority":         {[]*bundletest.CA{stranger}, chain(issuer, long(noon)), "web", UnknownAuthority},
		"an anchor of the name with another key: bad signature": {[]*bundletest.CA{stranger, twin}, chain(issuer, long(noon)), "web", BadSignature},
		"a leaf of another issuer of the name: bad signature":   {[]*bundletest.CA{root}, []*x509.Certificate{twin.Intermediate("issuer", long(noon)).Leaf("web", long(noon)), issuer.Cert}, "web", BadSignature},
		"another name is something else":                        {[]*bundletest.CA{root}, chain(issuer, long(noon)), "db", Other},
		"no chain is no leaf":                                   {[]*bundletest.CA{root}, nil, "web", NoLeaf},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := Reason("")
			if r := trustIn(t, tc.anchors...).verify(tc.chain, expectation{tc.name, x509.ExtKeyUsageServerAuth, noon}); r != nil {
				got = r.reason
			}
			if got != tc.want {
				t.Errorf("reason %q, want %q", got, tc.want)
			}
		})
	}
}

func TestABundleWithoutCertificatesIsNoTrust(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "no PEM": "none", "a certificate that cannot be parsed": bundletest.Unparsable(1),
	} {
		if _, err := parseTrust(text); err == nil {
			t.Errorf("%s is taken for a bundle", name)
		}
	}
}

// proxyOf is a process that trusts the anchors, with a leaf of the issuer.
func proxyOf(t *testing.T, name string, issuer *bundletest.CA, anchors ...*bundletest.CA) *process {
	t.Helper()
	p, err := certifier{identity: &authority{t: t, issuer: issuer, lifetime: time.Hour}}.
		certify(process{dns: name, trust: trustIn(t, anchors...)}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &p
}

func TestBothSidesOfAHandshakeJudge(t *testing.T) {
	now := time.Now()
	old, next := bundletest.NewRoot(t, "root", long(now)), bundletest.NewRoot(t, "root", long(now))
	other := bundletest.NewRoot(t, "other", long(now))
	oldIssuer, newIssuer, otherIssuer := old.Intermediate("issuer", long(now)), next.Intermediate("issuer", long(now)), other.Intermediate("issuer", long(now))
	before, between, after := proxyOf(t, "a", oldIssuer, old), proxyOf(t, "b", oldIssuer, old, next), proxyOf(t, "c", newIssuer, old, next)
	stranger := proxyOf(t, "d", otherIssuer, other, old)
	bare := *before
	bare.leaf = nil
	later := func() time.Time { return now.Add(2 * time.Hour) }
	cases := map[string]struct {
		client, server *process
		now            func() time.Time
		want           Reason
		byClient       bool
	}{
		"two that trust each other":                    {before, between, time.Now, "", false},
		"the other way round":                          {between, before, time.Now, "", false},
		"leaves of two issuers that both trust":        {between, after, time.Now, "", false},
		"the client does not trust the server":         {before, after, time.Now, BadSignature, true},
		"the server does not trust the client":         {after, before, time.Now, BadSignature, false},
		"a server of another authority":                {before, stranger, time.Now, UnknownAuthority, true},
		"a client of another authority":                {stranger, before, time.Now, UnknownAuthority, false},
		"both leaves have expired":                     {before, between, later, Expired, true},
		"a client without a leaf":                      {&bare, between, time.Now, NoLeaf, false},
		"a server without a leaf":                      {between, &bare, time.Now, NoLeaf, false},
		"a server that presents another's certificate": {before, renamed(between, "x"), time.Now, Other, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := Failure{}
			if f := connect(tc.client, tc.server, tc.now); f != nil {
				got = *f
				if f.Err == nil || f.Client.Issuer == "" && tc.client.leaf != nil || len(f.Server.Anchors) == 0 {
					t.Errorf("the failure does not tell who and why: %s", f)
				}
			}
			if got.Reason != tc.want || got.RefusedByClient != tc.byClient {
				t.Errorf("reason %q (by the client: %t), want %q (%t)", got.Reason, got.RefusedByClient, tc.want, tc.byClient)
			}
		})
	}
}

func renamed(p *process, dns string) *process {
	other := *p
	other.dns = dns
	return &other
}

func BenchmarkHandshake(b *testing.B) {
	t := &testing.T{}
	root := bundletest.NewRoot(b, "root", long(time.Now()))
	issuer := root.Intermediate("issuer", long(time.Now()))
	one, other := proxyOf(t, "a", issuer, root), proxyOf(t, "b", issuer, root)
	for b.Loop() {
		if f := connect(one, other, time.Now); f != nil {
			b.Fatal(f)
		}
	}
}
