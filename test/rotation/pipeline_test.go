package rotation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab/identity"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
)

// Somebody else's pipeline replaces the anchor: there is no spec.rotation, and it
// asks Reanchor nothing but whether it may go on. It may switch the issuer when
// every pod and every injector has the wider bundle. It may not drop the old anchor
// while the issuer that it has replaced lives, since a replica of identity that
// missed the change would sign with that. When that issuer has ended, and the
// MeshTrust is older than any leaf, it may: no pod that starts afterwards, with the
// new anchor alone, meets an old leaf.
func pipeline(t *T) {
	o := smallGenerations("pipeline")
	o.Times.Issuer, o.Times.IssuerRenewBefore = 3*time.Minute, 45*time.Second
	w := newWorld(t, o, func(mt *v1alpha1.MeshTrust) { mt.Spec.Rotation = nil })
	w.awaitTrust(2*time.Minute, v1alpha1.ConditionSafeToSwitchIssuer, metav1.ConditionTrue, v1alpha1.EveryPodTrusts)

	next := w.publishNext()
	w.awaitTrust(time.Minute, v1alpha1.ConditionSafeToSwitchIssuer, metav1.ConditionFalse, "")
	w.awaitTrust(3*time.Minute, v1alpha1.ConditionSafeToSwitchIssuer, metav1.ConditionTrue, v1alpha1.EveryPodTrusts)
	for _, p := range w.Proxies.Peers() {
		if !slices.Contains(p.Anchors, next) || !slices.Contains(p.Anchors, w.before) {
			t.Errorf("the switch was called safe while there was %s", p)
		}
	}
	// A pod that is being replaced may be missing at that moment: how often each
	// was replaced is counted at the end.
	w.unharmed()

	w.farFromRenewal(20 * time.Second)
	end, old := w.certificateEnd(w.IssuerKey()), w.issuer()
	w.point(w.AnchorKey().Name + "-next")
	w.check(w.RenewNow(t.Context(), w.IssuerKey()))
	if signer, err := w.SignedBy(t.Context()); err != nil || signer != next {
		t.Fatalf("the issuer is signed by %.8s, want %.8s (%v)", signer, next, err)
	}
	w.eventually(time.Minute, func() error {
		var mt v1alpha1.MeshTrust
		if err := w.Client.Get(t.Context(), client.ObjectKeyFromObject(w.trust), &mt); err != nil {
			return err
		}
		if i := mt.Status.Issuer; i == nil || len(i.Earlier) != 1 || i.Earlier[0].Fingerprint != old || !slices.Equal(i.Earlier[0].VerifiedBy, []string{w.before}) {
			return fmt.Errorf("want the issuer %.8s on record as replaced, have %+v", old, i)
		}
		return nil
	})
	w.awaitTrust(time.Second, v1alpha1.ConditionSafeToNarrow, metav1.ConditionFalse, v1alpha1.IssuerUnknown)
	w.eventually(time.Minute, func() error { return w.gone(old) })
	w.awaitTrust(time.Second, v1alpha1.ConditionSafeToNarrow, metav1.ConditionFalse, v1alpha1.IssuerUnknown)
	w.publishes(w.before, next)
	w.created(time.Now().Add(-2 * day))
	w.awaitTrust(5*time.Minute, v1alpha1.ConditionSafeToNarrow, metav1.ConditionTrue, v1alpha1.NoOldLeaf)
	if early := time.Until(end); early > 0 {
		t.Errorf("narrowing was called safe %s before the end of the issuer that was replaced", early)
	}
	w.check(w.gone(old))

	// Of what signed leaves before a MeshTrust nothing is known: a young one waits.
	w.created(time.Now())
	w.awaitAge(time.Minute)
	w.created(time.Now().Add(-2 * day))
	w.awaitTrust(time.Minute, v1alpha1.ConditionSafeToNarrow, metav1.ConditionTrue, v1alpha1.NoOldLeaf)
	w.merge("Certificate", w.AnchorKey(), fmt.Sprintf(`{"spec":{"secretTemplate":{"labels":{%q:null}}}}`, v1alpha1.AnchorOfLabel))
	w.eventually(time.Minute, func() error { return w.published(next) })
	w.holds(2*time.Second, func() error { return w.published(next) }) // until kubelets have seen it
	w.startNarrow()
	w.drained(w.before)
	w.rolledOnce()
	w.unharmed()
}

// farFromRenewal waits until the issuer was issued for good and does not renew itself
// for about so long: else another would be replaced than the one that was read.
func (w *world) farFromRenewal(least time.Duration) {
	w.Helper()
	w.eventually(time.Minute, func() error {
		at, err := w.renewal()
		if err != nil {
			return err
		}
		if left := time.Until(at); left < least {
			return fmt.Errorf("the issuer renews itself in %s", left)
		}
		return nil
	})
	_, err := linkerd.Settled(w.Context(), w.Client, w.IssuerKey())
	w.check(err)
}

const day = 24 * time.Hour

// created gives the MeshTrust another creation time, and has Reanchor look at it:
// such a change, which no API allows, is none that it waits for.
func (w *world) created(at time.Time) {
	w.Helper()
	kind := schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "meshtrusts"}
	w.check(w.cluster.lab.Backdate(w.Context(), kind, client.ObjectKeyFromObject(w.trust), at))
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"lab.reanchor.dev/backdated":%q}}}`, time.Now().Format(time.RFC3339Nano))
	w.check(w.Client.Patch(w.Context(), w.trust.DeepCopy(), client.RawPatch(types.MergePatchType, patch)))
}

// awaitAge waits until nothing stands in the way of SafeToNarrow but the age of
// the MeshTrust: what was signed before that is not known, and is waited for as
// long as a leaf may live, which is a day at least.
func (w *world) awaitAge(within time.Duration) {
	w.Helper()
	w.eventually(within, func() error {
		var mt v1alpha1.MeshTrust
		if err := w.Client.Get(w.Context(), client.ObjectKeyFromObject(w.trust), &mt); err != nil {
			return err
		}
		c := apimeta.FindStatusCondition(mt.Status.Conditions, v1alpha1.ConditionSafeToNarrow)
		if c == nil || c.Status != metav1.ConditionFalse || !strings.HasPrefix(c.Message, "leaves of an issuer before this MeshTrust may live until ") {
			return fmt.Errorf("SafeToNarrow is %+v", c)
		}
		return nil
	})
}

// publishNext has cert-manager issue another anchor that the bundle selects, and
// returns its fingerprint once it is published.
func (w *world) publishNext() string {
	w.Helper()
	u := linkerd.Certificate()
	w.check(w.Client.Get(w.Context(), w.AnchorKey(), u))
	spec, _, err := unstructured.NestedMap(u.Object, "spec")
	w.check(err)
	next := linkerd.Certificate()
	next.SetNamespace(u.GetNamespace())
	next.SetName(u.GetName() + "-next")
	spec["secretName"] = next.GetName()
	next.Object["spec"] = spec
	w.check(w.Client.Create(w.Context(), next))
	certificate, err := linkerd.Settled(w.Context(), w.Client, client.ObjectKeyFromObject(next))
	w.check(err)
	added := identity.Fingerprint(certificate.Raw)
	w.eventually(time.Minute, func() error { return w.published(w.before, added) })
	return added
}
