package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/hack/lab/injector"
)

// Invariant I9: an anchor that was replaced without carrying the old one over
// is no bundle to roll towards, since the issuer in use does not verify.
func TestNothingIsRolledTowardsABundleThatDoesNotVerifyTheIssuer(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{spec: quick()})
	m.component(identityComponent, 1)
	ns := m.namespace("apps")
	for i := range 3 {
		deployment(t, ns, fmt.Sprint("app-", i), 1, nil)
	}
	ready(t, ns, 3)
	ready(t, m.name, 1)
	m.awaitConverged(time.Minute, m.root)

	next := bundletest.NewRoot(t, "root.linkerd.cluster.local", lifetime())
	rolled := unrolled(t, ns, m.name)
	m.publish(next)
	mt := m.await(time.Minute, v1alpha1.ConditionIssuerTrusted, metav1.ConditionFalse, v1alpha1.BundleDoesNotTrustIssuer)
	message := apimeta.FindStatusCondition(mt.Status.Conditions, v1alpha1.ConditionIssuerTrusted).Message
	if want := fmt.Sprintf("the anchor %s, which is not in the bundle; put it back", m.root.Fingerprint().Short()); !strings.Contains(message, want) {
		t.Errorf("want %q in the message, got: %s", want, message)
	}
	m.await(time.Minute, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.BundleDoesNotTrustIssuer)
	eventually(t, time.Minute, func() error {
		if have := m.status().Status.Pods; have.Stale != 4 {
			return fmt.Errorf("want the four pods seen as stale, have %+v", have)
		}
		return nil
	})
	holds(t, 8*time.Second, rolled)

	m.publish(next, m.root)
	m.awaitConverged(time.Minute, m.root, next)
	m.await(time.Minute, v1alpha1.ConditionIssuerTrusted, metav1.ConditionTrue, v1alpha1.IssuerTrusted)
	rolledOnce(t, ns, 3, setOf(m.root, next))
	if n := revisions(t, m.name)[identityComponent]; n != 2 {
		t.Errorf("identity has %d revisions, want the first and one roll", n)
	}
}

// Bytes that change while the set does not are no reason to roll (I3).
func TestTheSameSetInOtherWordsRollsNothing(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{})
	other := bundletest.NewRoot(t, "foreign", lifetime())
	a, b := m.root.PEM(), other.PEM()
	m.publishText(a + b)
	eventually(t, time.Minute, func() error { return m.serves(other) })
	ns := m.namespace("apps")
	for i := range 3 {
		deployment(t, ns, fmt.Sprint("app-", i), 1, nil)
	}
	m.component("destination", 1)
	ready(t, ns, 3)
	ready(t, m.name, 1)
	m.trust(*quick())
	before := m.awaitConverged(time.Minute, m.root, other)

	rolled := unrolled(t, ns, m.name)
	for name, text := range map[string]string{
		"another order":        b + a,
		"another line width":   rewrapped(a) + rewrapped(b),
		"duplicates":           a + b + a + a,
		"comments":             "# the mesh's own\n" + a + "\n\n# somebody else's\n" + b + "# the end\n",
		"the line ends of DOS": strings.ReplaceAll(a+b, "\n", "\r\n"),
	} {
		m.publishText(text)
		holds(t, 4*time.Second, func() error {
			if err := rolled(); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			s := m.status().Status
			if s.Bundle.Hash != before.Status.Bundle.Hash || s.HistoryTotal != 1 || s.Pods.Stale+s.Pods.Unknown != 0 {
				return fmt.Errorf("%s: bundle %s, %d records, pods %+v; want nothing new", name, s.Bundle.Hash, s.HistoryTotal, s.Pods)
			}
			return nil
		})
	}
	// Another set, to show that the controller was looking.
	third := bundletest.NewRoot(t, "third", lifetime())
	m.publish(m.root, other, third)
	m.awaitConverged(time.Minute, m.root, other, third)
	rolledOnce(t, ns, 3, setOf(m.root, other, third))
}

// rewrapped has other lines than openssl writes, and the same certificate.
func rewrapped(text string) string {
	const begin, end = "-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n"
	body := strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(text, begin), end), "\n", "")
	var out strings.Builder
	for len(body) > 40 {
		out.WriteString(body[:40] + "\n")
		body = body[40:]
	}
	return begin + out.String() + body + "\n" + end
}

// Pods that trust the old anchor besides all that is published work; only
// retired: Always rolls them.
func TestADroppedAnchorRollsNothingUnlessAskedTo(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{})
	old := m.root
	next := bundletest.NewRoot(t, "root.linkerd.cluster.local", lifetime())
	m.publish(old, next)
	m.issue(next)
	eventually(t, time.Minute, func() error { return m.serves(next) })
	ns := m.namespace("apps")
	for i := range 3 {
		deployment(t, ns, fmt.Sprint("app-", i), 1, nil)
	}
	ready(t, ns, 3)
	m.trust(*quick())
	m.awaitConverged(time.Minute, old, next)

	rolled := unrolled(t, ns)
	m.publish(next)
	m.awaitConverged(time.Minute, next)
	holds(t, 8*time.Second, func() error {
		if s := m.status().Status.Pods; s.Retired != 3 || s.Stale != 0 {
			return fmt.Errorf("want three retired pods, have %+v", s)
		}
		return rolled()
	})

	m.update(func(mt *v1alpha1.MeshTrust) { mt.Spec.Rollout.Policies.Retired = v1alpha1.RetiredAlways })
	eventually(t, time.Minute, func() error {
		if s := m.status().Status.Pods; s.Current != 3 || s.Total != 3 {
			return fmt.Errorf("want three current pods, have %+v", s)
		}
		return nil
	})
	m.awaitConverged(time.Minute, next)
	rolledOnce(t, ns, 3, setOf(next))
	holds(t, 4*time.Second, unrolled(t, ns))
}

// A bundle that cannot be used stops rolling, says why, and is not missed once
// it is repaired.
func TestABundleThatCannotBeUsedStopsRollingUntilItIsRepaired(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{})
	ns := m.namespace("apps")
	for i := range 2 {
		deployment(t, ns, fmt.Sprint("app-", i), 1, nil)
	}
	ready(t, ns, 2)
	m.unpublish()
	spec := quick()
	// What the nodes' clocks may be off counts as doubt around every change.
	spec.Admission.ClockSkew = &metav1.Duration{Duration: time.Second}
	m.trust(*spec)
	m.faulty(v1alpha1.BundleNotFound)
	if s := m.status().Status; s.Bundle != nil || len(s.History) != 0 {
		t.Errorf("a bundle is on record that nobody ever saw: %+v %+v", s.Bundle, s.History)
	}

	m.publish(m.root)
	m.component("destination", 1)
	ready(t, m.name, 1)
	m.awaitConverged(time.Minute, m.root)
	rolled := unrolled(t, ns, m.name)
	holds(t, 3*time.Second, rolled) // until no clock can say that the pods started later
	first := m.status().Status.History
	m.write(map[string]string{"other": m.root.PEM()})
	m.faulty(v1alpha1.BundleKeyMissing)
	faultyFrom := time.Now()
	m.publishText("-----BEGIN CERTIFICATE-----\n?!\n-----END CERTIFICATE-----\n")
	m.faulty(v1alpha1.BundleInvalid)
	// One that starts now reads nonsense: nothing may be taken for granted.
	create(t, m.componentPod("web", "started-with-garbage"))
	ready(t, m.name, 2)
	m.publishText("  \n")
	m.faulty(v1alpha1.BundleEmpty)
	if s := m.status().Status; s.Bundle == nil || s.Bundle.Hash != setOf(m.root).Hash() || s.HistoryTotal != 1 {
		t.Errorf("want the last good bundle on record, got %+v", s.Bundle)
	}
	holds(t, 3*time.Second, rolled)

	m.publish(m.root)
	mt := m.await(time.Minute, v1alpha1.ConditionBundleValid, metav1.ConditionTrue, v1alpha1.BundleUsable)
	history := mt.Status.History
	if len(history) != 2 || len(first) != 1 || history[1].Hash != first[0].Hash {
		t.Fatalf("want the bundle on record twice, before and after the faults, got %+v", history)
	}
	if seen := history[1].LastSeen.Time; seen.After(faultyFrom) {
		t.Errorf("the record says that the bundle was in force until %s, but it was not from %s on", seen, faultyFrom)
	}
	eventually(t, time.Minute, func() error {
		if s := m.status().Status.Pods; s.Unknown != 1 || s.Total != 4 {
			return fmt.Errorf("want the pod that started with garbage unknown, have %+v", s)
		}
		return nil
	})
	holds(t, 3*time.Second, rolled)

	next := bundletest.NewRoot(t, "root.linkerd.cluster.local", lifetime())
	m.publish(m.root, next)
	m.awaitConverged(time.Minute, m.root, next)
	rolledOnce(t, ns, 2, setOf(m.root, next))
}

// Stale pods are not rolled towards a bundle that cannot be used, though nothing else
// holds them back; they are once it is repaired.
func TestStalePodsWaitForABundleThatCanBeUsed(t *testing.T) {
	t.Parallel()
	spec := quick()
	spec.Rollout.Paused = true
	m := newMesh(t, meshOptions{spec: spec})
	ns := m.namespace("apps")
	for i := range 2 {
		deployment(t, ns, fmt.Sprint("app-", i), 1, nil)
	}
	ready(t, ns, 2)
	m.awaitConverged(time.Minute, m.root)
	next := bundletest.NewRoot(t, "root.linkerd.cluster.local", lifetime())
	m.publish(m.root, next)
	m.await(time.Minute, v1alpha1.ConditionConverged, metav1.ConditionFalse, v1alpha1.Paused)
	rolled := unrolled(t, ns)

	m.publishText("no certificate")
	m.faulty(v1alpha1.BundleEmpty)
	m.update(func(mt *v1alpha1.MeshTrust) { mt.Spec.Rollout.Paused = false })
	for _, fault := range []struct {
		reason v1alpha1.Reason
		cause  func()
	}{
		{v1alpha1.BundleEmpty, func() {}},
		{v1alpha1.BundleInvalid, func() { m.publishText("-----BEGIN CERTIFICATE-----\n?!\n-----END CERTIFICATE-----\n") }},
		{v1alpha1.BundleKeyMissing, func() { m.write(map[string]string{"other": m.root.PEM()}) }},
		{v1alpha1.BundleNotFound, m.unpublish},
	} {
		fault.cause()
		m.faulty(fault.reason)
		m.observed()
		holds(t, 4*time.Second, rolled)
	}

	m.publish(m.root, next)
	m.awaitConverged(time.Minute, m.root, next)
	rolledOnce(t, ns, 2, setOf(m.root, next))
}

// faulty waits until the bundle is reported, and no pod with it.
func (m *meshWorld) faulty(reason v1alpha1.Reason) {
	m.t.Helper()
	mt := m.await(time.Minute, v1alpha1.ConditionBundleValid, metav1.ConditionFalse, reason)
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionConverged, v1alpha1.ConditionSafeToSwitchIssuer} {
		if c := apimeta.FindStatusCondition(mt.Status.Conditions, kind); c == nil || c.Status != metav1.ConditionFalse {
			m.t.Errorf("%s with a bundle of %s: %+v", kind, reason, c)
		}
	}
	if !strings.Contains(apimeta.FindStatusCondition(mt.Status.Conditions, v1alpha1.ConditionBundleValid).Message, m.name+"/"+injector.BundleConfigMap) {
		m.t.Errorf("%s does not name the object: %s", reason, describe(mt))
	}
}

// unpublish deletes the bundle object.
func (m *meshWorld) unpublish() {
	m.t.Helper()
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: m.name, Name: injector.BundleConfigMap}}
	if err := env.client.Delete(m.t.Context(), cm); err != nil {
		m.t.Fatal(err)
	}
}

// write replaces the keys of the bundle object.
func (m *meshWorld) write(data map[string]string) {
	m.t.Helper()
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: m.name, Name: injector.BundleConfigMap}, Data: data}
	if err := env.client.Update(m.t.Context(), cm); err != nil {
		m.t.Fatal(err)
	}
}

// componentPod is a pod of the control plane that nobody owns.
func (m *meshWorld) componentPod(component, name string) *corev1.Pod {
	template := m.componentTemplate(component)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: m.name, Name: name, Labels: template.Labels, Annotations: template.Annotations},
		Spec:       template.Spec,
	}
}
