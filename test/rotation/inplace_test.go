package rotation

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
)

// rescued: in place, an anchor that is due is replaced, and three times the issuer
// nears its end before it may be switched: behind a pod that does not trust the new
// anchor, behind an approval that is missing, and while the run is suspended. The
// anchor's Secret holds the new key by then. Each time the old one signs once more,
// from its copy, before any leaf is cut short; and when nothing is in the way any
// more, the run goes on to its end.
func rescued(t *T) {
	o := small("rescued")
	o.Workloads, o.Rate = 2, 10
	// It would renew itself after a minute and a half, in mid-roll.
	o.Times.Issuer, o.Times.IssuerRenewBefore = 150*time.Second, time.Minute
	w := newMesh(t, o)
	blocker := w.untrusting("blocker")
	due := w.dueSoon(15 * time.Second)
	w.trust.Spec.Rotation.ExternalTrust = true
	// It bounds what must be left of an issuer: leaves live for half of it.
	w.trust.Spec.Rotation.LeafLifetime = duration(2 * o.Times.Leaf)
	w.check(w.RenewNow(t.Context(), w.IssuerKey()))
	w.entrust()

	w.awaitPhase(4*time.Minute, v1alpha1.PhaseWiden)
	w.notDueAgain()
	w.eventually(4*time.Minute, w.oldOneSigns)
	w.awaitBlockers(3*time.Minute, "Pod "+blocker.Namespace+"/"+blocker.Name+" "+string(v1alpha1.BarePod))
	w.unharmed()

	w.check(w.Client.Delete(t.Context(), blocker))
	w.awaitApproval(v1alpha1.PhaseSwitchIssuer, v1alpha1.GateSwitchIssuer, "spec.rotation.externalTrust")
	w.eventually(time.Minute, w.renewsItself)
	w.rescuedAgain("75s")

	w.steer(func(s *v1alpha1.AnchorRotationSpec) { s.Suspend = true })
	w.awaitSuspended()
	w.rescuedAgain("80s")
	w.unharmed()

	w.shape("40m", "RenewBefore")
	w.approve(v1alpha1.GateSwitchIssuer)
	w.approve(v1alpha1.GateNarrow)
	w.check(w.unswitched())
	w.steer(func(s *v1alpha1.AnchorRotationSpec) { s.Suspend = false })
	run := w.complete(long)
	w.triggered(v1alpha1.TriggerDue)
	if at := run.CreationTimestamp.Time; at.Before(due.Add(-time.Second)) {
		t.Errorf("the run was opened %s before the anchor was due", due.Sub(at))
	}
	w.rotated()
	w.eventually(20*time.Second, w.copyGone)
}

// untrusting makes a pod that nobody rolls and that gets the anchors of before, and
// waits until it completes handshakes.
func (w *world) untrusting(name string) *corev1.Pod {
	w.Helper()
	template := linkerd.Template(name)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace(0), Name: name, Labels: template.Labels, Annotations: template.Annotations}, Spec: template.Spec,
	}
	w.check(w.Client.Create(w.Context(), pod))
	w.live(pod.Namespace, name)
	return pod
}

// dueSoon has the anchor be due in so long, and returns when that is.
func (w *world) dueSoon(in time.Duration) time.Time {
	w.Helper()
	before := time.Until(w.anchorEnd().Add(-in)).Truncate(time.Second)
	w.trust.Spec.Rotation.RotateBefore = duration(before)
	return w.anchorEnd().Add(-before)
}

// notDueAgain leaves the new anchor, which lives as long as the one before it, to
// the default: a third of its life.
func (w *world) notDueAgain() {
	w.Helper()
	w.reconfigure(func(s *v1alpha1.MeshTrustSpec) { s.Rotation.RotateBefore = nil })
}

// copyName is the name of the Secret with the old anchor's copy.
func (w *world) copyName() string { return w.Mesh.Mesh + "-anchor-kept" }

// oldOneSigns is nil when the issuer was signed by the old anchor after the new one
// had been issued, and the copy would sign the next.
func (w *world) oldOneSigns() error {
	next, err := w.pointsAt(w.Context())
	if err != nil {
		return err
	}
	issuer, anchor := w.certificate(w.IssuerKey()), w.certificate(w.AnchorKey())
	if !issuer.NotBefore.After(anchor.NotBefore) || next != w.copyName() {
		return fmt.Errorf("the issuer is of %s and ends at %s, the new anchor of %s, and Secret %s would sign the next issuer", issuer.NotBefore.Format(time.TimeOnly),
			issuer.NotAfter.Format(time.TimeOnly), anchor.NotBefore.Format(time.TimeOnly), next)
	}
	return w.unswitched()
}

// renewsItself is nil when nobody holds back the issuer's renewals.
func (w *world) renewsItself() error {
	u := linkerd.Certificate()
	if err := w.Client.Get(w.Context(), w.IssuerKey(), u); err != nil {
		return err
	}
	policy, _, err := unstructured.NestedString(u.Object, "spec", "renewal", "policy")
	if err == nil && policy == "Disabled" {
		err = fmt.Errorf("the issuer's renewals are held back, although the old anchor would sign it")
	}
	return err
}

// rescuedAgain gives the issuer a life so short that it nears its end at once, and
// no renewal by itself. It waits until Reanchor has had it renewed under the old
// anchor: nobody else does.
func (w *world) rescuedAgain(lifetime string) {
	w.Helper()
	w.shape(lifetime, "Disabled")
	short := w.certificate(w.IssuerKey())
	w.eventually(2*time.Minute, func() error {
		if now := w.certificate(w.IssuerKey()); now.Equal(short) {
			return fmt.Errorf("the issuer that ends in %s is still there", time.Until(short.NotAfter))
		}
		return w.oldOneSigns()
	})
}

// shape has the issuer issued with another lifetime, and renewed by itself from
// then on, or not. It returns when one of that lifetime is there.
func (w *world) shape(lifetime, policy string) {
	w.Helper()
	w.merge("Certificate", w.IssuerKey(), fmt.Sprintf(`{"spec":{"duration":%q,"renewBefore":"1s","renewal":{"policy":%q}}}`, lifetime, policy))
	want, err := time.ParseDuration(lifetime)
	w.check(err)
	w.eventually(time.Minute, func() error {
		c := w.certificate(w.IssuerKey())
		if life := c.NotAfter.Sub(c.NotBefore); life != want {
			return fmt.Errorf("the issuer lives for %s, want %s", life, want)
		}
		return nil
	})
}

// awaitSuspended waits until the run has seen that it is.
func (w *world) awaitSuspended() {
	w.Helper()
	w.eventually(time.Minute, func() error {
		run, err := w.run(w.Context())
		if err != nil {
			return err
		}
		if !run.Spec.Suspend || run.Status.ObservedGeneration != run.Generation {
			return fmt.Errorf("the run is not suspended yet: %s", describeRun(run))
		}
		return nil
	})
}

// copyGone is nil when the copy of the old anchor, with its key, is deleted.
func (w *world) copyGone() error {
	err := w.Client.Get(w.Context(), client.ObjectKey{Namespace: linkerd.TrustNamespace, Name: w.copyName()}, &corev1.Secret{})
	if err == nil {
		err = fmt.Errorf("Secret %s is there still", w.copyName())
	}
	return client.IgnoreNotFound(err)
}
