package rollout

import (
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// Facts is everything that Next decides on.
//
// They are read from caches, which may lag behind the truth, but never behind
// what this controller's predecessor may have written: a controller that takes
// over first lets its caches reach the present (a consistent list), since the
// stored State would otherwise be newer than what it sees.
type Facts struct {
	// Bundle is the published bundle.
	Bundle Bundle
	// Hold is why nothing may be rolled at all, found by whoever read the bundle
	// and the issuer; empty when rolling is allowed. See Gate for I9.
	Hold Hold
	// Policy is the user's, with all defaults filled in.
	Policy Policy
	// State is what was stored by the last Decision.
	State State
	// Workloads are all owners of member pods and those that State names and
	// that exist, in any order: an owner whose last pod was evicted has no
	// member pod for a while, and is in flight all the same.
	Workloads []Workload
	// Waves names the waves in order; the control plane is the first. A
	// Workload's Wave is an index of it.
	Waves []string
	// Fence is the evidence on what the injectors serve.
	Fence FenceEvidence
	// WantFence asks for the fence even while there is nothing to roll.
	WantFence bool
	// Breaks is when the first stale pod that is to be rolled breaks; zero when that is
	// not known.
	Breaks time.Time
}

// Hold is a reason to write nothing.
type Hold struct {
	Reason  v1alpha1.Reason
	Message string
}

// Bundle is the published bundle.
type Bundle struct {
	// Hash identifies the set of anchors.
	Hash string
	// PublishedAt is when it was written, by the API server's clock.
	PublishedAt time.Time
	// SeenAt is when Reanchor first saw it, by its own clock.
	SeenAt time.Time
}

// maxClockSkew is how far apart the clocks of two machines of a cluster are
// taken to be at most.
const maxClockSkew = 5 * time.Minute

// SurelyRead returns from when on, by Reanchor's clock, every reader with the
// propagation delay sees the bundle. Both clocks give a bound, and the earlier
// of the two is enough.
func (b Bundle) SurelyRead(delay time.Duration) time.Time {
	seen, published := b.SeenAt.Add(delay), b.PublishedAt.Add(delay+maxClockSkew)
	if published.Before(seen) {
		return published
	}
	return seen
}

// Policy is spec.rollout with its defaults, and the spec fields around it that
// stop rolls.
type Policy struct {
	Suspend, Paused bool
	// MaxConcurrent is the count of workloads in flight, already computed from
	// a percent; at least 1.
	MaxConcurrent int
	// MaxConcurrentPerNamespace is the same for one namespace; at least 1.
	MaxConcurrentPerNamespace int
	Windows                   []Window
	// WhenBroken lets workloads roll outside windows that fail handshakes already.
	WhenBroken       bool
	FailureThreshold int
	ProgressDeadline time.Duration
	MaxAttempts      int
	Retired          v1alpha1.RetiredPolicy
	EvictBarePods    bool
	EvictJobs        bool
	EvictUnmanaged   bool
	// Operators are the owner kinds whose restart is configured.
	Operators Operators
	// EnvDelay is how long a starting container may read an older bundle.
	EnvDelay time.Duration
	// NoFence skips the injector fence. Only tests set it, to show what the
	// fence is for.
	NoFence bool
}

// Key identifies a workload.
type Key struct{ Group, Kind, Namespace, Name string }

// String returns the form in which people see the key.
func (k Key) String() string { return k.Kind + " " + k.Namespace + "/" + k.Name }

// Workload is an owner of member pods.
type Workload struct {
	Key Key
	// Wave is the index of its wave; 0 is the control plane.
	Wave int
	// Block is why it is not rolled, found from the owner itself; empty when it
	// may be.
	Block Hold
	// Verb is how its pods are replaced.
	Verb v1alpha1.Verb
	// Owner is the state of its own rollout.
	Owner Owner
	// RestartedFor is the mark of the last roll by template, or the value of the
	// annotation at which an operator restarts pods.
	RestartedFor string
	// Annotation is that annotation; nil where none is configured.
	Annotation *v1alpha1.RestartAnnotation
	// WrittenAt is when this controller last wrote the mark or restart time
	// with success, by its own clock; zero when it did not since it leads.
	WrittenAt time.Time
	// RestartAt is the time up to which an Argo Rollout, or an operator with a
	// time in its annotation, replaces the pods; zero for other kinds.
	RestartAt time.Time
	// AskedAt is when the annotation got its value from Reanchor, by the API
	// server's clock; zero when it did not, or has another by now.
	AskedAt time.Time
	// StalePods are the pods that must be replaced and have not begun to
	// terminate; RetiredPods those that may be. Pods that opted out are in
	// neither.
	StalePods, RetiredPods []Pod
	// Expired says that a stale pod has no unexpired anchor; Broken that one
	// cannot verify the issuer in use, so it fails handshakes now; RenewalOnly
	// that all that is missing are renewals with the same key and name.
	Expired, Broken, RenewalOnly bool
	// Breaks is when the first of its stale pods stops working; zero when that is not
	// known.
	Breaks time.Time
	// RunsToEnd says that its pods are meant to end by themselves, whatever owns them.
	RunsToEnd bool
	// Refused names what refused the last write, such as a PodDisruptionBudget an
	// eviction; empty when it was not refused.
	Refused string
	// Pods is how many have not begun to terminate, Ready how many of them are
	// ready, Terminating how many have begun. A DaemonSet's pods on nodes that
	// cannot replace them are in Owner.Unreachable and in none of these; nor are
	// those of others that have begun to terminate on a node that is not ready, and
	// stay for as long as that lasts: these are Lost.
	Pods, Ready, Terminating, Lost int
	// Outdated is how many of Pods lack the owner's present mark, or where pods are
	// restarted by time came before AskedUpTo; 0 where neither the pods nor the State
	// call for a look at each. Stranded is how many stale pods are on nodes that
	// cannot replace or end them now.
	Outdated, Stranded int
	// NewestPod is the creation time of its newest pod, OldestPod that of the
	// oldest that has not begun to terminate; zero without such a pod.
	NewestPod, OldestPod time.Time
}

// Pod is one pod of a workload.
type Pod struct {
	Name, UID string
	CreatedAt time.Time
	Ready     bool
	// RestartedFor is the mark that the pod got from its template: it proves of
	// which roll it is.
	RestartedFor string
	// Ordinal orders the pods of a StatefulSet; 0 for others.
	Ordinal int
	// LeafOnly says of a stale pod that it carries the bundle, and is to be replaced
	// for the age of its leaf: so it shows of no roll that it did not succeed.
	LeafOnly bool
}

// Owner is the state of a workload's own rollout as its status tells it.
type Owner struct {
	// Lags says that what is seen is older than Reanchor's own last write: the
	// object than its mark, or the pods than an eviction that was granted.
	Lags bool
	// Observed says that its controller has seen the latest spec.
	Observed bool
	// Desired is how many pods it should have; Updated how many of the latest
	// template it has; Total how many of any template; Available how many serve.
	Desired, Updated, Total, Available int
	// ByPods says that the kind has no status that could be read, but replaces pods
	// that are gone: Desired, Updated, Total and Available are not set, and are told
	// from the pods.
	ByPods bool
	// Progressing says that by its own word it replaces pods; only an Argo Rollout
	// tells that, by its phase.
	Progressing bool
	// ByTemplate says that a changed template replaces the pods; false for
	// OnDelete, while paused, and for kinds without an own rollout.
	ByTemplate bool
	// Partition is how many pods a StatefulSet keeps as they are, from FirstOrdinal
	// on: it counts from there, not from 0.
	Partition, FirstOrdinal int
	// Unreachable is how many pods of a DaemonSet, stale or not, are on nodes
	// that cannot replace them now.
	Unreachable int
}

// FenceEvidence says what is known of the injectors.
type FenceEvidence struct {
	// Needed is false for a mesh whose pods are not written by an injector.
	Needed bool
	// Known says that every replica provably serves the bundle: each was
	// created, or had its file refreshed, after the propagation delay.
	Known bool
	// KnownAt is when Known may become true by the passing of time; zero when
	// that cannot be told.
	KnownAt time.Time
	// Probe is the outcome of the last burst of probes against this bundle.
	Probe ProbeOutcome
	// Message describes the outcome.
	Message string
}

// ProbeOutcome is the outcome of a burst of probes.
type ProbeOutcome uint8

// The outcomes.
const (
	// NotProbed: no burst was made yet.
	NotProbed ProbeOutcome = iota
	// AllFresh: every answer carried the bundle.
	AllFresh
	// SomeStale: an answer carried an older bundle.
	SomeStale
	// Refused: an answer was not an injected pod.
	Refused
)
