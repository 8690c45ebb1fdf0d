package issuance

import (
	"cmp"
	"crypto/x509"
	"sync"

	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/rotation/lifecycle"
)

// DefaultNamespace is where the archive is kept when Store.Namespace is empty.
const DefaultNamespace = "reanchor-system"

// Store reads and writes the objects of a mesh's certificates. It may be used
// from several goroutines.
type Store struct {
	// Live reads from the API server itself: every read.
	Live client.Reader
	// Client writes.
	Client client.Client
	// Namespace is the controller's own, where the archive is kept; empty is
	// DefaultNamespace.
	Namespace string
	// Clock dates the condition that asks for a renewal; nil is the real one.
	Clock clock.PassiveClock

	mu sync.Mutex
	// seen is, for each mesh, what its Certificates were last seen to have issued.
	seen map[string]map[revision][]*x509.Certificate
	// overviews are the last looks at the whole cluster, for each mesh.
	overviews map[string]overview
}

// revision is one issuance of one Certificate.
type revision struct {
	uid    string
	number int64
}

func (s *Store) namespace() string { return cmp.Or(s.Namespace, DefaultNamespace) }

func (s *Store) clock() clock.PassiveClock {
	if s.Clock == nil {
		return clock.RealClock{}
	}
	return s.Clock
}

// Objects is what Read read.
type Objects struct {
	Bundle           lifecycle.Bundle
	Carrier, Archive lifecycle.Carrier
	Anchors, Issuers []lifecycle.Certificate
	Pointer          lifecycle.Pointer
	Kept             lifecycle.Kept
	// BundleFault and TemplateFault are for lifecycle.Checks.
	BundleFault, TemplateFault string
}

// Fill copies what was read into the facts.
func (o Objects) Fill(f *lifecycle.Facts) {
	f.Bundle, f.Carrier, f.Archive = o.Bundle, o.Carrier, o.Archive
	f.Anchors, f.Issuers = o.Anchors, o.Issuers
	f.Pointer, f.Kept = o.Pointer, o.Kept
	f.Checks.BundleFault, f.Checks.TemplateFault = o.BundleFault, o.TemplateFault
}
