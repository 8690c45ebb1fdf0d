package lifecycle

import (
	"fmt"
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
	// expired. What is there and not needed leaves with the next Narrow.
	MaxCarryOver int
}

// Compose returns the bundle to write. Foreign anchors are kept, whatever they
// are; own ones are kept unless they expired and nothing needs them. When more
// are needed than allowed, it holds: no anchor is dropped to make room.
func Compose(c Composition, now time.Time) (bundle.Set, Hold) {
	idle := c.Present.Intersect(c.Own).ExpiredAt(now).Minus(c.Needed)
	set := c.Present.Union(c.Needed).Minus(idle).Minus(c.Drop.Intersect(c.Own))
	carried := 0
	for _, a := range set.Intersect(c.Needed).ValidAt(now).Anchors() {
		if a.Fingerprint != c.Newest {
			carried++
		}
	}
	if carried > c.MaxCarryOver && !c.Present.ContainsAll(set) {
		return c.Present, Hold{v1alpha1.CarryOverExceeded, fmt.Sprintf(
			"%d earlier anchors are needed in the bundle, spec.rotation.maxCarryOver allows %d; raise it, or let the rotation that needs them end", carried, c.MaxCarryOver)}
	}
	return set, Hold{}
}
