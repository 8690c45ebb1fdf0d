package lifecycle

import (
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// Decision is what Next decided.
type Decision struct {
	// State must be stored before any Action is carried out.
	State State
	// Actions are the writes to make, in order, up to the first that fails.
	Actions []Action
	// NeedLive asks to read all facts from the API server and to decide again at
	// once: a gate is open as far as caches tell. Actions beside it are not those
	// of the gate, and may be carried out first.
	NeedLive bool
	// Reason says in one word what the run does or waits for, Message in one
	// sentence.
	Reason  v1alpha1.Reason
	Message string
	// Blocked says that the wait does not end by itself, or takes longer than its
	// phase should; BlockedBy names the pods and objects in the way.
	Blocked   bool
	BlockedBy []Blocked
	// Progress of the phase, for people.
	Progress string
	// Exposed says that an issuer that renews itself now would be signed by an
	// anchor that not every pod trusts, and that nothing can hold it back.
	Exposed bool
	// AbortRefused says why an abort is not carried out; empty when it is.
	AbortRefused string
	// Released says that the finalizer may go.
	Released bool
	// Again is when to decide again although nothing changed.
	Again time.Time
}

// Blocked is what is in the way of a phase.
type Blocked struct {
	Workload v1alpha1.WorkloadRef
	Hold
}

// Verb is a kind of write.
type Verb string

// The verbs, each with the fields of Action it uses besides Object, UID and
// ResourceVersion.
const (
	// WriteArchive makes the archive ConfigMap hold Set.
	WriteArchive Verb = "WriteArchive"
	// WriteCarrier makes the carrier hold Set, certificates only, and creates it
	// when ResourceVersion is empty. The Secret is never left empty.
	WriteCarrier Verb = "WriteCarrier"
	// WriteBundle makes the published object hold Set (bundleWriter Reanchor).
	WriteBundle Verb = "WriteBundle"
	// CreateAnchor creates the Certificate Object of generation Generation from
	// the template, unlabelled, writing to Secret; one that exists is left alone.
	CreateAnchor Verb = "CreateAnchor"
	// DeleteAnchor deletes the Certificate of a generation that is of no use.
	DeleteAnchor Verb = "DeleteAnchor"
	// LabelAnchor makes the Certificate's secretTemplate carry AnchorOfLabel, or
	// not (On).
	LabelAnchor Verb = "LabelAnchor"
	// HoldRenewal applies renewal.policy Disabled to the Certificate, or releases
	// it (On).
	HoldRenewal Verb = "HoldRenewal"
	// Renew sets the condition Issuing on the Certificate, as cmctl does. With a
	// Signer it must not, when that Certificate has another resourceVersion than
	// SignerVersion: what would sign is not what the gate was asked about.
	Renew Verb = "Renew"
	// KeepAnchor copies type and data of the anchor's Secret, which must hold
	// Anchor, to Secret.
	KeepAnchor Verb = "KeepAnchor"
	// DropKept deletes that copy.
	DropKept Verb = "DropKept"
	// PointIssuer makes the ClusterIssuer name Secret and carry Token.
	PointIssuer Verb = "PointIssuer"
	// RestartIdentity applies RestartedForIssuerAnnotation = Token to the
	// template of Workload, and must not when the published bundle has another
	// resourceVersion than BundleVersion (I9).
	RestartIdentity Verb = "RestartIdentity"
)

// Verbs returns every verb, in the order above.
func Verbs() []Verb {
	return []Verb{
		WriteArchive, WriteCarrier, WriteBundle, CreateAnchor, DeleteAnchor, LabelAnchor,
		HoldRenewal, Renew, KeepAnchor, DropKept, PointIssuer, RestartIdentity,
	}
}

// Action is one write. With a ResourceVersion it must fail with a Conflict when
// the object has another; without one it creates.
type Action struct {
	Verb            Verb
	Object          v1alpha1.ObjectRef
	Workload        v1alpha1.WorkloadRef
	UID             string
	ResourceVersion string
	Signer          v1alpha1.ObjectRef
	SignerVersion   string
	BundleVersion   string
	Set             bundle.Set
	Anchor          bundle.Fingerprint
	Secret          string
	Token           string
	Generation      int
	On              bool
}

// recheck is how soon a wait is looked at again that no event may end.
const recheck = 5 * time.Second
