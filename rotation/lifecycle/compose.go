package lifecycle

import (
	"fmt"
	"strings"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// Composition is what a bundle that Reanchor writes itself is made of.
type Composition struct {
	// Present is what is there.
	Present bundle.Set
	// Own are all own anchors; what is in Present and not own is foreign.
	Own bundle.Set
	// Needed are own anchors that must be there, Drop those that must not.
	Needed, Drop bundle.Set
	// Newest is not counted as carried over.
	Newest bundle.Fingerprint
	// MaxCarryOver bounds the other own anchors that are needed and have not
	// expired. What is there and not needed leaves with the next Narrow; of those
	// there may be spareAnchors.
	MaxCarryOver int
}

// spareAnchors is how many own anchors that nothing needs a bundle may hold while
// others are added: what was issued twice, or renewed by somebody, before it signed
// anything. Whoever keeps renewing must not widen the bundle for ever, and have
// every pod rolled each time.
const spareAnchors = 3

// Compose returns the bundle to write. Foreign anchors are kept, whatever they
// are; own ones are kept unless they expired and nothing needs them. When more
// are needed than allowed, it holds: no anchor is dropped to make room.
func Compose(c Composition, now time.Time) (bundle.Set, Hold) {
	idle := c.Present.Intersect(c.Own).ExpiredAt(now).Minus(c.Needed)
	set := c.Present.Union(c.Needed).Minus(idle).Minus(c.Drop.Intersect(c.Own))
	carried, spare := 0, []string(nil)
	for _, a := range set.Intersect(c.Own).ValidAt(now).Anchors() {
		switch {
		case a.Fingerprint == c.Newest:
		case c.Needed.Contains(a.Fingerprint):
			carried++
		default:
			spare = append(spare, a.Fingerprint.Short())
		}
	}
	switch {
	case c.Present.ContainsAll(set):
		return set, Hold{}
	case len(spare) > spareAnchors && !c.Present.Contains(c.Newest):
		return c.Present, Hold{v1alpha1.CarryOverExceeded, fmt.Sprintf(
			"the bundle holds %d own anchors that nothing needs, and would get another; find out who keeps renewing the anchor, and take some of them out of it: %s",
			len(spare), strings.Join(spare, ", "))}
	case carried > c.MaxCarryOver:
		return c.Present, Hold{v1alpha1.CarryOverExceeded, fmt.Sprintf(
			"%d earlier anchors are needed in the bundle, spec.rotation.maxCarryOver allows %d; raise it, or let the rotation that needs them end", carried, c.MaxCarryOver)}
	}
	return set, Hold{}
}
