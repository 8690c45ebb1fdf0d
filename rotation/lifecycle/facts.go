package lifecycle

import (
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/mesh"
)

// Facts is everything that Next decides on.
type Facts struct {
	// Mesh is the MeshTrust's name.
	Mesh string
	// Policy is the user's, with all defaults filled in.
	Policy Policy
	// Read says how the facts were read.
	Read Read
	// Bundle is the published bundle, Carrier the place for own anchors in it.
	Bundle  Bundle
	Carrier Carrier
	// Archive holds every own anchor that was ever seen (ConfigMap
	// reanchor-anchors, certificates only).
	Archive Carrier
	// Marked are the anchors that the MeshTrust's status marks as own: a second
	// record of those in the bundle.
	Marked bundle.Set
	// Anchors are the Certificates of this mesh's own anchors. Generations: one
	// for each generation; InPlace: the one.
	Anchors []Certificate
	// Issuers are all Certificates that the mesh's CA issuer signs. The first is
	// the mesh's own; the others count as issuers too.
	Issuers []Certificate
	// Pointer is the CA ClusterIssuer.
	Pointer Pointer
	// Kept is the copy of the old anchor's Secret (InPlace only).
	Kept Kept
	// Earlier are issuers that were in use before and whose leaves may live on.
	Earlier []Earlier
	// Pods are the meshed pods that have not ended; nil and PodsUnknown when they
	// could not be read.
	Pods        []Pod
	PodsUnknown bool
	// Roller is how far the roller is.
	Roller Roller
	// Identity is the mesh's signing service.
	Identity Identity
	// Checks are what only an observer can find out before a rotation begins.
	Checks Checks
	// Run is the AnchorRotation that is in force; nil when there is none.
	Run *Run
}

// Policy is spec.rotation with its defaults, and what else of the MeshTrust
// bears on a rotation.
type Policy struct {
	// Suspend is the MeshTrust's: nothing is written.
	Suspend bool
	Layout  v1alpha1.Layout
	Writer  v1alpha1.BundleWriter
	Leaves  v1alpha1.LeafPolicy
	// LeafLifetime may only raise what is read from the mesh; zero when not set.
	LeafLifetime time.Duration
	MaxCarryOver int
	// AnchorNamespace is where generations are created.
	AnchorNamespace string
	// ExternalTrust demands approvals.
	ExternalTrust bool
	// FileDelay is how long a mounted file may be older than its object.
	FileDelay time.Duration
	// Skew is how far two clocks of the cluster may be apart at most.
	Skew time.Duration
}

// inPlace reports whether one anchor Certificate is renewed in place.
func (p Policy) inPlace() bool { return p.Layout == v1alpha1.LayoutInPlace }

// writesBundle reports whether Reanchor writes the published object itself.
func (p Policy) writesBundle() bool { return p.Writer == v1alpha1.BundleWriterReanchor }

// Read says how facts were read.
type Read struct {
	// Live says that every fact, the pods without a label selector, was read from
	// the API server and not from a cache.
	Live bool
	// StartedAt is when reading began, by this controller's clock.
	StartedAt time.Time
	// ServerTime is the API server's clock then; zero when it was not told.
	ServerTime time.Time
}

// Bundle is the published bundle, parsed from the object that pods get.
type Bundle struct {
	// Set is the bundle; Unusable says why it could not be read, with Set then
	// the last good one. A bundle whose anchors have expired can be read.
	Set      bundle.Set
	Unusable Hold
	// ResourceVersion is the object's.
	ResourceVersion string
}

// Hold is a reason to go no further.
type Hold struct {
	Reason  v1alpha1.Reason
	Message string
}

// Carrier is an object that holds certificates, and no key: with InPlace the
// previous-anchor Secret, with Generations Reanchor's own labelled Secret for
// anchors that no generation supplies. Where Reanchor writes the bundle itself,
// the carrier is the bundle object and this is left zero.
type Carrier struct {
	Set             bundle.Set
	ResourceVersion string
}

// Certificate is a cert-manager Certificate and what it issued last.
type Certificate struct {
	Ref             v1alpha1.ObjectRef
	UID             string
	ResourceVersion string
	// Generation is the number of an anchor's generation; 0 for one that was
	// adopted, and for all that are not anchors.
	Generation int
	Revision   int64
	SecretName string
	// Labelled says that its Secret is a source of the bundle (Generations).
	Labelled bool
	// Issued is the certificate that was issued last; nil when none was, or none
	// could be read. An anchor must be known in full.
	Issued *bundle.Anchor
	// SignedBy are the known anchors whose key signed it, expired or not; see
	// SignedBy.
	SignedBy bundle.Set
	// Issuing says that cert-manager is at work on it; FailedAt is when its last
	// request failed, zero when it did not.
	Issuing  bool
	FailedAt time.Time
	// CanHold says that renewals by itself can be held back (cert-manager 1.21);
	// Held that Reanchor does so, and HoldSeen that cert-manager has seen it
	// (status.renewalTime is null).
	CanHold, Held, HoldSeen bool
	// RenewalTime is when it renews by itself; zero when that is not known.
	RenewalTime time.Time
	// Unfit says what in its spec does not suit a rotation; empty when it does.
	Unfit string
}

// Pointer is the CA ClusterIssuer: the Secret it names signs the issuers.
type Pointer struct {
	// Known is false when it could not be read.
	Known      bool
	SecretName string
	// Token is PointedByAnnotation's value.
	Token           string
	ResourceVersion string
}

// Kept is Reanchor's own copy of the anchor Secret as it was before it was
// renewed in place, key included. Without it there is no way back (Abort), since
// cert-manager overwrites the key. It is deleted when a rotation completes.
type Kept struct {
	// Exists is false when there is none.
	Exists          bool
	SecretName      string
	Anchor          bundle.Fingerprint
	ResourceVersion string
}

// Earlier is an issuer that was in use before.
type Earlier struct {
	SignedBy bundle.Set
	// LeavesUntil is when the last leaf that it may have signed ends.
	LeavesUntil time.Time
}

// Pod is a meshed pod that has not ended, Pending and Terminating included.
type Pod struct {
	Workload        v1alpha1.WorkloadRef
	Namespace, Name string
	Node            string
	// CreatedAt is by the API server's clock, StartedAt when its proxy started,
	// by the node's; zero when it did not, or that is not known.
	CreatedAt, StartedAt time.Time
	// Trust is what it trusts. Nil is Unknown.
	Trust *mesh.Trust
	// NotRolled is why the roller leaves it alone; empty when it does not.
	NotRolled v1alpha1.Reason
}

// Roller is what the MeshTrust's status says of the roller.
type Roller struct {
	// BundleHash is the bundle that the rest is about.
	BundleHash string
	// Fenced says that every injector serves that bundle, since FencedAt by the
	// controllers' clock. NoInjector says that none needs to.
	FencedAt   time.Time
	NoInjector bool
	// Done and Total count workloads, for people.
	Done, Total int
	// Message says what it does.
	Message string
	// Issuer is the issuer on record; nil when there is none.
	Issuer *RecordedIssuer
}

// RecordedIssuer is the issuer that the MeshTrust's status names. It follows the one
// in use a little later: much later after a change of leaders.
type RecordedIssuer struct {
	// VerifiedBy are the anchors that verify it, and Since when they, or others than
	// before, were first seen to, by the clock of whoever recorded it.
	VerifiedBy bundle.Set
	Since      time.Time
}

// Identity is the workload that signs leaves.
type Identity struct {
	// None says that the mesh has none: its leaves are not signed by a service
	// that would have to be restarted.
	None bool
	// Known is false when it could not be read.
	Known           bool
	Workload        v1alpha1.WorkloadRef
	ResourceVersion string
	// Mark is RestartedForIssuerAnnotation of its template.
	Mark string
	// Complete says that its rollout is, as "kubectl rollout status" judges.
	Complete bool
	// Pods are all its pods that have not ended.
	Pods []IdentityPod
	// LeafLifetime and LeafSkew are read from its arguments; zero when they
	// cannot be read.
	LeafLifetime, LeafSkew time.Duration
}

// IdentityPod is one replica of the signing service.
type IdentityPod struct {
	Name string
	// Mark is RestartedForIssuerAnnotation, which it got from its template.
	Mark               string
	Ready, Terminating bool
}

// Checks are what an observer finds out for Preflight.
type Checks struct {
	// Missing are the rights that the controller lacks, as a sentence or YAML.
	Missing string
	// BundleFault says why the bundle's sources do not suit: another writer, or
	// ours is not among them. Empty when they do.
	BundleFault string
	// TemplateFault says what is wrong with the template of the next anchor.
	TemplateFault string
	// Shared says what the rotation would replace of another mesh as well.
	Shared string
	// OtherRun names an older active rotation of the same mesh.
	OtherRun string
	// External names what outside this cluster trusts these anchors: Link and
	// ExternalWorkload objects.
	External []string
	// Expected is how long rolling everything is expected to take.
	Expected time.Duration
}
