package rotation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/inventory"
	"github.com/reanchor/reanchor/rotation/record"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// render writes an observation and the decision on it into the status, which
// observe has brought up to date so far as it records what was read.
func render(mt *v1alpha1.MeshTrust, o *observation, d rollout.Decision, now time.Time) {
	s := &mt.Status
	s.ObservedGeneration = mt.Generation
	s.Pods, s.Workloads = counts(o.owners)
	s.EarliestTrustExpiry = earliestExpiry(o.owners)
	s.Expires = expires(o, s.Issuer)
	storeState(&s.Rollout, d.State, o.facts.Waves)
	s.Rollout.ETA, s.Rollout.Deadline = optionalTime(d.ETA), optionalTime(o.facts.Breaks)
	blocked := distinct(append(blockedOf(d, o.facts.Workloads), exemptAndStale(o.owners)...))
	s.Rollout.BlockedTotal = int32(len(blocked))
	s.Rollout.Blocked = capped(blocked, v1alpha1.MaxBlocked)
	for _, c := range conditions(mt, o, d, now) {
		setCondition(mt, c, now)
	}
}

func optionalTime(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	return timeRef(t)
}

// counts adds up pods and workloads by class.
func counts(owners []inventory.Workload) (v1alpha1.PodCounts, v1alpha1.WorkloadCounts) {
	var pods inventory.Counts
	workloads := v1alpha1.WorkloadCounts{Total: int32(len(owners))}
	for i := range owners {
		c := owners[i].Counts
		pods = pods.Plus(c)
		switch {
		case c.Stale() > 0:
			workloads.Stale++
		case c.Unknown > 0:
			workloads.Unknown++
		case c.Retired > 0:
			workloads.Retired++
		case c.Current > 0:
			workloads.Current++
		default:
			workloads.Exempt++
		}
	}
	return v1alpha1.PodCounts{
		Total: int32(pods.Total), Current: int32(pods.Current), Stale: int32(pods.Stale()), Missing: int32(pods.Missing),
		Expired: int32(pods.Expired), Retired: int32(pods.Retired), Unknown: int32(pods.Unknown), Exempt: int32(pods.Exempt),
	}, workloads
}

// earliestExpiry is when the first pod will have no unexpired anchor left. A
// pod whose end is not known ends nothing.
func earliestExpiry(owners []inventory.Workload) *metav1.Time {
	var first time.Time
	seen := map[*mesh.Trust]bool{}
	for i := range owners {
		for p := range owners[i].Pods() {
			if p.Trust == nil || seen[p.Trust] {
				continue
			}
			seen[p.Trust] = true
			if end, ok := p.Trust.Maybe.NotAfter(); ok && p.Trust.Knowledge == mesh.Known && (first.IsZero() || end.Before(first)) {
				first = end
			}
		}
	}
	return optionalTime(first)
}

// expires is the EXPIRES column: when the last anchor that verifies the issuer
// ends, or where no issuer is known the last anchor at all.
func expires(o *observation, issuer *v1alpha1.IssuerStatus) string {
	set := o.current
	if issuer != nil && len(issuer.VerifiedBy) > 0 {
		set = setOf(issuer.VerifiedBy, o.current)
	}
	end, ok := set.NotAfter()
	if !ok {
		return ""
	}
	return end.UTC().Format(time.RFC3339)
}

// blockedOf lists what is stale and not rolled, and the workloads with stale pods that
// wait for their node.
func blockedOf(d rollout.Decision, workloads []rollout.Workload) []v1alpha1.BlockedWorkload {
	var out []v1alpha1.BlockedWorkload
	for _, b := range d.Blocked {
		out = append(out, v1alpha1.BlockedWorkload{WorkloadRef: refOf(b.Key), Reason: b.Reason, Message: record.Clip(b.Message)})
	}
	for i := range workloads {
		if w := &workloads[i]; w.Stranded > 0 && w.Block.Reason == "" {
			out = append(out, v1alpha1.BlockedWorkload{WorkloadRef: refOf(w.Key), Reason: v1alpha1.NodeNotReady,
				Message: "stale pods are on nodes that are cordoned or not ready; they are replaced, or end, when the nodes are back"})
		}
	}
	return out
}

// distinct keeps the first entry of each workload: the API refuses a whole
// status for a list with two. A DaemonSet all of whose stale pods wait for their
// nodes is blocked by the planner too.
func distinct(blocked []v1alpha1.BlockedWorkload) []v1alpha1.BlockedWorkload {
	seen := map[v1alpha1.WorkloadRef]bool{}
	return slices.DeleteFunc(blocked, func(b v1alpha1.BlockedWorkload) bool {
		again := seen[b.WorkloadRef] // its fields are the keys of the list
		seen[b.WorkloadRef] = true
		return again
	})
}

// exemptAndStale lists the pods that are never touched although they are stale:
// mirror pods, and those whose template opted out.
func exemptAndStale(owners []inventory.Workload) []v1alpha1.BlockedWorkload {
	var out []v1alpha1.BlockedWorkload
	for i := range owners {
		w := &owners[i]
		if w.Counts.Exempt == 0 {
			continue
		}
		for p := range w.Pods() {
			if !p.Exempt() || !p.Class.Stale() {
				continue
			}
			b := v1alpha1.BlockedWorkload{
				WorkloadRef: v1alpha1.WorkloadRef{Namespace: p.Namespace, Kind: inventory.KindPod, Name: p.Name},
				Reason:      v1alpha1.OptedOut, Message: "its template is annotated to be left alone",
			}
			if p.Mirror {
				b.Reason, b.Message = v1alpha1.MirrorPod, "the kubelet runs it from a file on node "+p.Node+"; restart it there"
			}
			out = append(out, b)
		}
	}
	return out
}

// conditions returns the conditions that the observation and the decision give.
func conditions(mt *v1alpha1.MeshTrust, o *observation, d rollout.Decision, now time.Time) []metav1.Condition {
	bundleValid := bundleCondition(o)
	issuer := issuerCondition(o)
	converged := convergedCondition(o, d)
	healthy := healthCondition(o, d)
	all := []metav1.Condition{bundleValid, issuer, converged, healthy, switchCondition(o, now), narrowCondition(mt, o, now)}
	return append(all, readyCondition(o, bundleValid, issuer, healthy, converged))
}

func bundleCondition(o *observation) metav1.Condition {
	return condition(v1alpha1.ConditionBundleValid, o.bundle.Reason == v1alpha1.BundleUsable, o.bundle.Reason, o.bundle.Message)
}

// convergedCondition: with a published bundle that cannot be used there is
// nothing that pods could converge on, even if all carry the last good one.
func convergedCondition(o *observation, d rollout.Decision) metav1.Condition {
	if o.bundle.Reason != v1alpha1.BundleUsable {
		return condition(v1alpha1.ConditionConverged, false, o.bundle.Reason, o.bundle.Message)
	}
	return condition(v1alpha1.ConditionConverged, d.Reason == v1alpha1.Converged && len(d.State.InProgress) == 0, d.Reason, d.Message)
}

func condition(kind string, ok bool, reason v1alpha1.Reason, message string) metav1.Condition {
	status := metav1.ConditionFalse
	if ok {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{Type: kind, Status: status, Reason: string(reason), Message: message}
}

func issuerCondition(o *observation) metav1.Condition {
	switch {
	case o.issuer.None:
		return metav1.Condition{Type: v1alpha1.ConditionIssuerTrusted, Status: metav1.ConditionUnknown,
			Reason: string(v1alpha1.IssuerUnknown), Message: "the mesh has no issuer that could be checked"}
	case o.issuer.Reason != "":
		return metav1.Condition{Type: v1alpha1.ConditionIssuerTrusted, Status: metav1.ConditionUnknown,
			Reason: string(o.issuer.Reason), Message: o.issuer.Message}
	case !inForce(o.bundle):
		return metav1.Condition{Type: v1alpha1.ConditionIssuerTrusted, Status: metav1.ConditionUnknown,
			Reason: string(o.bundle.Reason), Message: "without a bundle nothing can be verified: " + o.bundle.Message}
	case o.gate.Reason != "":
		return condition(v1alpha1.ConditionIssuerTrusted, false, o.gate.Reason, o.gate.Message)
	default:
		return condition(v1alpha1.ConditionIssuerTrusted, true, v1alpha1.IssuerTrusted, "the bundle verifies the issuer in use")
	}
}

func healthCondition(o *observation, d rollout.Decision) metav1.Condition {
	failed := d.State.Failed
	switch {
	case len(failed) >= o.facts.Policy.FailureThreshold:
		return condition(v1alpha1.ConditionRolloutHealthy, false, v1alpha1.FailureThresholdExceeded, d.Message)
	case len(failed) > 0:
		return condition(v1alpha1.ConditionRolloutHealthy, false, failed[0].Reason, failed[0].Key.String()+": "+failed[0].Message)
	case d.AtRisk:
		return condition(v1alpha1.ConditionRolloutHealthy, false, v1alpha1.DeadlineAtRisk,
			"rolls will end at "+d.ETA.UTC().Format(time.RFC3339)+", after the first stale pod breaks; raise spec.rollout.maxConcurrent or open a window")
	default:
		return condition(v1alpha1.ConditionRolloutHealthy, true, v1alpha1.RolloutHealthy, "no roll has failed")
	}
}

// readyCondition sums up: its reason is the gravest of what is not as it should
// be.
func readyCondition(o *observation, others ...metav1.Condition) metav1.Condition {
	if o.spec.Suspend {
		return condition(v1alpha1.ConditionReady, false, v1alpha1.Suspended, "spec.suspend is true: nothing is written")
	}
	for _, c := range others {
		if c.Status == metav1.ConditionFalse || c.Status == metav1.ConditionUnknown && !o.issuer.None {
			return metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: c.Reason, Message: c.Message}
		}
	}
	if o.unknown > 0 {
		return condition(v1alpha1.ConditionReady, true, v1alpha1.TrustUnknown, fmt.Sprintf(
			"nothing is stale, but what %d pods trust cannot be told, since they started under a bundle that was not observed; restart them once", o.unknown))
	}
	if order := o.stampOrder; len(order.after) > 0 {
		return condition(v1alpha1.ConditionReady, true, v1alpha1.StampOrder, "pods that "+strings.Join(order.after, ", ")+
			" injects carry no stamp, because it runs after "+order.stamp+"; give it a name that sorts before")
	}
	return condition(v1alpha1.ConditionReady, true, v1alpha1.Converged, "every pod that may be rolled carries the bundle")
}

// setCondition adds a condition, with the message cut to what the API takes.
func setCondition(mt *v1alpha1.MeshTrust, c metav1.Condition, now time.Time) {
	c.Message = record.Clip(c.Message)
	c.Reason = cmp.Or(c.Reason, string(v1alpha1.TrustUnknown))
	c.ObservedGeneration = mt.Generation
	c.LastTransitionTime = second(now)
	apimeta.SetStatusCondition(&mt.Status.Conditions, c)
}
