package rollout

import (
	"fmt"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// Strategy is how a kind replaces pods after its template changed.
type Strategy uint8

// The strategies.
const (
	// RollingUpdate replaces pods by and by.
	RollingUpdate Strategy = iota
	// Recreate stops all pods before new ones start.
	Recreate
	// OnDelete replaces a pod when somebody deletes it.
	OnDelete
)

// BuiltIn returns the kind if it is one of Kubernetes' own or Argo's Rollout, and
// "" for all others, among them kinds of another API group with a known name.
func (k Key) BuiltIn() string {
	group := ""
	switch k.Kind {
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet":
		group = "apps"
	case "Job":
		group = "batch"
	case "Rollout":
		group = "argoproj.io"
	}
	if k.Group != group {
		return ""
	}
	return k.Kind
}

// OwnerSpec is what decides how a workload's pods are replaced.
type OwnerSpec struct {
	Key      Key
	Strategy Strategy
	// Unreadable is why an owner of a kind that others have defined could not be
	// read; empty when it could.
	Unreadable string
	// RunsToEnd says that its pods are meant to end by themselves: what holds for
	// those of a Job holds for them, whatever owns them.
	RunsToEnd bool
	// Found is false when the owner that the pods name does not exist.
	Found bool
	// OptedOut, Paused, ManuallyInjected and EvictOnly are the user's: opt-out
	// of the workload or its namespace, spec.paused, a template that holds the
	// proxy and its bundle itself, and rollout-strategy Evict.
	OptedOut, Paused, ManuallyInjected, EvictOnly bool
	Desired, Partition                            int
	// Lost is how many pods are to end on nodes that are not ready. A StatefulSet's
	// controller makes none in the place of such a pod, and under OrderedReady
	// replaces no other: a roll would come to nothing, and an eviction take another
	// of its members away. Of kinds that are not built in nobody knows.
	Lost int
	// ControlledBy is the object that controls a ReplicaSet and has the say in how
	// its pods are replaced; empty for a bare one.
	ControlledBy Key
}

// VerbFor returns how the pods of an owner are replaced, or why they are not.
func VerbFor(o OwnerSpec, p Policy) (v1alpha1.Verb, Hold) {
	switch {
	case o.OptedOut:
		return "", Hold{v1alpha1.OptedOut, "it is annotated to be left alone; remove reanchor.dev/opt-out to have it rolled"}
	case o.Unreadable != "":
		return "", Hold{v1alpha1.UnknownOwner, o.Unreadable}
	case o.ManuallyInjected:
		return "", Hold{v1alpha1.ManuallyInjected, "its template holds the proxy and its bundle; inject it again and apply it"}
	}
	kind := o.Key.BuiltIn()
	if o.RunsToEnd {
		kind = "Job"
	}
	switch kind {
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Rollout":
		return verbForController(o, p)
	case "Job":
		return evictIf(p.EvictJobs, Hold{v1alpha1.JobPod, "Reanchor waits for it to end; set spec.rollout.policies.jobs to Evict to replace it"})
	case "Pod":
		return evictIf(p.EvictBarePods, Hold{v1alpha1.BarePod, "nothing would replace it: delete and create it again"})
	case "Node":
		return "", Hold{v1alpha1.MirrorPod, "the kubelet runs it from a file on the node"}
	default:
		return verbForOther(o, p)
	}
}

func verbForOther(o OwnerSpec, p Policy) (v1alpha1.Verb, Hold) {
	operator := p.Operators.For(o.Key)
	switch {
	case o.Lost > 0 && (operator != nil || p.EvictUnmanaged):
		return "", lostPods(o)
	case operator == nil:
		return evictIf(p.EvictUnmanaged, Hold{v1alpha1.UnknownOwner, fmt.Sprintf(
			"it is not known how a %s is restarted; restart it, name its kind in spec.rollout.operators, or set spec.rollout.policies.unmanaged to Evict", o.Key.Kind)})
	case !o.Found:
		return "", Hold{v1alpha1.UnknownOwner, "its owner does not exist; delete the pods or create the owner again"}
	case operator.Annotation == nil, o.EvictOnly:
		return v1alpha1.VerbEvict, Hold{}
	default:
		return v1alpha1.VerbAnnotate, Hold{}
	}
}

func verbForController(o OwnerSpec, p Policy) (v1alpha1.Verb, Hold) {
	if hold := holdOn(o); hold.Reason != "" {
		return "", hold
	}
	switch {
	case o.ControlledBy.Kind != "":
		return verbForControlled(o.ControlledBy, p)
	case o.Key.Kind == "Rollout" && !o.EvictOnly:
		return v1alpha1.VerbRestartAt, Hold{}
	case o.EvictOnly, o.Strategy != RollingUpdate, !byTemplate(o.Key.Kind), o.Partition > 0 && o.Partition >= o.Desired:
		return v1alpha1.VerbEvict, Hold{}
	default:
		return v1alpha1.VerbRestart, Hold{}
	}
}

// holdOn returns why the pods of a controller are left as they are, whatever would
// replace them; empty for most.
func holdOn(o OwnerSpec) Hold {
	switch {
	case !o.Found:
		return Hold{v1alpha1.UnknownOwner, "its owner does not exist; delete the pods or create the owner again"}
	case o.Desired == 0:
		return Hold{v1alpha1.ScaledToZero, "it is scaled to zero: its pods go by themselves"}
	case o.Lost > 0 && o.Key.Kind == "StatefulSet":
		return lostPods(o)
	case o.Paused && !o.EvictOnly:
		return Hold{v1alpha1.WorkloadPaused, "it is paused; resume it, or set reanchor.dev/rollout-strategy to Evict"}
	default:
		return Hold{}
	}
}

// lostPods is why an owner waits that may bring no pod in the place of one that
// cannot end.
func lostPods(o OwnerSpec) Hold {
	return Hold{v1alpha1.NodeNotReady, fmt.Sprintf(
		"%s cannot end, as the node is not ready, and may not be replaced before; it is rolled when the node is back or deleted", count(o.Lost, "pod"))}
}

// verbForControlled is for a ReplicaSet that an object controls which was not
// found by the name of the ReplicaSet: of a kind that is known it shows by and by,
// with the user's word on how it is rolled; else the ReplicaSet is not its own.
func verbForControlled(by Key, p Policy) (v1alpha1.Verb, Hold) {
	if by.BuiltIn() != "" {
		return "", Hold{v1alpha1.UnknownOwner, fmt.Sprintf(
			"its ReplicaSet names the %s %s as its controller, which was not found; if this lasts, restart that, or delete the ReplicaSet if it is gone", by.Kind, by.Name)}
	}
	return evictIf(p.EvictUnmanaged, Hold{v1alpha1.UnknownOwner, fmt.Sprintf(
		"it is not known how the %s that controls it is restarted; restart it, or set spec.rollout.policies.unmanaged to Evict", by.Kind)})
}

func byTemplate(kind string) bool {
	return kind == "Deployment" || kind == "StatefulSet" || kind == "DaemonSet"
}

func evictIf(allowed bool, otherwise Hold) (v1alpha1.Verb, Hold) {
	if allowed {
		return v1alpha1.VerbEvict, Hold{}
	}
	return "", otherwise
}

// rolling reports whether the owner is replacing pods at this moment,
// whoever asked for it. An owner whose pods merely do not become available is
// not rolling: rolling it may be what heals it.
func (o Owner) rolling() bool {
	if o.Lags || !o.Observed || o.Progressing {
		return true
	}
	return o.ByTemplate && (o.Updated < o.updatable() || o.Total > max(o.Updated, o.Desired))
}

// complete reports whether the owner's rollout is complete as "kubectl rollout
// status" judges, pods on nodes that cannot replace them left aside.
func (o Owner) complete() bool { return o.updated() && o.lacking() <= 0 }

// updated reports whether nothing of the owner's rollout is left but that its pods
// become available.
func (o Owner) updated() bool {
	return !o.rolling() && !(o.ByTemplate && o.Partition == 0 && o.Total > o.Updated+o.Unreachable)
}

// lacking is how many pods more should be available, those aside that are on nodes
// that cannot replace them.
func (o Owner) lacking() int { return o.Desired - o.Unreachable - o.Available }

// updatable is how many pods a changed template can replace now.
func (o Owner) updatable() int { return max(0, o.Desired-o.Partition-o.Unreachable) }

// keeps reports whether a pod is below the partition, which the StatefulSet's
// controller counts from its first ordinal (newVersionedStatefulSetPod, and in
// updateStatefulSet the loop down to updateMin).
func (o Owner) keeps(x Pod) bool { return o.Partition > 0 && x.Ordinal < o.FirstOrdinal+o.Partition }
