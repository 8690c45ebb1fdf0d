package rotation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/reanchor/reanchor/hack/lab/linkerd"
	"github.com/reanchor/reanchor/hack/lab/proxies"
)

// envLag is how old the objects may be that a container gets in its environment:
// more than the lag of the kubelet of references (see run).
const envLag = time.Second

// drained fails unless an anchor has left the bundle when nothing that lived
// chained to it (invariant I2): no proxy's leaf that had not ended, and no replica
// of identity. Handshakes do not show that: whoever was rolled trusts old and new
// for as long as it runs.
func (w *world) drained(anchor string) {
	w.Helper()
	w.noOrphans(w.dropped(time.Minute, anchor))
}

// dropped waits until an anchor leaves the bundle, and tells of the last time that
// it did.
func (w *world) dropped(within time.Duration, anchor string) linkerd.Narrowing {
	w.Helper()
	var last linkerd.Narrowing
	w.eventually(within, func() error {
		for _, n := range w.Narrowings() {
			if n.Dropped.Has(anchor) {
				last = n
			}
		}
		if last.Dropped == nil {
			return fmt.Errorf("the anchor %.8s was never seen to leave the bundle", anchor)
		}
		return nil
	})
	return last
}

// drainedEach fails unless that is so of every anchor that ever left the bundle.
func (w *world) drainedEach() {
	w.Helper()
	for _, n := range w.Narrowings() {
		w.noOrphans(n)
	}
}

func (w *world) noOrphans(n linkerd.Narrowing) {
	w.Helper()
	if len(n.Orphans) != 0 {
		w.Errorf("%s left the bundle at %s, when there were\n%s", n.Dropped, n.At.Format(time.TimeOnly), strings.Join(n.Orphans, "\n"))
	}
}

// startNarrow starts a pod as soon as the old anchor has left the bundle. It
// trusts the new one alone, and refuses what chains to the old, which the pods that
// were rolled trust as well until they end. It returns when every leaf has ended
// that there was when the pod took part.
func (w *world) startNarrow() {
	w.Helper()
	narrowed := w.dropped(long, w.before).At
	w.eventually(time.Minute, func() error {
		if left := envLag - time.Since(narrowed); left > 0 {
			return fmt.Errorf("a container that starts still gets the wider bundle, for %s", left)
		}
		return nil
	})
	w.check(w.Scale(w.Context(), linkerd.ComponentDestination, 2))
	var last time.Time
	w.eventually(time.Minute, func() error {
		peers := w.Proxies.Peers()
		if !slices.ContainsFunc(peers, w.trustsNewAlone) {
			return fmt.Errorf("no proxy has started with the narrow bundle; %+v", w.Proxies.Stats())
		}
		for _, p := range peers {
			if p.NotAfter.After(last) {
				last = p.NotAfter
			}
		}
		return nil
	})
	w.holds(time.Until(last), w.noneFailed)
}

// trustsNewAlone tells of a proxy that started when the old anchor was gone.
func (w *world) trustsNewAlone(p proxies.Peer) bool {
	return len(p.Anchors) > 0 && !slices.Contains(p.Anchors, w.before)
}

// noneFailed is nil while no handshake has.
func (w *world) noneFailed() error {
	if s := w.Proxies.Stats(); s.Failed != 0 {
		return fmt.Errorf("handshakes have failed: %+v", s)
	}
	return nil
}
