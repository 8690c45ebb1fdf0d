package e2e

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab"
)

// A bundle comes while somebody else's rollout is half-way: its first new pod
// carries the older bundle. The rollout is left to end, takes up the budget until
// then, and is followed by one roll.
func TestARolloutThatSomebodyElseBeganEndsFirst(t *testing.T) {
	t.Parallel()
	const replicas = 3
	m := newMesh(t, meshOptions{spec: oneByOne()})
	apps := m.namespace("apps")
	deployment(t, apps, "busy", replicas, func(d *appsv1.Deployment) {
		d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{
			MaxSurge: new(intstr.FromInt32(1)), MaxUnavailable: new(intstr.FromInt32(0)),
		}}
	})
	deployment(t, apps, "idle", 1, nil)
	ready(t, apps, replicas+1)
	atRest(t, apps)
	m.awaitConverged(time.Minute, m.root)
	history := m.record()
	ship(t, apps, "busy", lab.ReadyDelayAnnotation, "10s") // a slow machine sees the bundle and says so meanwhile
	eventually(t, time.Minute, func() error {
		if n := len(podsOf(t, apps, "busy")); n != replicas+1 {
			return fmt.Errorf("%d pods, want the first of the new version beside the others", n)
		}
		return nil
	})
	next := m.rotate()
	eventually(t, time.Minute, func() error {
		if blocked(m.status())["Deployment busy"] != v1alpha1.RolloutInFlight {
			return errors.New("it is not said that its own rollout is waited for: " + describe(m.status()))
		}
		return nil
	})
	mt := m.awaitConverged(3*time.Minute, m.root, next)

	history.replay(func(i *instant) {
		written, ok := i.change.object.(*appsv1.Deployment)
		if !ok || i.before == nil || mark(written) == mark(i.before) {
			return
		}
		for _, d := range i.deployments() {
			if d == written {
				d = i.before.(*appsv1.Deployment)
			}
			if inFlight(d, nil) {
				t.Errorf("%s was begun while the rollout of %s was under way: %+v", written.Name, d.Name, d.Status)
			}
		}
	})
	for name, sets := range map[string]int{"busy": 3, "idle": 2} {
		if diff := cmp.Diff([]string{mt.Status.Bundle.Hash}, history.marks("Deployment", apps, name)); diff != "" {
			t.Errorf("the marks of %s (-want +got):\n%s", name, diff)
		}
		if n := revisions(t, apps)[name]; n != sets {
			t.Errorf("%s has %d revisions, want %d, the roll among them", name, n, sets)
		}
	}
	for _, p := range pods(t, apps) {
		if !anchorsOf(t, &p).Equal(setOf(m.root, next)) {
			t.Errorf("pod %s does not carry the bundle", p.Name)
		}
	}
}

// ship changes an annotation in the template of a Deployment, which is a rollout,
// as "kubectl rollout restart" does.
func ship(t *testing.T, namespace, name, key, value string) {
	t.Helper()
	d := get(t, namespace, name, &appsv1.Deployment{})
	before := d.DeepCopy()
	if d.Spec.Template.Annotations == nil {
		d.Spec.Template.Annotations = map[string]string{}
	}
	d.Spec.Template.Annotations[key] = value
	if err := env.client.Patch(t.Context(), d, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}
