package rotation

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/inventory"
	"github.com/reanchor/reanchor/rotation/owner"
	"github.com/reanchor/reanchor/rotation/rollout"
)

var agent = rollout.Key{Group: "apps", Kind: "DaemonSet", Namespace: "shop", Name: "agent"}

// daemons is a DaemonSet that replaces its pods by its template, with a pod on
// each of four nodes: two are as they should be, one is cordoned, one is not ready.
func daemons() owner.Owner {
	return owner.Owner{
		Spec:  rollout.OwnerSpec{Key: agent, Found: true, Desired: 4},
		State: rollout.Owner{Observed: true, Desired: 4, Updated: 4, Total: 4, Available: 3, ByTemplate: true},
	}
}

func nodes() map[string]*corev1.Node {
	node := func(ready corev1.ConditionStatus, cordoned bool) *corev1.Node {
		return &corev1.Node{
			Spec:   corev1.NodeSpec{Unschedulable: cordoned},
			Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}},
		}
	}
	return map[string]*corev1.Node{
		"fine": node(corev1.ConditionTrue, false), "cordoned": node(corev1.ConditionTrue, true), "lost": node(corev1.ConditionUnknown, true),
	}
}

// podsOn returns a pod for each node, by its class.
func podsOn(classes map[string]mesh.Class) []inventory.Pod {
	var out []inventory.Pod
	for _, node := range []string{"fine", "unseen", "cordoned", "lost"} {
		out = append(out, inventory.Pod{
			Name: "agent-" + node, UID: types.UID(node), Node: node, CreatedAt: at(0), Ready: node != "lost", Trust: &mesh.Trust{}, Class: classes[node],
		})
	}
	return out
}

func surveyorOf(rolls ...rollout.Roll) *surveyor {
	return &surveyor{
		nodes: nodes(), underway: underway(rollout.State{InProgress: rolls}), memory: newMemory().of("m"), now: at(60),
		renewals: map[*mesh.Trust]bool{}, broken: map[*mesh.Trust]bool{}, revisions: map[rollout.Key]string{},
	}
}

func TestWhatANodeMeansToADaemonSetsPods(t *testing.T) {
	const current, missing, retired = mesh.ClassCurrent, mesh.ClassMissing, mesh.ClassRetired
	onDelete := func(o *owner.Owner) { o.Spec.Strategy, o.State.ByTemplate = rollout.OnDelete, false }
	type seen struct{ Stale, Retired, Stranded, Unreachable, Pods, Ready, Terminating int }
	for name, c := range map[string]struct {
		classes     map[string]mesh.Class
		owner       func(*owner.Owner)
		rolls       []rollout.Roll
		terminating string
		want        seen
	}{
		"none is stale": {map[string]mesh.Class{"fine": current, "unseen": current, "cordoned": current, "lost": current}, nil, nil, "",
			seen{Unreachable: 1, Pods: 3, Ready: 3}},
		"stale pods on cordoned and lost nodes alone are stranded": {map[string]mesh.Class{"fine": current, "unseen": current, "cordoned": missing, "lost": missing}, nil, nil, "",
			seen{Stranded: 2, Unreachable: 1, Pods: 3, Ready: 3}},
		"a roll that has begun replaces the pod on a cordoned node": {map[string]mesh.Class{"fine": current, "unseen": current, "cordoned": missing, "lost": missing}, nil,
			[]rollout.Roll{{Key: agent, Verb: v1alpha1.VerbRestart}}, "",
			seen{Stale: 1, Stranded: 1, Unreachable: 1, Pods: 3, Ready: 3}},
		"and waits for its end": {map[string]mesh.Class{"fine": current, "unseen": current, "cordoned": missing, "lost": current}, nil,
			[]rollout.Roll{{Key: agent, Verb: v1alpha1.VerbRestart}}, "cordoned",
			seen{Unreachable: 1, Pods: 2, Ready: 2, Terminating: 1}},
		"so does one that is about to begin": {map[string]mesh.Class{"fine": missing, "unseen": current, "cordoned": missing, "lost": missing}, nil, nil, "",
			seen{Stale: 2, Stranded: 1, Unreachable: 1, Pods: 3, Ready: 3}},
		"a pod that ends already begins no roll": {map[string]mesh.Class{"fine": missing, "unseen": current, "cordoned": missing, "lost": current}, nil, nil, "fine",
			seen{Stranded: 1, Unreachable: 1, Pods: 2, Ready: 2, Terminating: 1}},
		"one that merely trusts too much neither": {map[string]mesh.Class{"fine": retired, "unseen": current, "cordoned": missing, "lost": current}, nil, nil, "",
			seen{Retired: 1, Stranded: 1, Unreachable: 1, Pods: 3, Ready: 3}},
		"evictions leave a cordoned node alone": {map[string]mesh.Class{"fine": missing, "unseen": current, "cordoned": missing, "lost": current}, onDelete,
			[]rollout.Roll{{Key: agent, Verb: v1alpha1.VerbEvict}}, "",
			seen{Stale: 1, Stranded: 1, Unreachable: 2, Pods: 2, Ready: 2}},
		"so they do where the user wants them": {map[string]mesh.Class{"fine": missing, "unseen": current, "cordoned": missing, "lost": current},
			func(o *owner.Owner) { o.Spec.EvictOnly = true }, nil, "",
			seen{Stale: 1, Stranded: 1, Unreachable: 2, Pods: 2, Ready: 2}},
		"and where they took the place of a template that is reverted": {map[string]mesh.Class{"fine": missing, "unseen": current, "cordoned": missing, "lost": current}, nil,
			[]rollout.Roll{{Key: agent, Verb: v1alpha1.VerbEvict}}, "",
			seen{Stale: 1, Stranded: 1, Unreachable: 2, Pods: 2, Ready: 2}},
		"pods of other kinds leave their nodes": {map[string]mesh.Class{"fine": current, "unseen": current, "cordoned": missing, "lost": missing},
			func(o *owner.Owner) { o.Spec.Key.Kind = "Deployment" }, nil, "",
			seen{Stale: 2, Pods: 4, Ready: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			o, pods := daemons(), podsOn(c.classes)
			if c.owner != nil {
				c.owner(&o)
			}
			for i := range pods {
				pods[i].Terminating = pods[i].Node == c.terminating
			}
			w := surveyorOf(c.rolls...).describe(o, pods)
			got := seen{len(w.StalePods), len(w.RetiredPods), w.Stranded, w.Owner.Unreachable, w.Pods, w.Ready, w.Terminating}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The controller of a DaemonSet goes on with cordoned nodes. Until it is through
// nothing else may take its place in the budget (I4).
func TestARollOfADaemonSetLastsUntilCordonedNodesAreThroughToo(t *testing.T) {
	state := rollout.State{BundleHash: "v1:b", InProgress: []rollout.Roll{{
		Key: agent, Attempt: 1, Verb: v1alpha1.VerbRestart, For: "v1:b", StartedAt: at(0), ProgressAt: at(0), Before: at(0), Applied: true, Pods: 4,
	}}}
	for name, c := range map[string]struct {
		updated     int
		class       mesh.Class
		terminating bool
		ends        bool
	}{
		"the old pod is there":      {2, mesh.ClassMissing, false, false},
		"the old pod ends":          {2, mesh.ClassMissing, true, false},
		"all but the lost node are": {3, mesh.ClassCurrent, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			o := daemons()
			o.RestartedFor, o.State.Updated = "v1:b", c.updated
			pods := podsOn(map[string]mesh.Class{"fine": mesh.ClassCurrent, "unseen": mesh.ClassCurrent, "cordoned": c.class, "lost": mesh.ClassMissing})
			for i := range pods {
				if pods[i].Class == mesh.ClassCurrent {
					pods[i].RestartedFor, pods[i].CreatedAt = "v1:b", at(30)
				}
				pods[i].Terminating = c.terminating && pods[i].Node == "cordoned"
			}
			d := rollout.Next(rollout.Facts{
				Bundle: rollout.Bundle{Hash: "v1:b", PublishedAt: at(-600), SeenAt: at(-600)}, State: state, Waves: []string{"control-plane", "rest"},
				Policy:    rollout.Policy{MaxConcurrent: 1, MaxConcurrentPerNamespace: 1, FailureThreshold: 3, ProgressDeadline: 10 * time.Minute, MaxAttempts: 3},
				Workloads: []rollout.Workload{surveyorOf(state.InProgress...).describe(o, pods)},
			}, at(60))
			if ended := len(d.State.InProgress) == 0; ended != c.ends || len(d.State.Failed) > 0 {
				t.Errorf("the roll ended: %t, want %t; %+v", ended, c.ends, d.State)
			}
		})
	}
}
