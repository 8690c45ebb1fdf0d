package rotation

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

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
	kind := func(kind string) func(*owner.Owner) { return func(o *owner.Owner) { o.Spec.Key.Kind = kind } }
	type seen struct{ Stale, Retired, Stranded, Unreachable, Pods, Ready, Terminating, Lost int }
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
			kind("Deployment"), nil, "",
			seen{Stale: 2, Pods: 4, Ready: 3}},
		"they are lost when they are to end on one that is not ready": {map[string]mesh.Class{"fine": current, "unseen": current, "cordoned": missing, "lost": missing}, kind("Deployment"), nil, "lost",
			seen{Stale: 1, Stranded: 1, Pods: 3, Ready: 3, Lost: 1}},
		"so are those of kinds that are not known, and named only if they are stale": {map[string]mesh.Class{"fine": current, "unseen": current, "cordoned": missing, "lost": current}, kind("Job"), nil, "lost",
			seen{Stale: 1, Pods: 3, Ready: 3, Lost: 1}},
		"on one that is cordoned they end": {map[string]mesh.Class{"fine": current, "unseen": current, "cordoned": missing, "lost": missing}, kind("Deployment"), nil, "cordoned",
			seen{Stale: 1, Pods: 3, Ready: 2, Terminating: 1}},
		"on one that is not seen they may": {map[string]mesh.Class{"fine": current, "unseen": missing, "cordoned": current, "lost": current}, kind("Deployment"), nil, "unseen",
			seen{Pods: 3, Ready: 2, Terminating: 1}},
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
			got := seen{len(w.StalePods), len(w.RetiredPods), w.Stranded, w.Owner.Unreachable, w.Pods, w.Ready, w.Terminating, w.Lost}
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

// A node that is dead keeps its pods terminating until it is deleted. Nothing waits
// for them: a roll ends without, and takes up no place for them.
func TestARollEndsWithoutThePodsOfADeadNode(t *testing.T) {
	web := rollout.Key{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}
	for name, c := range map[string]struct {
		state   rollout.State
		node    string
		ended   bool
		blocked []rollout.Blocked
	}{
		"it ends":                       {rolling(web), "lost", true, []rollout.Blocked{{Key: web, Hold: rollout.Hold{Reason: v1alpha1.NodeNotReady, Message: "1 stale pod on nodes that cannot replace or end them now"}}}},
		"but waits for those that will": {rolling(web), "fine", false, nil},
		"a roll that failed is in order": {rollout.State{BundleHash: "v1:b", Failed: []rollout.Failure{{Key: web, Reason: v1alpha1.ProgressDeadlineExceeded, Since: at(0)}}}, "lost", true,
			[]rollout.Blocked{{Key: web, Hold: rollout.Hold{Reason: v1alpha1.NodeNotReady, Message: "1 stale pod on nodes that cannot replace or end them now"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			o := daemons()
			o.Spec.Key, o.RestartedFor = web, "v1:b"
			o.State = rollout.Owner{Observed: true, Desired: 3, Updated: 3, Total: 3, Available: 3, ByTemplate: true}
			pods := []inventory.Pod{{Name: "old", Node: c.node, CreatedAt: at(0), Terminating: true, Trust: &mesh.Trust{}, Class: mesh.ClassMissing}}
			for range o.State.Desired {
				pods = append(pods, inventory.Pod{Name: "new", Node: "fine", CreatedAt: at(30), Ready: true, RestartedFor: "v1:b", Trust: &mesh.Trust{}, Class: mesh.ClassCurrent})
			}
			d := rollout.Next(rollout.Facts{
				Bundle: rollout.Bundle{Hash: "v1:b", PublishedAt: at(-600), SeenAt: at(-600)}, State: c.state, Waves: []string{"control-plane", "rest"},
				Policy:    rollout.Policy{MaxConcurrent: 1, MaxConcurrentPerNamespace: 1, FailureThreshold: 3, ProgressDeadline: 10 * time.Minute, MaxAttempts: 3},
				Workloads: []rollout.Workload{surveyorOf(c.state.InProgress...).describe(o, pods)},
			}, at(60))
			if ended := len(d.State.InProgress)+len(d.State.Failed) == 0; ended != c.ended {
				t.Errorf("it is over: %t, want %t; %+v", ended, c.ended, d.State)
			}
			if diff := cmp.Diff(c.blocked, d.Blocked); diff != "" {
				t.Errorf("blocked (-want +got):\n%s", diff)
			}
		})
	}
}

// rolling is a state in which a workload is being rolled by its template.
func rolling(key rollout.Key) rollout.State {
	return rollout.State{BundleHash: "v1:b", InProgress: []rollout.Roll{{
		Key: key, Attempt: 1, Verb: v1alpha1.VerbRestart, For: "v1:b", StartedAt: at(0), ProgressAt: at(0), Before: at(0), Applied: true, Pods: 3,
	}}}
}

// A StatefulSet's controller waits for such a pod, so the StatefulSet is no failure
// of a roll, and loses no other pod to one.
func TestAStatefulSetIsBlockedWhileAPodOfItIsOnADeadNode(t *testing.T) {
	o, pods := daemons(), podsOn(map[string]mesh.Class{"fine": mesh.ClassMissing, "lost": mesh.ClassMissing})
	o.Spec.Key = rollout.Key{Group: "apps", Kind: "StatefulSet", Namespace: "shop", Name: "db"}
	for _, terminating := range []bool{false, true} {
		pods[3].Terminating = terminating // on the node "lost"
		w := surveyorOf().describe(o, pods)
		if blocked := w.Block.Reason == v1alpha1.NodeNotReady; blocked != terminating || (w.Verb == "") != terminating {
			t.Errorf("a pod is to end: %t; %q, %+v", terminating, w.Verb, w.Block)
		}
	}
}

// A workload of which nothing is to be replaced may be rolled by somebody else, and
// that may come to a halt.
func TestAnIdleWorkloadsPodsOnADeadNodeCountNeither(t *testing.T) {
	text, err := os.ReadFile("../mesh/testdata/pod-deployment-native-sidecar.json")
	if err != nil {
		t.Fatal(err)
	}
	client := fake.NewClientset()
	for _, node := range []string{"lost", "fine"} {
		pod := &corev1.Pod{}
		if err := json.Unmarshal(text, pod); err != nil {
			t.Fatal(err)
		}
		pod.Name, pod.UID, pod.Spec.NodeName, pod.DeletionTimestamp = "web-"+node, types.UID(node), node, &metav1.Time{Time: at(0)}
		if err := client.Tracker().Add(pod); err != nil {
			t.Fatal(err)
		}
	}
	index, err := inventory.Build(t.Context(), client.CoreV1(), inventory.Scope{}, mesh.Mesh{Name: "m", Profile: mesh.Linkerd, Namespace: "linkerd"})
	if err != nil {
		t.Fatal(err)
	}
	owners, _ := index.Workloads("m", inventory.Question{Now: at(60)})
	if len(owners) != 1 {
		t.Fatalf("%d owners", len(owners))
	}
	if w := surveyorOf().summary(daemons(), &owners[0]); w.Terminating != 1 || w.Lost != 1 || w.Pods != 0 {
		t.Errorf("%d terminate, %d are lost, %d are neither; want 1, 1, 0", w.Terminating, w.Lost, w.Pods)
	}
}
