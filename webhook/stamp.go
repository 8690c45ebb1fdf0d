package webhook

import (
	"strings"
	"sync"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/webhook/review"
)

// Stamp decides what the pod's stamp must be, and how to bring it there.
func (s *Snapshot) Stamp(r *review.Request, now time.Time) Decision {
	subject, allowed, ok := s.claim(r, now)
	if !ok {
		return allowed
	}
	d := Decision{Mesh: subject.Name, Outcome: Allowed, Reason: subject.reason()}
	want := subject.stamp()
	if want == r.Claimed {
		return d
	}
	d.Outcome = Stamped
	if !want.Hash.Present {
		d.Outcome = Unstamped
	}
	d.Patch = s.patches.patch(r, want)
	return d
}

// stamp is the true stamp of the pod; it is absent where what the pod trusts
// cannot be told, or is whatever is published at the time.
func (s *subject) stamp() review.Stamp {
	if s.trust.Knowledge != mesh.Known {
		return review.Stamp{}
	}
	stamp := review.Stamp{
		Hash: review.Annotation{Value: s.trust.Sure.Hash(), Present: true},
		By:   review.Annotation{Value: s.Name, Present: true},
	}
	if end, ok := s.trust.Sure.NotAfter(); ok {
		stamp.NotAfter = review.Annotation{Value: end.UTC().Format(time.RFC3339), Present: true}
	}
	return stamp
}

// maxPatches bounds the patches remembered; there is one per bundle and mesh.
const maxPatches = 256

// patchCache remembers the patches for pods that have annotations and claim no
// stamp, which are nearly all.
type patchCache struct {
	mu      sync.RWMutex
	patches map[review.Stamp]review.Patch
}

func newPatchCache() *patchCache {
	return &patchCache{patches: map[review.Stamp]review.Patch{}}
}

func (c *patchCache) patch(r *review.Request, want review.Stamp) review.Patch {
	if !r.Annotated || r.Claimed != (review.Stamp{}) {
		return stampPatch(r, want)
	}
	c.mu.RLock()
	patch, ok := c.patches[want]
	c.mu.RUnlock()
	if ok {
		return patch
	}
	patch = stampPatch(r, want)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.patches) >= maxPatches {
		clear(c.patches)
	}
	c.patches[want] = patch
	return patch
}

// stampPatch returns the patch that turns the claimed stamp into the wanted
// one and changes nothing else.
func stampPatch(r *review.Request, want review.Stamp) review.Patch {
	const annotations = "/metadata/annotations"
	var operations [][]byte
	if !r.Annotated {
		operations = append(operations, review.AddOperation(annotations, []byte("{}")))
	}
	change := func(key string, want, has review.Annotation) {
		path := annotations + "/" + strings.ReplaceAll(key, "/", "~1")
		switch {
		case want == has:
		case want.Present:
			operations = append(operations, review.AddOperation(path, review.Quote(want.Value)))
		default:
			operations = append(operations, review.RemoveOperation(path))
		}
	}
	change(v1alpha1.TrustBundleHashAnnotation, want.Hash, r.Claimed.Hash)
	change(v1alpha1.TrustBundleNotAfterAnnotation, want.NotAfter, r.Claimed.NotAfter)
	change(v1alpha1.StampedByAnnotation, want.By, r.Claimed.By)
	return review.EncodePatch(operations...)
}
