package lifecycle_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

// Times of the simulated world, in its true clock. Leaves and issuers live
// shorter than in a real mesh, delays and skews are those of one.
const (
	simLeaf       = 20 * time.Minute
	simLeafSkew   = 20 * time.Second
	simIssuer     = 100 * time.Minute
	simRenewAfter = 35 * time.Minute
	simFile       = 150 * time.Second
	simSkew       = 5 * time.Minute
)

var simBase = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// mask is a set of certificate authorities, by number.
type mask uint16

// authorities are the roots that worlds use, made once: keys are dear. The last
// is foreign, the first of worlds with an early end is shortLived.
type authorities struct {
	anchors []bundle.Anchor
	sets    map[mask]bundle.Set
}

const (
	simCAs     = 14
	foreignCA  = simCAs - 1
	shortLived = simCAs - 2
)

func newAuthorities(tb testing.TB) *authorities {
	a := &authorities{sets: map[mask]bundle.Set{}}
	for i := range simCAs {
		v := bundletest.From(simBase.Add(time.Duration(i-100)*time.Minute), 1000*time.Hour)
		if i == shortLived {
			v = bundletest.Validity{NotBefore: simBase.Add(-200 * time.Minute), NotAfter: simBase.Add(70 * time.Minute)}
		}
		a.anchors = append(a.anchors, bundle.Of(bundletest.NewRoot(tb, "root-"+strconv.Itoa(i), v).Cert).Anchors()...)
	}
	return a
}

// set returns the anchors of a mask.
func (a *authorities) set(m mask) bundle.Set {
	if s, ok := a.sets[m]; ok {
		return s
	}
	var anchors []bundle.Anchor
	for i := range a.anchors {
		if m&(1<<i) != 0 {
			anchors = append(anchors, a.anchors[i])
		}
	}
	s := bundle.FromAnchors(anchors...)
	a.sets[m] = s
	return s
}

// mask returns the numbers of a set's anchors.
func (a *authorities) mask(s bundle.Set) mask {
	var m mask
	for i := range a.anchors {
		if s.Contains(a.anchors[i].Fingerprint) {
			m |= 1 << i
		}
	}
	return m
}

// simCert is a Certificate and its Secret.
type simCert struct {
	name, secret string
	gen          int
	rv           int
	ca           int // what it issued last (anchors); -1 for nothing yet
	labelled     bool
	secretLabel  bool // what cert-manager has made of it
	held         bool
	heldSeen     bool // by cert-manager
	issuing      bool
	issuingAt    time.Time
	twice        bool // what was issued just now is issued again
	failedAt     time.Time
	revision     int
	// of an issuer:
	signer              int
	id                  int
	notBefore, notAfter time.Time
}

// world is everything there is. What controllers see is a copy of truth.
type world struct {
	cfg   config
	rng   *rand.Rand
	ca    *authorities
	now   time.Time
	steps int
	quiet bool

	truth
	nextCA  int
	pods    []*simPod
	unborn  []*simPod
	signers []*replica // the signing service
	inject  []*injector
	rollAt  time.Time

	controllers []*controller
	leader      int
	server      time.Duration // how far the API server's clock is from the true one

	cmDownUntil, tmDownUntil time.Time
	publishAt                time.Time
	excused                  string
	renewedFor               map[string]int
	marks                    map[string]bool // that the signing service had
	actor                    string          // the run that the present write is for
	issuerHistory            []issuerAt
	tally                    map[string]int
	log                      []string
	podN, runN, rvN          int
}

// truth is what the API server holds.
type truth struct {
	anchors   []simCert
	issuer    simCert
	pointer   struct{ secret, token, before string }
	pointerRV int
	pointedAt time.Time
	carrier   holder
	archive   holder
	published holder
	kept      struct {
		exists bool
		ca     int
		rv     int
	}
	run *simRun
	// of the MeshTrust
	suspended bool
	mtGen     int
	earlier   []earlierIssuer
	recorded  recordedIssuer
	marked    mask
	// renewals are those by others since the issuer last came under another anchor.
	renewals int
	// of the roller
	rolledHash mask
	seenAt     time.Time
	fencedAt   time.Time
	idMark     string
	idRV       int
	lastEnded  []lifecycle.RunSummary
}

type holder struct {
	exists bool
	set    mask
	rv     int
}

type earlierIssuer struct {
	signer int
	until  time.Time
}

// recordedIssuer is what the MeshTrust's status says of the issuer, and when that
// will be brought up to date.
type recordedIssuer struct {
	signer    int
	since, at time.Time
}

type issuerAt struct {
	at     time.Time
	issuer simCert
}

type simRun struct {
	name, uid      string
	rv             int
	suspend, abort bool
	ack            []v1alpha1.Acknowledgement
	state          lifecycle.State
}

func (w *world) rv() int { w.rvN++; return w.rvN }

func (w *world) between(a, b time.Duration) time.Duration {
	return a + time.Duration(w.rng.Int64N(int64(b-a)+1))
}

// skew is how far some clock is from the true one: any two of them are simSkew
// apart at most, and often just that.
func (w *world) skew() time.Duration {
	switch w.rng.IntN(4) {
	case 0:
		return -simSkew / 2
	case 1:
		return simSkew / 2
	default:
		return w.between(-simSkew/2, simSkew/2)
	}
}

func (w *world) logf(format string, args ...any) {
	if w.cfg.trace {
		w.log = append(w.log, w.now.Sub(simBase).Truncate(time.Millisecond).String()+" "+fmt.Sprintf(format, args...))
	}
}

// issueCA makes a new certificate authority; -1 when there are no more.
func (w *world) issueCA() int {
	if w.nextCA >= shortLived {
		return -1
	}
	w.nextCA++
	return w.nextCA - 1
}

// pointedCA is what the ClusterIssuer signs with. For a moment after a change
// the signer's cache may show the older Secret.
func (w *world) pointedCA() int {
	secret := w.pointer.secret
	if w.now.Sub(w.pointedAt) < 2*time.Second && w.rng.IntN(2) == 0 {
		secret = w.pointer.before
	}
	if w.cfg.mutant == noPointer {
		newest := &w.anchors[0]
		for i := range w.anchors {
			if w.anchors[i].labelled && w.anchors[i].ca >= 0 {
				newest = &w.anchors[i]
			}
		}
		return newest.ca
	}
	if w.kept.exists && secret == simKept {
		return w.kept.ca
	}
	for i := range w.anchors {
		if w.anchors[i].secret == secret {
			return w.anchors[i].ca
		}
	}
	return -1
}

const simKept = "mesh-anchor-kept"

// certManager issues what is due or asked for.
func (w *world) certManager() {
	if w.now.Before(w.cmDownUntil) {
		return
	}
	all := []*simCert{&w.issuer}
	for i := range w.anchors {
		all = append(all, &w.anchors[i])
	}
	for _, c := range all {
		if w.rng.IntN(3) == 0 {
			c.heldSeen = c.held
		}
		if w.rng.IntN(3) == 0 {
			c.secretLabel = c.labelled
		}
		if c == &w.issuer && !c.issuing && !c.heldSeen && !w.now.Before(c.notBefore.Add(simRenewAfter)) {
			c.issuing, c.issuingAt, c.rv = true, w.now, w.rv()
			w.logf("cert-manager renews the issuer by itself")
			w.tally["natural renewals"]++
		}
		if c.twice && !c.issuing && w.rng.IntN(2) == 0 {
			c.issuing, c.issuingAt, c.twice, c.rv = true, w.now, false, w.rv()
			w.logf("cert-manager has not seen yet that it issued %s, and issues it again", c.name)
			w.tally["issued twice"]++
		}
		if c.issuing && w.now.Sub(c.issuingAt) > 500*time.Millisecond && w.rng.IntN(4) == 0 {
			w.issue(c)
		}
	}
}

func (w *world) issue(c *simCert) {
	c.issuing, c.rv = false, w.rv()
	if w.rng.IntN(25) == 0 {
		c.failedAt = w.now
		w.tally["failed requests"]++
		return
	}
	c.failedAt = time.Time{}
	c.revision++
	c.twice = w.rng.IntN(20) == 0
	if c != &w.issuer {
		if ca := w.issueCA(); ca >= 0 {
			c.ca = ca
			w.logf("anchor %s is now ca%d", c.name, ca)
		}
		return
	}
	w.sign()
}

// sign issues the issuer anew.
func (w *world) sign() {
	ca := w.pointedCA()
	if ca < 0 {
		return
	}
	before := w.issuer.signer
	w.refereeSign(before, ca)
	if before != ca {
		w.earlier = append(w.earlier, earlierIssuer{before, w.now.Add(simLeaf + simLeafSkew + 2*simSkew)})
		w.recorded.at, w.renewals = w.now.Add(w.between(0, 10*time.Minute)), 0
	}
	w.issuer.signer, w.issuer.id = ca, w.rv()
	w.issuer.notBefore, w.issuer.notAfter = w.now, w.now.Add(simIssuer)
	if end := w.ca.anchors[ca].NotAfter; end.Before(w.issuer.notAfter) {
		w.issuer.notAfter = end
	}
	w.issuerHistory = append(w.issuerHistory, issuerAt{w.now, w.issuer})
	w.logf("the issuer is signed by ca%d", ca)
	for _, r := range w.signers {
		if r.reloadAt.IsZero() {
			r.reloadAt = w.now.Add(w.between(0, simFile))
		}
	}
}

// sources are what trust-manager makes the bundle of; false while one is
// missing, which freezes it.
func (w *world) sources() (mask, bool) {
	set := mask(1 << foreignCA)
	if w.cfg.inPlace {
		if !w.carrier.exists {
			return 0, false
		}
		return set | w.carrier.set | 1<<w.anchors[0].ca, true
	}
	if w.carrier.exists {
		set |= w.carrier.set
	}
	for i := range w.anchors {
		if c := &w.anchors[i]; c.secretLabel && c.ca >= 0 {
			set |= 1 << c.ca
		}
	}
	return set, true
}

func (w *world) trustManager() {
	if w.cfg.writer || w.now.Before(w.tmDownUntil) {
		return
	}
	set, ok := w.sources()
	if !ok || set == w.published.set {
		w.publishAt = time.Time{}
		return
	}
	if w.publishAt.IsZero() {
		w.publishAt = w.now.Add(w.between(0, 5*time.Second))
	}
	if !w.now.Before(w.publishAt) {
		w.publish(set)
	}
}

// publish writes the bundle. Each injector sees it in its own time.
func (w *world) publish(set mask) {
	w.refereePublish(w.published.set, set)
	w.logf("published %b (was %b)", set, w.published.set)
	w.published = holder{true, set, w.rv()}
	w.publishAt = time.Time{}
	for i, in := range w.inject {
		in.readAt = w.now.Add(w.between(0, simFile))
		if i == 0 && w.cfg.busy {
			in.readAt = w.now.Add(simFile - time.Second)
		}
	}
}
