// Package nudge wakes owners whose pods were refused, once the reason is gone.
//
// A ReplicaSet or StatefulSet whose pods are refused tries again after ever
// longer pauses, which may last as long as the outage did: after 200 s of denied
// creations the next try came 129 s after the denial had ended (facts,
// "Admission"). One annotation on the owner makes its controller look at it at
// once.
//
// The events of refused creations are only a hint of whom to look at. Whether
// the reason is gone is told from elsewhere: for a denial by the published
// bundle, for a webhook that did not answer by asking it.
package nudge

import (
	"strconv"
	"strings"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// Owner is what a refused creation names.
type Owner struct{ Kind, Namespace, Name string }

// Refusal is the last refused creation of an owner.
type Refusal struct {
	Owner Owner
	// At is when it was refused, by the API server's clock.
	At time.Time
	// Unanswered says that the webhook could not be asked; otherwise it denied.
	Unanswered bool
	// Mesh is the MeshTrust that the denial named; "" when it named none.
	Mesh string
}

// Mesh is what is known of a mesh's bundle.
type Mesh struct {
	Hash string
	// Usable says that the published bundle can be used.
	Usable bool
	// InForce is when new pods began to carry it: when every injector was seen
	// to serve it, or every reader surely sees it.
	InForce time.Time
}

// Facts is what Next decides on.
type Facts struct {
	Refusals []Refusal
	// Meshes are those that are not suspended.
	Meshes map[string]Mesh
	// Suspended says that there are meshes and all are suspended. A refusal for want
	// of an answer names none, so that only then it is known to be of such a one.
	Suspended bool
	// AnsweringSince is since when the webhook has answered without a break;
	// zero while it does not, or was not asked.
	AnsweringSince time.Time
}

// Action is one owner to wake. Value is the same for the same end of the same
// denial, so that waking twice is waking once.
type Action struct {
	Owner Owner
	Value string
}

// Next returns the owners to wake at a time.
func Next(f Facts, now time.Time) []Action {
	var out []Action
	for _, r := range f.Refusals {
		if value := reasonGone(r, f, now); value != "" {
			out = append(out, Action{r.Owner, value})
		}
	}
	return out
}

// reasonGone returns a name for the end of the refusal, "" while it lasts.
func reasonGone(r Refusal, f Facts, now time.Time) string {
	if r.Unanswered {
		if f.Suspended || f.AnsweringSince.IsZero() || f.AnsweringSince.Before(r.At) {
			// Nothing may be written; or it answered when it was asked before and
			// after this refusal: the owner will be refused again, or is not
			// refused any more.
			return ""
		}
		return "webhook-answers." + strconv.FormatInt(f.AnsweringSince.Unix(), 10)
	}
	m, ok := f.Meshes[r.Mesh]
	if !ok || !m.Usable || now.Before(m.InForce) || !m.InForce.After(r.At) {
		return ""
	}
	return m.Hash
}

// webhookName is the name by which the API server speaks of the validating
// webhook (manifests/webhook/validating.yaml).
const webhookName = "validate." + v1alpha1.Group

// Parse reads the message of a FailedCreate event. It is false for one that
// Reanchor has no part in.
func Parse(message string) (unanswered bool, mesh string, ok bool) {
	if !strings.Contains(message, `"`+webhookName+`"`) {
		return false, "", false
	}
	if strings.Contains(message, "failed calling webhook") || strings.Contains(message, "failed to call webhook") {
		return true, "", true
	}
	return false, meshIn(message), true
}

// meshIn returns the name that a denial gives as `mesh "name"`.
func meshIn(message string) string {
	_, rest, ok := strings.Cut(message, `mesh "`)
	if !ok {
		return ""
	}
	name, _, ok := strings.Cut(rest, `"`)
	if !ok {
		return ""
	}
	return name
}

// InForce tells when new pods of a mesh began to carry its newest bundle, and
// whether it can be used. spec holds the defaults.
func InForce(spec *v1alpha1.MeshTrustSpec, status *v1alpha1.MeshTrustStatus, usable bool) Mesh {
	if len(status.History) == 0 {
		return Mesh{}
	}
	newest := status.History[0]
	m := Mesh{Hash: newest.Hash, Usable: usable}
	switch fence := status.Rollout.Fence; {
	case fence != nil && fence.BundleHash == newest.Hash:
		m.InForce = fence.At.Time
	case spec.Profile == v1alpha1.ProfileLinkerd:
		m.InForce = newest.FirstSeen.Add(spec.Bundle.Propagation.File.Duration)
	default:
		m.InForce = newest.FirstSeen.Add(spec.Bundle.Propagation.Environment.Duration)
	}
	return m
}
