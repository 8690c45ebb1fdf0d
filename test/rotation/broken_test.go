package rotation

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab/identity"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
	"github.com/reanchor/reanchor/hack/lab/proxies"
)

// merge patches an object of cert-manager's.
func (w *world) merge(kind string, key client.ObjectKey, patch string) {
	w.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: kind})
	u.SetNamespace(key.Namespace)
	u.SetName(key.Name)
	w.check(w.Client.Patch(w.Context(), u, client.RawPatch(types.MergePatchType, []byte(patch))))
}

// point moves the ClusterIssuer to another Secret, as somebody does by hand.
func (w *world) point(secret string) {
	w.Helper()
	w.merge("ClusterIssuer", client.ObjectKey{Name: w.ClusterIssuer}, fmt.Sprintf(`{"spec":{"ca":{"secretName":%q}}}`, secret))
	w.pointed()
}

// pointed waits until cert-manager has seen where the ClusterIssuer points.
func (w *world) pointed() {
	w.Helper()
	w.check(linkerd.Pointed(w.Context(), w.Client, w.ClusterIssuer))
}

// restart replaces the pods of a part of the control plane by deleting them.
func (w *world) restart(component string) {
	w.Helper()
	w.check(w.Client.DeleteAllOf(w.Context(), &corev1.Pod{}, client.InNamespace(w.Mesh.Mesh), client.MatchingLabels{linkerd.ComponentLabel: component}))
}

// unrolled fails when a workload was restarted.
func (w *world) unrolled() {
	w.Helper()
	for _, r := range w.History.Restarted() {
		if r.Templates != 0 || r.Replaced != 0 {
			w.Errorf("%s %s/%s was restarted: %d new templates, %d new pods", r.Kind, r.Namespace, r.Name, r.Templates, r.Replaced)
		}
	}
}

// wayBack is how long handshakes may go on to fail when an anchor has expired and
// Reanchor comes, which is until a pod has been rolled wherever one holds an expired
// leaf: about twenty seconds. There is room for a slow machine, and none for waiting
// until gates open or old leaves end first.
const wayBack = time.Minute

// The anchor has expired and nobody was there. Identity, once restarted, does not
// start again, and the leaves end: the mesh is down. Then Reanchor comes, finds
// that out by itself and takes the shortest way back: the issuer is switched first,
// since nothing new becomes ready under the old one, and then the pods are rolled.
// The anchor of another cluster stays in the bundle.
func expired(t *T, o linkerd.Options) {
	o.Times.Anchor, o.AnchorEnds = 2*time.Minute, true
	w := newMesh(t, o)
	if o.Layout == v1alpha1.LayoutGenerations {
		w.trust.Spec.Rotation.AnchorTemplate.Duration = duration(24 * time.Hour)
	}
	w.eventually(3*time.Minute, func() error {
		if left := time.Until(w.anchorEnd()); left > -2*time.Second {
			return fmt.Errorf("the anchor expires in %s", left)
		}
		return nil
	})
	w.restart(linkerd.ComponentIdentity)
	w.eventually(time.Minute, func() error {
		if s := w.Proxies.Stats(); s.Failed < 50 || w.Identity.Counters().Refused == 0 {
			return fmt.Errorf("the mesh is not down yet: %+v", s)
		}
		return nil
	})

	began := time.Now()
	w.entrust()
	run := w.complete(long)
	if run.Status.Path != v1alpha1.PathRecover {
		t.Errorf("the path was %s, want %s", run.Status.Path, v1alpha1.PathRecover)
	}
	if diff := cmp.Diff([]v1alpha1.Phase{
		v1alpha1.PhasePreflight, v1alpha1.PhaseNewAnchor, v1alpha1.PhaseWiden, v1alpha1.PhaseSwitchIssuer, v1alpha1.PhaseConfirmIssuer,
		v1alpha1.PhaseRolling, v1alpha1.PhaseDrainLeaves, v1alpha1.PhaseNarrow, v1alpha1.PhaseVerify, v1alpha1.PhaseComplete,
	}, phases(run)); diff != "" {
		t.Errorf("the phases (-want +got):\n%s", diff)
	}
	ended := time.Since(began)
	w.triggered(v1alpha1.TriggerObserved)
	w.healthyAgain()
	w.rolledOnce()
	w.replaced()
	w.drained(w.before)
	failures := w.Proxies.Failures()
	last := failures[len(failures)-1].At.Sub(began).Round(time.Second)
	t.Logf("the last handshake failed %s after Reanchor came; the run was complete after %s", last, ended.Round(time.Second))
	if last > wayBack {
		t.Errorf("the last handshake failed %s after Reanchor came, want %s at most", last, wayBack)
	}
}

// phases are those that a run has entered, in the order of their last entries.
func phases(run *v1alpha1.AnchorRotation) []v1alpha1.Phase {
	var out []v1alpha1.Phase
	for _, s := range run.Status.Steps {
		out = append(out, s.Phase)
	}
	return out
}

// healthyAgain fails unless all proxies have leaves and no handshake fails for the
// life of a leaf.
func (w *world) healthyAgain() {
	w.Helper()
	before := w.Proxies.Stats()
	w.holds(20*time.Second, func() error {
		if s := w.Proxies.Stats(); s.Failed != before.Failed || s.Waiting != 0 {
			return fmt.Errorf("handshakes still fail, or proxies wait: %+v, before %+v", s, before)
		}
		return nil
	})
}

// The issuer's Secret chains to no anchor of the bundle: the next restart of
// identity, and then every leaf, will fail with BadSignature. That is said within
// seconds, and what to do. Nothing is rolled.
func badSignature(t *T) {
	w := newWorld(t, small("bad-signature"), func(mt *v1alpha1.MeshTrust) { mt.Spec.Rotation = nil })
	w.converged()
	w.awaitTrust(time.Minute, v1alpha1.ConditionIssuerTrusted, "True", "")
	stranger, replicas, old := w.stranger(), w.Identity.Replicas(), w.issuer()
	w.point(stranger)
	asked := time.Now()
	w.check(w.RenewNow(t.Context(), w.IssuerKey()))
	mt := w.awaitTrust(30*time.Second, v1alpha1.ConditionIssuerTrusted, "False", v1alpha1.BundleDoesNotTrustIssuer)
	t.Logf("said within %s of the issuer's renewal", time.Since(asked).Round(100*time.Millisecond))
	message := apimeta.FindStatusCondition(mt.Status.Conditions, v1alpha1.ConditionIssuerTrusted).Message
	for _, remedy := range []string{"put the anchor that signed the issuer back into the bundle", "renew the issuer under an anchor of the bundle"} {
		if !strings.Contains(message, remedy) {
			t.Errorf("want the remedy %q in the message, got: %s", remedy, message)
		}
	}
	w.eventually(time.Minute, func() error { return w.skippedBy(replicas, old) })
	w.holds(10*time.Second, func() error { return w.skippedBy(replicas, old) })
	w.unrolled()
	w.unharmed()
}

// signedBy are all issuers that a published anchor has signed, of which the one in
// use is one.
func (w *world) signedBy(anchor string) []string {
	w.Helper()
	var out []string
	w.eventually(time.Minute, func() error {
		if out = w.IssuersOf(anchor); !slices.Contains(out, w.issuer()) {
			return fmt.Errorf("the issuer in use is not among those that %.8s has signed", anchor)
		}
		return nil
	})
	return out
}

// skippedBy is nil when each replica of identity has skipped an issuer, once for
// every time that it was issued, and signs with the old one.
func (w *world) skippedBy(replicas []identity.Replica, old string) error {
	if n := w.Identity.Counters().Skipped; n < len(replicas) {
		return fmt.Errorf("issuers were skipped %d times by %d replicas of identity: %+v", n, len(replicas), w.Identity.Replicas())
	}
	for _, r := range w.Identity.Replicas() {
		if r.Issuer != old {
			return fmt.Errorf("replica %s signs with %.8s, want the issuer from before, %.8s", r.Pod, r.Issuer, old)
		}
	}
	return nil
}

// stranger makes an anchor that is in no bundle, and returns its Secret's name.
func (w *world) stranger() string {
	w.Helper()
	name := "stranger-" + w.Mesh.Mesh
	u := linkerd.Certificate()
	u.SetNamespace(linkerd.TrustNamespace)
	u.SetName(name)
	u.Object["spec"] = map[string]any{
		"secretName": name, "isCA": true, "commonName": "root.linkerd.cluster.local", "duration": "2h",
		"issuerRef":  map[string]any{"name": w.RootIssuer, "kind": "Issuer"},
		"privateKey": map[string]any{"algorithm": "ECDSA", "rotationPolicy": "Always"},
	}
	w.check(w.Client.Create(w.Context(), u))
	w.eventually(time.Minute, func() error {
		return w.Client.Get(w.Context(), client.ObjectKey{Namespace: linkerd.TrustNamespace, Name: name}, &corev1.Secret{})
	})
	return name
}

// Without a rotation under way somebody takes the label off the only generation:
// its anchor, which every leaf chains to, leaves the bundle, and comes back.
func vanished(t *T) {
	w := newWorld(t, smallGenerations("vanished"), nil)
	w.converged()
	w.merge("Certificate", w.AnchorKey(), fmt.Sprintf(`{"spec":{"secretTemplate":{"labels":{%q:null}}}}`, v1alpha1.AnchorOfLabel))
	w.eventually(time.Minute, func() error {
		var s corev1.Secret
		if err := w.Client.Get(t.Context(), w.AnchorKey(), &s); err != nil {
			return err
		}
		u := linkerd.Certificate()
		if err := w.Client.Get(t.Context(), w.AnchorKey(), u); err != nil {
			return err
		}
		labels, _, _ := unstructured.NestedStringMap(u.Object, "spec", "secretTemplate", "labels")
		if labels[v1alpha1.AnchorOfLabel] != w.Mesh.Mesh || s.Labels[v1alpha1.AnchorOfLabel] != w.Mesh.Mesh {
			return fmt.Errorf("the label has not come back: %v, %v", labels, s.Labels)
		}
		return w.published(w.before)
	})
	w.holds(10*time.Second, func() error { return w.published(w.before) })
	w.unrolled()
	w.unharmed()
}

// In mid-roll somebody copies the new anchor over the previous one, as the last
// step of the documented procedure is, too early: the old anchor leaves the bundle
// while every leaf chains to it. It is put back. A pod that started meanwhile cannot
// verify its own leaf and is never Ready; its roll counts as failed after a while,
// and is made again.
func copiedTooEarly(t *T) {
	w := newWorld(t, small("copied-too-early"), func(mt *v1alpha1.MeshTrust) {
		mt.Spec.Rollout.ProgressDeadline = duration(20 * time.Second)
	})
	w.rotate()
	w.awaitPhase(2*time.Minute, v1alpha1.PhaseRolling)
	var anchor corev1.Secret
	w.check(w.Client.Get(t.Context(), w.AnchorKey(), &anchor))
	previous := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: linkerd.TrustNamespace, Name: w.Previous}}
	patch, err := json.Marshal(map[string]any{"data": anchor.Data})
	w.check(err)
	w.check(w.Client.Patch(t.Context(), previous, client.RawPatch(types.MergePatchType, patch)))
	w.eventually(time.Minute, func() error {
		published, err := w.Published(t.Context())
		if err == nil && !published.Has(w.before) {
			err = fmt.Errorf("the old anchor is not in the bundle: %s", published)
		}
		return err
	})
	w.complete(long)
	w.unharmed()
	w.replaced()
	w.drained(w.before)
}

// In mid-roll somebody moves the pointer and renews the issuer, as a published
// script does, before Reanchor can do anything about it. The issuer is signed by
// the old anchor again, everything is rolled, and the rotation ends as it should.
// What the wrong issuer signs until then is refused, with BadSignature, by pods
// that lack the new anchor, as long as it is presented; and such a pod, which
// refuses the leaf that it is given itself, may see its own one expire. Nothing can
// avoid that; no other handshake fails.
func switchedTooEarly(t *T, o linkerd.Options) {
	o.ReadyDelay = 5 * time.Second
	w := newWorld(t, o, oneByOne)
	w.rotate()
	to := w.toAnchor()
	w.halfRolled()
	w.suspend(true)
	if o.Layout == v1alpha1.LayoutGenerations {
		w.point(to.SecretName) // in place it points there
	}
	w.check(w.RenewNow(t.Context(), w.IssuerKey()))
	written := time.Now()
	if w.unswitched() == nil {
		t.Fatal("the issuer is still signed by the old anchor: the test shows nothing")
	}
	early := w.signedBy(to.Fingerprint)
	w.suspend(false)
	w.eventually(time.Minute, w.unswitched)
	t.Logf("signed by the old anchor again after %s", time.Since(written).Round(100*time.Millisecond))
	w.eventually(time.Minute, w.inUse) // the wrong one may reach identity after it was replaced
	for _, wrong := range early {
		w.eventually(time.Minute, func() error { return w.gone(wrong) })
	}
	w.eventually(time.Minute, w.allFresh)
	failed := w.Proxies.Stats().Failed
	w.complete(long)
	if s := w.Proxies.Stats(); s.Failed != failed {
		t.Errorf("%d handshakes failed when no leaf of the wrong issuer was left", s.Failed-failed)
	}
	for _, f := range w.Proxies.Failures() {
		presented, refuser := f.Client, f.Server
		if f.RefusedByClient {
			presented, refuser = f.Server, f.Client
		}
		wrong := slices.Contains(early, presented.Issuer)
		refused := f.Reason == proxies.BadSignature && wrong && !slices.Contains(refuser.Anchors, to.Fingerprint)
		starved := f.Reason == proxies.Expired && !wrong && !slices.Contains(presented.Anchors, to.Fingerprint)
		if !refused && !starved {
			t.Errorf("a handshake failed that need not have: %s", f)
		}
	}
	w.rolledOnce()
	w.replaced()
	w.drained(w.before)
	w.healthyAgain()
	t.Logf("%d of %d handshakes failed", failed, w.Proxies.Stats().Handshakes)
}

// inUse is nil when every replica of identity signs with the issuer in its Secret.
func (w *world) inUse() error {
	issuer, err := w.Issuer(w.Context())
	if err != nil {
		return err
	}
	for _, r := range w.Identity.Replicas() {
		if r.Issuer != issuer {
			return fmt.Errorf("replica %s signs with %.8s, the issuer is %.8s", r.Pod, r.Issuer, issuer)
		}
	}
	return nil
}

// The same before anything is rolled, and while nothing may be: each replica of
// identity still has the anchors of its start, skips the issuer that it cannot
// verify, and goes on with the one before. No harm is done as long as none starts
// anew, and the issuer is switched back before that.
func skipped(t *T) {
	o := smallGenerations("skipped")
	o.Workloads, o.Rate = 2, 10
	w := newWorld(t, o, func(mt *v1alpha1.MeshTrust) { mt.Spec.Rollout.Paused = true })
	w.rotate()
	to := w.toAnchor()
	w.eventually(time.Minute, func() error { return w.published(w.before, to.Fingerprint) })
	w.suspend(true)
	replicas, old := w.Identity.Replicas(), w.issuer()
	w.point(to.SecretName)
	w.check(w.RenewNow(t.Context(), w.IssuerKey()))
	if w.unswitched() == nil {
		t.Fatal("the issuer is still signed by the old anchor: the test shows nothing")
	}
	w.eventually(time.Minute, func() error { return w.skippedBy(replicas, old) })
	early := w.signedBy(to.Fingerprint)
	w.suspend(false)
	w.eventually(time.Minute, w.unswitched)
	w.unrolled()
	w.reconfigure(func(s *v1alpha1.MeshTrustSpec) { s.Rollout.Paused = false })
	w.complete(long)
	w.rotated()
	for _, wrong := range early {
		if n := w.Identity.Counters().Signed[wrong]; n != 0 {
			t.Errorf("%d leaves were signed with the issuer %.8s, which came too early", n, wrong)
		}
	}
}

// allFresh is nil when no proxy presents a leaf that has expired.
func (w *world) allFresh() error {
	for _, p := range w.Proxies.Peers() {
		if time.Now().After(p.NotAfter) {
			return fmt.Errorf("%s", p)
		}
	}
	return nil
}

// Somebody deletes the previous-anchor Secret, which freezes trust-manager's Bundle:
// without a rotation under way, while its pods are rolled, and when the issuer has
// been switched. Each time it comes back, with certificates and no key. So a
// renewal that nobody announces still widens the bundle, and the old anchor, which
// only that Secret brings then, stays in it until Narrow (see drained).
func previousDeleted(t *T) {
	w := newWorld(t, small("previous-deleted"), nil)
	w.converged()
	w.deletePrevious()
	w.check(w.RenewNow(t.Context(), w.AnchorKey()))
	w.eventually(time.Minute, func() error {
		anchor, err := w.Anchor(t.Context())
		if err != nil {
			return err
		}
		return w.publishedAll(w.before, anchor)
	})
	for _, phase := range []v1alpha1.Phase{v1alpha1.PhaseRolling, v1alpha1.PhaseConfirmIssuer} {
		w.awaitPhase(long, phase)
		w.deletePrevious()
	}
	w.complete(long)
	w.rotated()
}

// deletePrevious deletes the previous-anchor Secret and waits until another is
// there, which brings the old anchor.
func (w *world) deletePrevious() {
	w.Helper()
	var old, s corev1.Secret
	w.check(w.Client.Get(w.Context(), w.PreviousKey(), &old))
	w.check(w.Client.Delete(w.Context(), &old))
	w.eventually(time.Minute, func() error {
		s = corev1.Secret{}
		err := w.Client.Get(w.Context(), w.PreviousKey(), &s)
		if err == nil && s.UID == old.UID {
			err = fmt.Errorf("the previous-anchor Secret is there still")
		}
		return err
	})
	for name, data := range s.Data {
		if strings.Contains(string(data), "KEY") {
			w.Errorf("the previous-anchor Secret holds a key, %s", name)
		}
	}
	if have := fingerprints(s.Data[corev1.TLSCertKey]); !have.Has(w.before) {
		w.Errorf("the previous-anchor Secret has come back with %s, and without the old anchor %.8s", have, w.before)
	}
}

// fingerprints are those of the certificates in a PEM text.
func fingerprints(text []byte) (out linkerd.Anchors) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		out = append(out, identity.Fingerprint(block.Bytes))
	}
	return out
}
