package webhook

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/mesh"
)

// StatusFreshness is how long the last bundle on record in a MeshTrust's status
// is taken to be in force still. The controller renews status.history's lastSeen
// many times in that span; when it does not, it is not running, bundle and issuer
// may have been repaired meanwhile, and what a reference gives is Unknown, as is
// whether a pod verifies the issuer in use.
const StatusFreshness = 5 * time.Minute

// Bounds of what is remembered of the bundles seen in pods. Each pod carries a
// literal of its own making, so there must be some; real clusters have a few.
const (
	maxTexts     = 1024
	maxTextBytes = 8 << 20
)

// World is everything that a Snapshot is made of, as it was read.
type World struct {
	MeshTrusts []v1alpha1.MeshTrust
	Rotations  []v1alpha1.AnchorRotation
	// OptOuts are the namespaces that opted out of admission.
	OptOuts []string
}

// Snapshot is what decisions know of the world. It is immutable but for its
// memory of texts, and safe for concurrent use.
type Snapshot struct {
	// meshes are in order of age, so that the first that claims a pod decides.
	meshes  []trusted
	optOuts map[string]struct{}
	parse   func(text string) (bundle.Set, error)
	patches *patchCache
}

// trusted is one MeshTrust.
type trusted struct {
	mesh.Mesh

	suspended bool
	mode      v1alpha1.AdmissionMode
	clockSkew time.Duration
	history   mesh.History
	// published is the current bundle; empty when it is not known.
	published bundle.Set
	// signers are the anchors of which a pod must have one; empty when that is
	// not asked for, or suspended.
	signers bundle.Set
	// signersUntil is when the record of the issuer in use has become too old to
	// prove anything.
	signersUntil time.Time
}

// NewSnapshot returns the snapshot of a world. Texts already parsed come from
// cache, which outlives snapshots; nil means a new one.
func NewSnapshot(w World, cache *bundle.Cache) *Snapshot {
	if cache == nil {
		cache = NewCache()
	}
	s := &Snapshot{
		meshes:  make([]trusted, 0, len(w.MeshTrusts)),
		optOuts: make(map[string]struct{}, len(w.OptOuts)),
		parse:   cache.Parse,
		patches: newPatchCache(),
	}
	for _, namespace := range w.OptOuts {
		s.optOuts[namespace] = struct{}{}
	}
	objects := slices.Clone(w.MeshTrusts)
	slices.SortFunc(objects, older)
	switching := switchingMeshes(w.Rotations)
	for i := range objects {
		s.meshes = append(s.meshes, readMeshTrust(&objects[i], switching))
	}
	return s
}

// NewCache returns a cache of the size that fits a webhook.
func NewCache() *bundle.Cache { return bundle.NewCache(maxTexts, maxTextBytes) }

// Meshes returns the names of the MeshTrusts.
func (s *Snapshot) Meshes() []string {
	names := make([]string, len(s.meshes))
	for i := range s.meshes {
		names[i] = s.meshes[i].Name
	}
	return names
}

func older(a, b v1alpha1.MeshTrust) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
}

func readMeshTrust(mt *v1alpha1.MeshTrust, switching map[string]bool) trusted {
	spec := mt.EffectiveSpec()
	t := trusted{
		Mesh:      mesh.FromMeshTrust(mt),
		suspended: spec.Suspend,
		mode:      spec.Admission.Mode,
		clockSkew: spec.Admission.ClockSkew.Duration,
		history:   inForce(mesh.HistoryOf(&mt.Status), &mt.Status),
	}
	t.published, _ = mesh.PublishedSet(mt.Status.Bundle)
	if spec.Admission.IssuerTrust == v1alpha1.IssuerTrustRequire || switching[mt.Name] {
		t.signers = signers(mt.Status.Issuer, t.published)
		t.signersUntil = signersUntil(&mt.Status, t.history)
	}
	return t
}

// inForce lets the last publication last for StatusFreshness after it was seen,
// if it is what is published: status keeps the last good bundle while what is
// published cannot be used, and a pod that starts then does not get that one.
func inForce(h mesh.History, status *v1alpha1.MeshTrustStatus) mesh.History {
	valid := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionBundleValid)
	usable := valid == nil || valid.Status == metav1.ConditionTrue || valid.Reason == string(v1alpha1.BundleExpired)
	if n := len(h); n > 0 && usable && status.Bundle != nil && h[n-1].Set.Hash() == status.Bundle.Hash {
		h[n-1].LastSeen = h[n-1].LastSeen.Add(StatusFreshness)
	}
	return h
}

// signers returns the anchors of the published bundle that verify the issuer in
// use. When the list is not complete, or the bundle has none of them, the set
// is empty: no pod could be proved to fail, or every pod would.
func signers(issuer *v1alpha1.IssuerStatus, published bundle.Set) bundle.Set {
	if issuer == nil || int(issuer.VerifiedByTotal) > len(issuer.VerifiedBy) {
		return bundle.Set{}
	}
	anchors := make([]bundle.Anchor, 0, len(issuer.VerifiedBy))
	for _, text := range issuer.VerifiedBy {
		f, err := bundle.ParseFingerprint(text)
		if err != nil {
			return bundle.Set{}
		}
		if anchor, ok := published.Anchor(f); ok {
			anchors = append(anchors, anchor)
		}
	}
	return bundle.FromAnchors(anchors...)
}

// signersUntil returns until when the record of the issuer in use is of it: as
// long as the bundle is in force that the controller records in the same write.
// While the issuer cannot be read, status keeps the last one that could, and it
// may have been replaced: then it is the zero time.
func signersUntil(status *v1alpha1.MeshTrustStatus, inForce mesh.History) time.Time {
	trusted := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionIssuerTrusted)
	if len(inForce) == 0 || trusted != nil && trusted.Status == metav1.ConditionUnknown {
		return time.Time{}
	}
	return inForce[len(inForce)-1].LastSeen
}

// switchingMeshes returns the MeshTrusts with a rotation between SwitchIssuer
// and its end. From then on a new pod that lacks the issuer's anchor would never
// become Ready; denied, its owner tries again and gets a fresh injection.
func switchingMeshes(rotations []v1alpha1.AnchorRotation) map[string]bool {
	names := map[string]bool{}
	for i := range rotations {
		if r := &rotations[i]; !ended(r) && switching(r) {
			names[r.Spec.MeshTrustRef.Name] = true
		}
	}
	return names
}

func ended(r *v1alpha1.AnchorRotation) bool {
	return meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionComplete) ||
		meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionFailed)
}

// switching reports whether the rotation has entered SwitchIssuer. The order of
// the phases is not always the same, so what was entered is asked first.
func switching(r *v1alpha1.AnchorRotation) bool {
	for i := range r.Status.Steps {
		if r.Status.Steps[i].Phase == v1alpha1.PhaseSwitchIssuer {
			return true
		}
	}
	progressing := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionProgressing)
	if progressing == nil {
		return false
	}
	switch v1alpha1.Phase(progressing.Reason) {
	case v1alpha1.PhaseSwitchIssuer, v1alpha1.PhaseConfirmIssuer, v1alpha1.PhaseDrainLeaves,
		v1alpha1.PhaseNarrow, v1alpha1.PhaseVerify:
		return true
	default:
		return false
	}
}
