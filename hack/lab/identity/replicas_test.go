package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"

	"github.com/reanchor/reanchor/bundle/bundletest"
)

// noon is when the tests begin.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// world is replicas with a clock that the test moves.
type world struct {
	*testing.T
	*replicas
	clock    *testclock.FakePassiveClock
	old, new *bundletest.CA // anchors of the same name
}

func newWorld(t *testing.T, o Options) *world {
	c := testclock.NewFakePassiveClock(noon)
	o.Clock = c
	validity := bundletest.From(noon.Add(-time.Hour), 1000*time.Hour)
	return &world{
		T: t, replicas: newReplicas(o.withDefaults()), clock: c,
		old: bundletest.NewRoot(t, "root", validity), new: bundletest.NewRoot(t, "root", validity),
	}
}

func (w *world) pass(d time.Duration) {
	w.clock.SetTime(w.clock.Now().Add(d))
	w.startWaiting()
}

// issue writes an issuer below the anchor that lasts from now on, and returns its
// fingerprint.
func (w *world) issue(anchor *bundletest.CA, lifetime time.Duration) string {
	w.Helper()
	i := anchor.Intermediate("issuer", bundletest.From(w.clock.Now(), lifetime))
	w.setIssuer(filesOf(map[string][]byte{"tls.crt": []byte(i.PEM()), "tls.key": []byte(i.KeyPEM())}))
	w.startWaiting()
	return Fingerprint(i.Cert.Raw)
}

func (w *world) publish(anchors ...*bundletest.CA) {
	text := ""
	for _, a := range anchors {
		text += a.PEM()
	}
	w.setAnchors([]byte(text))
	w.startWaiting()
}

func request(t *testing.T, pod types.UID) Request {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return Request{Pod: pod, Name: "web.default.example", Key: &key.PublicKey}
}

// signer is the fingerprint of the issuer of a leaf signed now, "" when nobody
// answers.
func (w *world) signer(pod types.UID) string {
	w.Helper()
	leaf, err := w.sign(request(w.T, pod))
	if errors.Is(err, ErrUnreachable) {
		return ""
	}
	if err != nil {
		w.Fatal(err)
	}
	return Fingerprint(leaf.Chain[1])
}

func (w *world) wantSigner(want string) {
	w.Helper()
	if got := w.signer(""); got != want {
		w.Errorf("leaves are signed by %.8s, want %.8s", got, want)
	}
}

func (w *world) wantCounters(want Counters) {
	w.Helper()
	got := w.counted()
	got.Signed = nil
	if diff := cmp.Diff(want, got); diff != "" {
		w.Errorf("counters (-want +got):\n%s", diff)
	}
}

func TestAReplicaReadsTheIssuerItsLagAfterTheWrite(t *testing.T) {
	w := newWorld(t, Options{Lags: []time.Duration{time.Minute}})
	w.publish(w.old)
	first := w.issue(w.old, time.Hour)
	w.wantSigner(first)
	second := w.issue(w.old, time.Hour)
	w.pass(59 * time.Second)
	w.wantSigner(first)
	w.pass(time.Second)
	w.wantSigner(second)
	w.setLag(0, time.Hour)
	w.wantSigner(second) // what was read is not forgotten
	if diff := cmp.Diff(map[string]int{first: 2, second: 2}, w.counted().Signed); diff != "" {
		t.Errorf("leaves by issuer (-want +got):\n%s", diff)
	}
}

func TestARunningReplicaSkipsAnIssuerThatItsOwnAnchorsDoNotVerify(t *testing.T) {
	w := newWorld(t, Options{})
	w.publish(w.old)
	first := w.issue(w.old, time.Hour)
	w.publish(w.old, w.new) // too late for a replica that runs
	w.issue(w.new, time.Hour)
	w.wantSigner(first)
	w.wantCounters(Counters{Skipped: 1})
	third := w.issue(w.old, time.Hour)
	w.wantSigner(third)
	w.wantCounters(Counters{Skipped: 1})
}

func TestEveryUnusableIssuerIsSkipped(t *testing.T) {
	w := newWorld(t, Options{})
	w.publish(w.old)
	first := w.issue(w.old, time.Hour)
	other := w.old.Intermediate("issuer", bundletest.From(noon, time.Hour))
	cases := map[string]files{
		"text that is no certificate": {[]byte("none"), []byte(other.KeyPEM())},
		"another issuer's key":        {[]byte(other.PEM()), []byte(w.new.KeyPEM())},
		"an issuer that has expired":  filesOfCA(w.old.Intermediate("issuer", bundletest.From(noon.Add(-time.Hour), time.Minute))),
		"a leaf":                      {[]byte(bundletest.EncodePEM(w.old.Leaf("issuer", bundletest.From(noon, time.Hour)))), []byte(other.KeyPEM())},
	}
	skipped := 0
	for name, f := range cases {
		w.setIssuer(f)
		skipped++
		if got := w.signer(""); got != first {
			t.Errorf("%s: leaves are signed by %.8s", name, got)
		}
		w.wantCounters(Counters{Skipped: skipped})
	}
	w.setIssuer(files{}) // a Secret that is deleted leaves the mounted files
	w.wantSigner(first)
	w.wantCounters(Counters{Skipped: skipped})
}

func filesOfCA(ca *bundletest.CA) files {
	return filesOf(map[string][]byte{"crt.pem": []byte(ca.PEM()), "key.pem": []byte(ca.KeyPEM())})
}

func TestAReplicaDoesNotStartWithAnIssuerThatItCannotVerify(t *testing.T) {
	w := newWorld(t, Options{RestartDelay: time.Minute})
	w.issue(w.new, time.Hour)
	w.wantCounters(Counters{}) // no anchors yet: not started, not refused
	w.publish(w.old)
	w.wantSigner("")
	w.wantCounters(Counters{Refused: 1, Unanswered: 1})
	w.publish(w.old, w.new)
	w.pass(59 * time.Second)
	w.wantSigner("") // it waits between its tries
	w.wantCounters(Counters{Refused: 1, Unanswered: 2})
	w.pass(time.Second)
	if w.signer("") == "" {
		t.Error("a replica whose anchors were mended does not start")
	}
}

func TestAnExpiredAnchorProvesNothingToAReplica(t *testing.T) {
	w := newWorld(t, Options{})
	expired := bundletest.NewRoot(t, "root", bundletest.From(noon.Add(-2*time.Hour), time.Hour))
	w.publish(expired)
	w.issue(expired, time.Hour)
	w.wantSigner("")
	w.wantCounters(Counters{Refused: 1, Unanswered: 1})
}

func TestALeafEndsWithItsIssuerAtTheLatest(t *testing.T) {
	cases := map[string]struct {
		issuer, want time.Duration
	}{
		"an issuer that lives on leaves the leaf its lifetime and the skew": {48 * time.Hour, time.Hour + time.Minute},
		"an issuer that ends sooner takes the leaf with it":                 {10 * time.Minute, 10 * time.Minute},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Options{LeafLifetime: time.Hour, ClockSkew: time.Minute})
			w.publish(w.old)
			w.issue(w.old, tc.issuer)
			leaf, err := w.sign(request(t, ""))
			if err != nil {
				t.Fatal(err)
			}
			if got := leaf.Certificate.NotAfter.Sub(noon); got != tc.want {
				t.Errorf("the leaf ends after %s, want %s", got, tc.want)
			}
			if got := leaf.Certificate.NotBefore.Sub(noon); got != -time.Minute {
				t.Errorf("the leaf begins at %s, want the skew before", got)
			}
			roots, above := x509.NewCertPool(), x509.NewCertPool()
			roots.AddCert(w.old.Cert)
			above.AppendCertsFromPEM([]byte(bundletest.EncodePEM(parse(t, leaf.Chain[1]))))
			_, err = leaf.Certificate.Verify(x509.VerifyOptions{Roots: roots, Intermediates: above, CurrentTime: noon, DNSName: "web.default.example"})
			if err != nil {
				t.Errorf("the leaf does not verify: %v", err)
			}
		})
	}
}

func parse(t *testing.T, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAReplicaThatStoppedReloadingKeepsItsIssuerUntilItStartsAnew(t *testing.T) {
	w := newWorld(t, Options{PodSelector: "any"})
	w.publish(w.old)
	first := w.issue(w.old, time.Hour)
	w.setPod("a", podState{ready: true, start: start{at: 1}})
	w.startWaiting()
	if err := w.stopReloading(0); err != nil {
		t.Fatal(err)
	}
	if err := w.stopReloading(1); err == nil {
		t.Error("a replica that is not there was told to stop reloading")
	}
	second := w.issue(w.old, time.Hour)
	w.pass(time.Minute)
	w.wantSigner(first)
	w.setPod("a", podState{ready: true, start: start{at: 2}})
	w.startWaiting()
	w.wantSigner(second)
}

func TestReplicasFollowTheirPods(t *testing.T) {
	w := newWorld(t, Options{PodSelector: "any", Lags: []time.Duration{0, time.Hour}})
	w.publish(w.old)
	first := w.issue(w.old, time.Hour)
	held := types.NamespacedName{Namespace: "linkerd", Name: "b"}
	w.setPod("a", podState{ready: true})
	w.setPod("b", podState{name: held, held: true})
	if diff := cmp.Diff([]types.NamespacedName{held}, w.startWaiting()); diff != "" {
		t.Errorf("pods to release (-want +got):\n%s", diff)
	}
	w.setPod("b", podState{name: held})
	if pods := w.startWaiting(); len(pods) != 0 {
		t.Errorf("%v is to be released again", pods)
	}
	second := w.issue(w.old, time.Hour)
	for range 20 {
		w.wantSigner(second) // b is not Ready
	}
	if got := w.signer("b"); got != first {
		t.Errorf("the proxy of a replica's own pod got a leaf of %.8s, want its own replica's", got)
	}
	w.remove("a")
	w.wantSigner("")
	w.setPod("b", podState{name: held, ready: true})
	w.wantSigner(first)
	w.setPod("c", podState{ready: true}) // takes the place of a, with its lag
	w.startWaiting()
	w.remove("b")
	third := w.issue(w.old, time.Hour)
	w.wantSigner(third)
	want := []Replica{{Number: 0, Started: true, Reachable: true, Reloads: true, Issuer: third}}
	if diff := cmp.Diff(want, w.list()); diff != "" {
		t.Errorf("replicas (-want +got):\n%s", diff)
	}
}

func TestTheProxyOfARefusedReplicaIsNotServedByAnother(t *testing.T) {
	w := newWorld(t, Options{PodSelector: "any"})
	w.publish(w.old)
	w.issue(w.old, time.Hour)
	w.setPod("a", podState{ready: true})
	w.startWaiting()
	w.issue(w.new, time.Hour)
	w.setPod("b", podState{})
	w.startWaiting()
	if got := w.signer("b"); got != "" {
		t.Error("the pod of a replica that does not start got a leaf")
	}
	if got := w.counted().Refused; got != 1 {
		t.Errorf("%d refusals, want 1", got)
	}
}
