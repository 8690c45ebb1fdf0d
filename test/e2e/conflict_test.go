package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle/bundletest"
)

// Of two MeshTrusts that claim the same pods the older one rolls them and the
// other says so; when the older one goes, the other takes over.
func TestTheOlderOfTwoMeshTrustsHasThePods(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{spec: quick()})
	ns := m.namespace("apps")
	deployment(t, ns, "app", 1, nil)
	ready(t, ns, 1)
	m.awaitConverged(time.Minute, m.root)
	// The second one would do it differently: it may not roll at all.
	spec := quick()
	spec.ControlPlaneNamespace, spec.Rollout.Paused = m.name, true
	second := &v1alpha1.MeshTrust{ObjectMeta: metav1.ObjectMeta{Name: "a-" + m.name}, Spec: *spec}
	// Creation times are in seconds, and of one second the name decides.
	first := m.status().CreationTimestamp
	eventually(t, time.Minute, func() error {
		if !first.Add(time.Second).Before(time.Now()) {
			return fmt.Errorf("the other MeshTrust is of this second")
		}
		return nil
	})
	create(t, second)
	t.Cleanup(func() { env.client.Delete(context.Background(), second) })
	other := &meshWorld{t: t, name: second.Name}
	mt := other.await(time.Minute, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.Conflict)
	for _, kind := range []string{v1alpha1.ConditionConverged, v1alpha1.ConditionSafeToSwitchIssuer, v1alpha1.ConditionSafeToNarrow} {
		if apimeta.IsStatusConditionTrue(mt.Status.Conditions, kind) {
			t.Errorf("%s is true of a mesh that this MeshTrust does not look at: %s", kind, describe(mt))
		}
	}

	next := bundletest.NewRoot(t, "root.linkerd.cluster.local", lifetime())
	m.publish(m.root, next)
	m.awaitConverged(time.Minute, m.root, next)
	rolledOnce(t, ns, 1, setOf(m.root, next))
	other.await(time.Second, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.Conflict)

	if err := env.client.Delete(t.Context(), &v1alpha1.MeshTrust{ObjectMeta: metav1.ObjectMeta{Name: m.name}}); err != nil {
		t.Fatal(err)
	}
	mergePatch(t, m.name+"-probe", map[string]any{"labels": map[string]any{v1alpha1.ProbeForLabel: other.name}})
	other.awaitConverged(time.Minute, m.root, next)
	third := bundletest.NewRoot(t, "foreign", lifetime())
	m.publish(m.root, next, third)
	other.await(time.Minute, v1alpha1.ConditionConverged, metav1.ConditionFalse, v1alpha1.Paused)
	holds(t, 3*time.Second, unrolled(t, ns))
	other.update(func(mt *v1alpha1.MeshTrust) { mt.Spec.Rollout.Paused = false })
	other.awaitConverged(time.Minute, m.root, next, third)
	if n := revisions(t, ns)["app"]; n != 3 {
		t.Errorf("the app has %d revisions, want the first and one roll by each", n)
	}
}

// A spec that validation cannot judge is a condition, and no retry loop.
func TestASpecThatCannotBeUnderstoodIsReported(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{spec: quick()})
	ns := m.namespace("apps")
	deployment(t, ns, "app", 1, nil)
	ready(t, ns, 1)
	m.awaitConverged(time.Minute, m.root)
	rolled := unrolled(t, ns)
	m.await(time.Minute, v1alpha1.ConditionSafeToSwitchIssuer, metav1.ConditionTrue, "")
	w := open(t, "UTC")
	w.TimeZone = "Europe/Nowhere"
	m.setWindow(w)
	mt := m.await(time.Minute, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.InvalidSpec)
	if c := apimeta.FindStatusCondition(mt.Status.Conditions, v1alpha1.ConditionReady); c.Message == "" || c.ObservedGeneration != mt.Generation {
		t.Errorf("want what is wrong with this spec, got %+v", c)
	}
	if apimeta.IsStatusConditionTrue(mt.Status.Conditions, v1alpha1.ConditionSafeToSwitchIssuer) {
		t.Error("SafeToSwitchIssuer is true although nobody looks")
	}
	next := bundletest.NewRoot(t, "root.linkerd.cluster.local", lifetime())
	m.publish(m.root, next)
	eventually(t, time.Minute, func() error {
		if have := m.status().Status.Bundle.Hash; have != setOf(m.root, next).Hash() {
			return fmt.Errorf("the new bundle is not on record, but %s", have)
		}
		return nil
	})
	version := m.atRest()
	holds(t, 8*time.Second, func() error {
		if now := m.status().ResourceVersion; now != version {
			return fmt.Errorf("the status is written again and again")
		}
		return rolled()
	})
	m.update(func(mt *v1alpha1.MeshTrust) { mt.Spec.Rollout.Windows = nil })
	m.awaitConverged(time.Minute, m.root, next)
	rolledOnce(t, ns, 1, setOf(m.root, next))
}

// atRest waits until the MeshTrust has not been written for a while, and returns
// its version: what was seen may still be written.
func (m *meshWorld) atRest() string {
	m.t.Helper()
	version, since := "", time.Now()
	eventually(m.t, time.Minute, func() error {
		if now := m.status().ResourceVersion; now != version {
			version, since = now, time.Now()
		}
		if age := time.Since(since); age < 3*time.Second {
			return fmt.Errorf("version %s of the status is there for %s", version, age)
		}
		return nil
	})
	return version
}

// The opt-out annotation of a namespace is mirrored to the label by which the
// API server skips the webhooks, and taken back with it; a label that somebody
// else set stays.
func TestOptOutIsMirroredToTheLabel(t *testing.T) {
	t.Parallel()
	name := fmt.Sprintf("opt-out-%d", meshes.Add(1))
	create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"team": "a"}}})
	t.Cleanup(func() {
		env.client.Delete(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	})
	label := func() string {
		var ns corev1.Namespace
		if err := env.client.Get(t.Context(), client.ObjectKey{Name: name}, &ns); err != nil {
			t.Fatal(err)
		}
		if ns.Labels["team"] != "a" {
			t.Error("another label was lost")
		}
		return ns.Labels[v1alpha1.AdmissionLabel]
	}
	becomes := func(want string) {
		t.Helper()
		eventually(t, time.Minute, func() error {
			if got := label(); got != want {
				return fmt.Errorf("the label is %q, want %q", got, want)
			}
			return nil
		})
	}
	stays := func(want string) {
		t.Helper()
		holds(t, 2*time.Second, func() error {
			if got := label(); got != want {
				return fmt.Errorf("the label became %q, want %q left alone", got, want)
			}
			return nil
		})
	}
	annotate := func(value any) {
		mergePatch(t, name, map[string]any{"annotations": map[string]any{v1alpha1.OptOutAnnotation: value}})
	}

	annotate("rollout")
	stays("")
	annotate("true")
	becomes(v1alpha1.AdmissionDisabled)
	annotate(nil)
	becomes("")
	annotate("rollout, admission")
	becomes(v1alpha1.AdmissionDisabled)
	annotate("rollout")
	becomes("")

	mergePatch(t, name, map[string]any{"labels": map[string]any{v1alpha1.AdmissionLabel: v1alpha1.AdmissionDisabled}})
	stays(v1alpha1.AdmissionDisabled)
	annotate("true")
	stays(v1alpha1.AdmissionDisabled)
	annotate(nil)
	stays(v1alpha1.AdmissionDisabled)
}

// mergePatch changes the metadata of a namespace as kubectl does.
func mergePatch(t *testing.T, namespace string, metadata map[string]any) {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		t.Fatal(err)
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if err := env.client.Patch(t.Context(), ns, client.RawPatch(types.MergePatchType, patch), client.FieldOwner("kubectl")); err != nil {
		t.Fatal(err)
	}
}
