package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab"
)

// Somebody removes the annotation as soon as it appears, each time: it is
// written twice, then pods are evicted instead, that is reported, and nothing
// goes round in circles.
func TestAnnotationThatIsRemovedEachTimeEndsInEvictions(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{})
	apps := m.namespace("apps")
	deployment(t, apps, "web", 2, func(d *appsv1.Deployment) {
		// The revert comes before a new pod is ready, so no old one is replaced.
		d.Spec.Template.Annotations = map[string]string{lab.ReadyDelayAnnotation: "1500ms"}
	})
	ready(t, apps, 2)
	before := podsOf(t, apps, "web")
	history := m.record()
	revertEach(t, apps)
	next := m.rotate()
	m.trust(*quick())
	mt := m.awaitConverged(time.Minute, m.root, next)

	hash := mt.Status.Bundle.Hash
	settled := func() error {
		if diff := cmp.Diff([]string{hash, "", hash, ""}, history.marks("Deployment", apps, "web")); diff != "" {
			return fmt.Errorf("what became of the annotation (-want +got):\n%s", diff)
		}
		// One, where the revert was quicker than the Deployment's controller.
		if n := revisions(t, apps)["web"]; n > 2 {
			return fmt.Errorf("there are %d ReplicaSets, want two at most", n)
		}
		return nil
	}
	if err := settled(); err != nil {
		t.Fatal(err)
	}
	replaced(t, apps, "web", before, m.root, next)
	if least := history.leastUp(2, apps, "web"); least != 1 {
		t.Errorf("%d pods were up at least, want one: they are evicted one by one", least)
	}
	if a := mt.Status.Rollout.Attempts; len(a) != 1 || a[0].Name != "web" || a[0].Reverts != 2 {
		t.Errorf("want two reverts on record, got %+v", a)
	}
	eventually(t, time.Minute, func() error {
		return said(t, apps, "Deployment", "web", v1alpha1.RevertedTwice)
	})
	now := podsOf(t, apps, "web")
	stays(t, 6*time.Second, settled)
	unharmed(t, apps, "web", now)
}

// Somebody removes the annotation, once, after the roll: that is a rollout of
// its own, its pods carry the bundle, and there is nothing to do.
func TestAnnotationThatIsRemovedAfterTheRollIsNotMissed(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{})
	apps := m.namespace("apps")
	deployment(t, apps, "web", 2, nil)
	ready(t, apps, 2)
	history := m.record()
	next := m.rotate()
	m.trust(*quick())
	mt := m.awaitConverged(time.Minute, m.root, next)
	ready(t, apps, 2)
	rolled := podsOf(t, apps, "web")

	if err := unmark(t.Context(), apps, "web"); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, func() error {
		d := get(t, apps, "web", &appsv1.Deployment{})
		if inFlight(d, history.now().pods(apps, "web")) {
			return errors.New("the rollout of the removal goes on")
		}
		return nil
	})
	replaced(t, apps, "web", rolled, m.root, next)
	now := podsOf(t, apps, "web")
	stays(t, 6*time.Second, func() error {
		if d := get(t, apps, "web", &appsv1.Deployment{}); d.Generation != 3 {
			return fmt.Errorf("generation %d, want the creation, the roll and the removal alone", d.Generation)
		}
		return nil
	})
	unharmed(t, apps, "web", now)
	if diff := cmp.Diff([]string{mt.Status.Bundle.Hash, ""}, history.marks("Deployment", apps, "web")); diff != "" {
		t.Errorf("what became of the annotation (-want +got):\n%s", diff)
	}
	m.awaitConverged(time.Minute, m.root, next)
}

// revertEach removes the annotation from every Deployment of a namespace as
// soon as it shows, until the test ends.
func revertEach(t *testing.T, namespace string) {
	t.Helper()
	set, err := kubernetes.NewForConfig(env.lab.Config())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w, err := set.AppsV1().Deployments(namespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	t.Cleanup(func() { cancel(); w.Stop(); done.Wait() })
	done.Go(func() {
		for e := range w.ResultChan() {
			if d, ok := e.Object.(*appsv1.Deployment); ok && mark(d) != "" {
				// Invalid: there is nothing to remove any more.
				if err := unmark(ctx, namespace, d.Name); err != nil && !apierrors.IsInvalid(err) && ctx.Err() == nil {
					t.Error(err)
				}
			}
		}
	})
}

// unmark removes the annotation from a Deployment's template.
func unmark(ctx context.Context, namespace, name string) error {
	patch := `[{"op":"remove","path":"/spec/template/metadata/annotations/reanchor.dev~1restarted-for"}]`
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	return env.client.Patch(ctx, d, client.RawPatch(types.JSONPatchType, []byte(patch)))
}

// said returns an error while there is no event on the object with the reason.
func said(t *testing.T, namespace, kind, name string, reason v1alpha1.Reason) error {
	t.Helper()
	var list eventsv1.EventList
	if err := env.client.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
		return err
	}
	for i := range list.Items {
		if e := &list.Items[i]; e.Regarding.Kind == kind && e.Regarding.Name == name && e.Reason == string(reason) {
			return nil
		}
	}
	return fmt.Errorf("no event %s on %s %s/%s", reason, kind, namespace, name)
}
