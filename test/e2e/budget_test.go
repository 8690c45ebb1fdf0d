package e2e

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/hack/lab"
)

// Sixty workloads, five at a time, two in one namespace: the budget holds at
// every instant and is used, a canary goes first, and each is rolled once.
func TestBudgetHoldsAtEveryInstant(t *testing.T) {
	t.Parallel()
	const namespaces, each, most, mostEach = 6, 10, 5, 2
	m := newMesh(t, meshOptions{})
	var names []string
	for n := range namespaces {
		ns := m.namespace(fmt.Sprintf("team-%d", n))
		names = append(names, ns)
		for i := range each {
			// Each old pod outlives its rollout: the status is complete while it
			// still terminates.
			deployment(t, ns, fmt.Sprintf("app-%d", i), 1, func(d *appsv1.Deployment) {
				d.Spec.Template.Annotations = map[string]string{lab.TerminateDelayAnnotation: "700ms"}
			})
		}
	}
	for _, ns := range names {
		ready(t, ns, each)
		atRest(t, ns)
	}
	history := m.record()
	next := m.rotate()
	spec := quick()
	spec.Rollout.MaxConcurrent = new(intstr.FromInt32(most))
	spec.Rollout.MaxConcurrentPerNamespace = new(int32(mostEach))
	m.trust(*spec)
	m.awaitConverged(3*time.Minute, m.root, next)

	count := &flightCount{t: t, begun: map[string]bool{}}
	history.replay(count.see)
	if count.most != most || count.mostEach != mostEach {
		t.Errorf("at most %d workloads were in flight at once, %d in one namespace, want just %d and %d", count.most, count.mostEach, most, mostEach)
	}
	if len(count.begun) != namespaces*each {
		t.Errorf("%d workloads were rolled, want %d", len(count.begun), namespaces*each)
	}
	for _, ns := range names {
		for name, n := range revisions(t, ns) {
			if n != 2 {
				t.Errorf("%s/%s has %d revisions, want the first and one roll", ns, name, n)
			}
		}
	}
}

// atRest waits until the status of every Deployment of a namespace says what its
// pods do, which on a busy machine takes a while: until then each counts as in
// flight.
func atRest(t *testing.T, namespace string) {
	t.Helper()
	eventually(t, time.Minute, func() error {
		var list appsv1.DeploymentList
		if err := env.client.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
			return err
		}
		for i := range list.Items {
			if inFlight(&list.Items[i], nil) {
				return fmt.Errorf("the status of %s/%s is not up to date", namespace, list.Items[i].Name)
			}
		}
		return nil
	})
}

// rotate publishes a new anchor beside the mesh's root.
func (m *meshWorld) rotate() *bundletest.CA {
	m.t.Helper()
	next := bundletest.NewRoot(m.t, "root.linkerd.cluster.local", lifetime())
	m.publish(m.root, next)
	return next
}

// flightCount counts, at each instant, the Deployments in flight.
type flightCount struct {
	t *testing.T
	// begun are those whose template was marked.
	begun          map[string]bool
	most, mostEach int
}

func (c *flightCount) see(i *instant) {
	all, each := 0, map[string]int{}
	for _, d := range i.deployments() {
		if inFlight(d, i.pods(d.Namespace, d.Name)) {
			all++
			each[d.Namespace]++
			c.mostEach = max(c.mostEach, each[d.Namespace])
		}
	}
	c.most = max(c.most, all)
	d, ok := i.change.object.(*appsv1.Deployment)
	if !ok || i.before == nil || mark(d) == mark(i.before) {
		return
	}
	// The ramp: one alone, then no more than the largest power of two not above
	// one more than are done.
	done := len(c.begun) - (all - 1)
	c.begun[d.Namespace+"/"+d.Name] = true
	ramp := 1
	for ramp*2 <= done+1 {
		ramp *= 2
	}
	if all > ramp {
		c.t.Errorf("%s/%s was begun as number %d in flight when %d were done", d.Namespace, d.Name, all, done)
	}
}

// inFlight reports whether a Deployment is being rolled: its rollout is not
// complete, or a pod of the old template is still there.
func inFlight(d *appsv1.Deployment, pods []*corev1.Pod) bool {
	s, want := d.Status, *d.Spec.Replicas
	if s.ObservedGeneration < d.Generation || s.UpdatedReplicas < want || s.Replicas > want || s.AvailableReplicas < want {
		return true
	}
	for _, p := range pods {
		if p.DeletionTimestamp != nil || mark(p) != mark(d) {
			return true
		}
	}
	return false
}
