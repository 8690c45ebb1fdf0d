package own

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// end is the world when all is done.
type end struct {
	before, after []corev1.Pod
	// published is when the second bundle was written.
	published time.Time
	sets      []appsv1.ReplicaSet
}

// judge returns the first thing that is not as the demo claims: every pod is
// another than before and was created when the new bundle was there to be read,
// and every Deployment has had just one roll. It asks nobody, so that a test can
// show it worlds that are not so.
func (e *end) judge() error {
	if len(e.after) != deployments*replicas {
		return fmt.Errorf("there are %d pods, not %d", len(e.after), deployments*replicas)
	}
	for i := range e.after {
		p := &e.after[i]
		if slices.ContainsFunc(e.before, func(b corev1.Pod) bool { return b.UID == p.UID }) {
			return fmt.Errorf("pod %s was not replaced", p.Name)
		}
		if p.CreationTimestamp.Time.Before(e.published) {
			return fmt.Errorf("pod %s is older than the bundle", p.Name)
		}
	}
	revisions := map[string]int{}
	for i := range e.sets {
		if owner := metav1.GetControllerOf(&e.sets[i]); owner != nil {
			revisions[owner.Name]++
		}
	}
	if len(revisions) != deployments {
		return fmt.Errorf("there are ReplicaSets of %d Deployments, not of %d", len(revisions), deployments)
	}
	for name, n := range revisions {
		if n != 2 {
			return fmt.Errorf("there are %d ReplicaSets of Deployment %s, not the first and one roll", n, name)
		}
	}
	return nil
}
