package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab"
)

// Pods of a DaemonSet on nodes that are cordoned, or not ready, are left alone
// and reported; all others are replaced meanwhile. When the nodes are back the
// rest follows. But a roll by the template does not end before its controller is
// through with a cordoned node too.
func TestPodsOfDaemonSetsOnLostNodesWait(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{})
	// The names sort behind the lab's own nodes, and a taint keeps the pods of
	// other scenarios away.
	fine, cordoned, cutOff := m.node("zz-fine"), m.node("zz-cordoned"), m.node("zz-cut-off")
	apps := m.namespace("apps")
	onDelete := appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}
	m.daemonSetOn(apps, "everywhere", onDelete, fine, cordoned, cutOff)
	// All pods of this one are on lost nodes, so there is nothing to begin.
	rolling := appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType}
	m.daemonSetOn(apps, "lost", rolling, cordoned, cutOff)
	m.daemonSetOn(apps, "most", rolling, fine, cordoned)
	ready(t, apps, 7)
	reachable := m.cutOff(cutOff)
	cordon(t, cordoned, true)
	before := map[string]corev1.Pod{}
	for _, p := range pods(t, apps) {
		before[p.Labels["app"]+" "+p.Spec.NodeName] = p
	}

	history := m.record()
	next := m.rotate()
	m.trust(*quick())
	m.awaitConverged(time.Minute, m.root, next)
	var most []corev1.Pod
	for _, node := range []string{fine, cordoned} {
		most = append(most, before["most "+node])
	}
	replaced(t, apps, "most", most, m.root, next)
	// The rest of the state: who was replaced, who was not, and what is said.
	left := func() error {
		now := map[string]corev1.Pod{}
		for _, p := range pods(t, apps) {
			now[p.Labels["app"]+" "+p.Spec.NodeName] = p
		}
		for key, p := range before {
			want := key == "everywhere "+fine || p.Labels["app"] == "most"
			if replaced := now[key].UID != p.UID; replaced != want {
				return fmt.Errorf("the pod of %s was replaced: %v", key, replaced)
			}
		}
		for name, reason := range map[string]v1alpha1.Reason{"DaemonSet everywhere": v1alpha1.NodeNotReady, "DaemonSet lost": v1alpha1.NodeNotReady} {
			if have := blocked(m.status())[name]; have != reason {
				return fmt.Errorf("%s is reported as %q, want %s: %s", name, have, reason, describe(m.status()))
			}
		}
		return nil
	}
	eventually(t, time.Minute, left)
	holds(t, 5*time.Second, left)
	if marks := history.marks("DaemonSet", apps, "lost"); len(marks) > 0 {
		t.Errorf("a DaemonSet with pods on lost nodes alone was written to: %v", marks)
	}
	if s := m.status(); len(s.Status.Rollout.Failed) > 0 || !apimeta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionRolloutHealthy) {
		t.Errorf("a lost node is no failed roll: %s", describe(s))
	}

	cordon(t, cordoned, false)
	reachable()
	eventually(t, 90*time.Second, func() error {
		if have := m.status(); have.Status.Pods.Stale > 0 || len(blocked(have)) > 0 {
			return fmt.Errorf("the nodes are back and pods are not replaced: %s", describe(have))
		}
		return nil
	})
	for _, app := range []string{"everywhere", "lost"} {
		var old []corev1.Pod
		for _, p := range before {
			if p.Labels["app"] == app {
				old = append(old, p)
			}
		}
		replaced(t, apps, app, old, m.root, next)
	}
}

// node creates a node for this scenario alone.
func (m *meshWorld) node(name string) string {
	m.t.Helper()
	name = name + "-" + m.name
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("100"),
	}
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelOSStable: "linux", corev1.LabelHostname: name}},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: m.name, Effect: corev1.TaintEffectNoSchedule}}},
		Status:     corev1.NodeStatus{Capacity: capacity, Allocatable: capacity},
	}
	create(m.t, n)
	m.t.Cleanup(func() { env.client.Delete(context.Background(), n) })
	eventually(m.t, time.Minute, func() error { return nodeIs(m.t, name, corev1.ConditionTrue) })
	return name
}

func nodeIs(t *testing.T, name string, want corev1.ConditionStatus) error {
	t.Helper()
	for _, c := range get(t, "", name, &corev1.Node{}).Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status == want {
			return nil
		}
	}
	return fmt.Errorf("node %s is not yet Ready=%s", name, want)
}

// daemonSetOn creates a DaemonSet on nodes of this scenario.
func (m *meshWorld) daemonSetOn(namespace, name string, strategy appsv1.DaemonSetUpdateStrategy, nodes ...string) {
	m.t.Helper()
	template := podTemplate(name, map[string]string{lab.ReadyDelayAnnotation: "1500ms"})
	template.Spec.Tolerations = []corev1.Toleration{{Key: m.name, Operator: corev1.TolerationOpExists}}
	template.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
			{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: nodes},
		}}},
	}}}
	create(m.t, &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1.DaemonSetSpec{
			UpdateStrategy: strategy, Template: template,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
		},
	})
}

func cordon(t *testing.T, name string, to bool) {
	t.Helper()
	n := get(t, "", name, &corev1.Node{})
	before := n.DeepCopy()
	n.Spec.Unschedulable = to
	if err := env.client.Patch(t.Context(), n, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

// cutOff makes a node not ready, and keeps its kubelet from saying otherwise
// until the returned function is called.
func (m *meshWorld) cutOff(name string) func() {
	m.t.Helper()
	fail := admissionregistrationv1.Fail
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: &fail,
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
				ResourceNames: []string{name},
				RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Update},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"nodes/status"}},
				},
			}}},
			Validations: []admissionregistrationv1.Validation{{
				Expression: `!object.status.conditions.exists(c, c.type == 'Ready' && c.status == 'True')`,
				Message:    "the node is cut off",
			}},
		},
	}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: name, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}
	for _, o := range []client.Object{policy, binding} {
		create(m.t, o)
		m.t.Cleanup(func() { env.client.Delete(context.Background(), o) })
	}
	// Until the policy is in force, the kubelet puts it right again at once.
	eventually(m.t, time.Minute, func() error {
		n := get(m.t, "", name, &corev1.Node{})
		before := n.DeepCopy()
		for i := range n.Status.Conditions {
			if c := &n.Status.Conditions[i]; c.Type == corev1.NodeReady {
				c.Status, c.Reason = corev1.ConditionFalse, "CutOff"
			}
		}
		if err := env.client.Status().Patch(m.t.Context(), n, client.MergeFrom(before)); err != nil {
			return err
		}
		end := time.Now().Add(time.Second)
		for time.Now().Before(end) {
			if err := nodeIs(m.t, name, corev1.ConditionFalse); err != nil {
				return err
			}
			time.Sleep(100 * time.Millisecond)
		}
		return nil
	})
	return func() {
		m.t.Helper()
		if err := env.client.Delete(m.t.Context(), binding); err != nil {
			m.t.Fatal(err)
		}
		// The kubelet tries again after pauses that grow; here it does at once.
		eventually(m.t, time.Minute, func() error {
			n := get(m.t, "", name, &corev1.Node{})
			before := n.DeepCopy()
			for i := range n.Status.Conditions {
				if c := &n.Status.Conditions[i]; c.Type == corev1.NodeReady {
					c.Status, c.Reason = corev1.ConditionTrue, "KubeletReady"
				}
			}
			if err := env.client.Status().Patch(m.t.Context(), n, client.MergeFrom(before)); err != nil {
				return err
			}
			return nodeIs(m.t, name, corev1.ConditionTrue)
		})
	}
}
