package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// A quota refuses the fence's dry runs, so nobody can tell what the injectors
// write: nothing is rolled and the status says what refuses. Once the quota is
// gone rolling begins by itself.
func TestNothingIsRolledWhileProbesAreRefused(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{spec: quick()})
	ns := m.namespace("apps")
	const apps = 3
	for i := range apps {
		deployment(t, ns, fmt.Sprint("app-", i), 1, nil)
	}
	ready(t, ns, apps)
	m.awaitConverged(time.Minute, m.root)

	lift := m.refuseProbes()
	rolled := unrolled(t, ns)
	next := m.rotate()
	refused := func() error {
		mt := m.status()
		c := apimeta.FindStatusCondition(mt.Status.Conditions, v1alpha1.ConditionConverged)
		if c == nil || c.Status != metav1.ConditionFalse || c.Reason != string(v1alpha1.ProbeRefused) {
			return fmt.Errorf("want the probes refused, have %s", describe(mt))
		}
		for _, want := range []string{"a dry run of a pod in namespace " + m.probeNamespace(), "exceeded quota: none", "limited: pods=0"} {
			if !strings.Contains(c.Message, want) {
				return fmt.Errorf("the message does not say %q: %s", want, c.Message)
			}
		}
		return nil
	}
	eventually(t, time.Minute, refused)
	// Longer than the file's delay and two looks: nothing else is waited for.
	holds(t, 12*time.Second, func() error {
		if err := refused(); err != nil {
			return err
		}
		return rolled()
	})
	if mt := m.status(); mt.Status.Rollout.Fence != nil && mt.Status.Rollout.Fence.BundleHash == mt.Status.Bundle.Hash {
		t.Errorf("the fence was set: %+v", mt.Status.Rollout.Fence)
	}

	lift()
	m.awaitConverged(time.Minute, m.root, next)
	rolledOnce(t, ns, apps, setOf(m.root, next))
}

// refuseProbes allows no pod in the namespace of the mesh's probes, from when it
// returns until the returned function is called.
func (m *meshWorld) refuseProbes() func() {
	m.t.Helper()
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: m.probeNamespace(), Name: "none"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}},
	}
	create(m.t, quota)
	eventually(m.t, time.Minute, func() error {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: quota.Namespace, GenerateName: "dry-"}, Spec: podTemplate("dry", nil).Spec}
		if err := env.client.Create(m.t.Context(), pod, client.DryRunAll); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota") {
			return fmt.Errorf("the quota refuses no pod yet: %v", err)
		}
		return nil
	})
	return func() {
		m.t.Helper()
		if err := env.client.Delete(m.t.Context(), quota); err != nil {
			m.t.Fatal(err)
		}
	}
}
