package inventory

import (
	"slices"
	"time"
	"unique"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/mesh"
)

// record is all that is kept of a member pod: 104 bytes, its name and 16 bytes of
// UID. It is immutable: an event replaces it.
type record struct {
	facts
	starts []mesh.Start
}

// facts is the comparable part of a record.
type facts struct {
	text     string // the name, and behind it the UID, in one allocation
	owner    unique.Handle[ownerKey]
	claim    unique.Handle[mesh.Claim]
	node     unique.Handle[string]
	revision unique.Handle[string]
	mark     unique.Handle[string]
	created  int64 // Unix seconds, the resolution of the API; 0 when unknown
	ordinal  int32
	flags    flags
	nameLen  uint8 // a name has at most 253 characters
}

// ownerKey is a Key whose repetitive parts are held once.
type ownerKey struct {
	kind      unique.Handle[[2]string] // group and kind
	namespace unique.Handle[string]
	name      string
}

// podKey identifies a pod.
type podKey struct {
	namespace unique.Handle[string]
	name      string
}

type flags uint16

const (
	ready flags = 1 << iota
	terminating
	pending
	running
	isMirror
	optedOut
	runsToEnd
	controlPlane
	injector
	packedUID
)

func (f flags) has(o flags) bool { return f&o != 0 }

// newRecord returns the record of a pod that is a member of the mesh; view is
// ViewOf(pod).
func newRecord(m *mesh.Mesh, pod *corev1.Pod, view *mesh.Pod) *record {
	evidence := m.Inspect(view)
	owner := ownerOf(pod)
	r := &record{starts: slices.Clip(evidence.Starts), facts: facts{
		text:     pod.Name + string(pod.UID),
		owner:    internOwner(owner),
		claim:    unique.Make(evidence.Claim),
		node:     unique.Make(pod.Spec.NodeName),
		revision: unique.Make(revisionOf(pod)),
		mark:     unique.Make(pod.Annotations[v1alpha1.RestartedForAnnotation]),
		ordinal:  ordinalOf(pod, owner),
		flags:    flagsOf(pod),
		nameLen:  uint8(len(pod.Name)),
	}}
	if raw, ok := packUID(pod.UID); ok {
		r.text = pod.Name + raw
		r.flags |= packedUID
	}
	if !evidence.CreatedAt.IsZero() {
		r.created = evidence.CreatedAt.Unix()
	}
	if m.ControlPlane(view) {
		r.flags |= controlPlane
	}
	if m.Injector(view) {
		r.flags |= injector
	}
	return r
}

func flagsOf(pod *corev1.Pod) flags {
	var f flags
	set := func(flag flags, when bool) {
		if when {
			f |= flag
		}
	}
	set(ready, podReady(pod))
	set(terminating, pod.DeletionTimestamp != nil)
	set(pending, pod.Status.Phase == corev1.PodPending)
	set(running, pod.Status.Phase == corev1.PodRunning)
	set(isMirror, mirror(pod))
	set(optedOut, v1alpha1.OptsOut(pod.Annotations[v1alpha1.OptOutAnnotation], v1alpha1.OptOutRollout))
	set(runsToEnd, pod.Spec.RestartPolicy != "" && pod.Spec.RestartPolicy != corev1.RestartPolicyAlways)
	return f
}

func podReady(pod *corev1.Pod) bool {
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// ended reports whether no process of the pod runs or will ever run again.
func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func internOwner(k Key) unique.Handle[ownerKey] {
	return unique.Make(ownerKey{unique.Make([2]string{k.Group, k.Kind}), unique.Make(k.Namespace), k.Name})
}

func (k ownerKey) key() Key {
	kind := k.kind.Value()
	return Key{Group: kind[0], Kind: kind[1], Namespace: k.namespace.Value(), Name: k.name}
}

func (r *record) name() string { return r.text[:r.nameLen] }
func (r *record) key() podKey  { return podKey{r.owner.Value().namespace, r.name()} }

func (r *record) uid() types.UID {
	uid := r.text[r.nameLen:]
	if r.flags.has(packedUID) {
		return unpackUID(uid)
	}
	return types.UID(uid)
}

func (r *record) createdAt() time.Time {
	if r.created == 0 {
		return time.Time{}
	}
	return time.Unix(r.created, 0)
}

func (r *record) evidence() mesh.Evidence {
	return mesh.Evidence{Claim: r.claim.Value(), CreatedAt: r.createdAt(), Starts: r.starts}
}

// same reports whether an event brought nothing new: most only tell of a
// heartbeat or of a condition that nobody asks for.
func (r *record) same(o *record) bool {
	return r.facts == o.facts && slices.Equal(r.starts, o.starts)
}
