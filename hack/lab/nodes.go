package lab

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (l *Lab) addNodes(ctx context.Context) error {
	for i := range l.options.Nodes {
		_, err := l.client.CoreV1().Nodes().Create(ctx, node(i), metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("creating node %d: %w", i, err)
		}
	}
	return l.poll(ctx, "the nodes to be Ready", func(ctx context.Context) (bool, error) {
		nodes, err := l.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil || len(nodes.Items) < l.options.Nodes {
			return false, nil // asked again until the deadline
		}
		for _, n := range nodes.Items {
			if !usable(n) {
				return false, nil
			}
		}
		l.readySince = readySince(nodes.Items)
		return true, nil
	})
}

func node(i int) *corev1.Node {
	name := fmt.Sprintf("lab-node-%d", i)
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("256"),
		corev1.ResourceMemory: resource.MustParse("1Ti"),
		corev1.ResourcePods:   resource.MustParse("2000"),
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			corev1.LabelOSStable:   "linux",
			corev1.LabelArchStable: "amd64",
			corev1.LabelHostname:   name,
		}},
		Status: corev1.NodeStatus{Capacity: capacity, Allocatable: capacity},
	}
}

// usable tells whether the scheduler would put a pod on the node: it is Ready,
// and the taint it was born with is gone.
func usable(n corev1.Node) bool {
	return len(n.Spec.Taints) == 0 && len(readySince([]corev1.Node{n})) == 1
}

// readySince tells since when nodes are Ready, without those that are not.
func readySince(nodes []corev1.Node) map[string]metav1.Time {
	out := map[string]metav1.Time{}
	for _, n := range nodes {
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				out[n.Name] = c.LastTransitionTime
			}
		}
	}
	return out
}

// NodesStayedReady returns an error unless every node that the lab was started
// with has been Ready ever since. One that is not, on a machine too busy for its
// heartbeats, takes all its pods out of their owners' counts and may have them
// evicted, so that what a test saw meanwhile says nothing of what it tests.
// Nodes that a test made itself are its own affair.
func (l *Lab) NodesStayedReady(ctx context.Context) error {
	nodes, err := l.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing the nodes: %w", err)
	}
	now := readySince(nodes.Items)
	var faults []error
	for name, since := range l.readySince {
		switch at, ready := now[name]; {
		case !ready:
			faults = append(faults, fmt.Errorf("node %s is not Ready", name))
		case !at.Equal(&since):
			faults = append(faults, fmt.Errorf("node %s was not Ready some time before %s", name, at.UTC()))
		}
	}
	return errors.Join(faults...)
}
