package issuance

import (
	"context"
	"time"

	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

// DefaultNamespace is where the archive is kept when Store.Namespace is empty.
const DefaultNamespace = "reanchor-system"

// Store reads and writes the objects of a mesh's certificates.
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

// Read reads everything, live.
func (s *Store) Read(ctx context.Context, mt *v1alpha1.MeshTrust, now time.Time) (Objects, error) {
	return Objects{}, nil
}

// Missing returns the rights that a rotation of the mesh needs and the
// controller lacks, as YAML; "" when it lacks none.
func (s *Store) Missing(ctx context.Context, mt *v1alpha1.MeshTrust) (string, error) {
	return "", nil
}

// Do carries out one action. The error is a Conflict (apierrors.IsConflict)
// when the world is not what the action was decided on.
func (s *Store) Do(ctx context.Context, mt *v1alpha1.MeshTrust, a lifecycle.Action) error {
	return nil
}
