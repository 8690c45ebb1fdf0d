package rotation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/reanchor/reanchor/hack/lab/linkerd"
	"github.com/reanchor/reanchor/hack/lab/proxies"
)

// drained fails unless an anchor has left the bundle when nothing that lived
// chained to it (invariant I2): no proxy's leaf that had not ended, and no replica
// of identity. Handshakes do not show that: whoever was rolled trusts old and new
// for as long as it runs.
func (w *world) drained(anchor string) {
	w.Helper()
	var last *linkerd.Narrowing
	w.eventually(10*time.Second, func() error {
		all := w.Narrowings()
		for i := range all {
			if all[i].Dropped.Has(anchor) {
				last = &all[i]
			}
		}
		if last == nil {
			return fmt.Errorf("the anchor %.8s was never seen to leave the bundle", anchor)
		}
		return nil
	})
	w.noOrphans(*last)
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
	w.eventually(long, func() error {
		published, err := w.Published(w.Context())
		if err == nil && published.Has(w.before) {
			err = fmt.Errorf("the old anchor is still in the bundle %s", published)
		}
		return err
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
