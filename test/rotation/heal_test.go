package rotation

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab/identity"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
	"github.com/reanchor/reanchor/hack/lab/proxies"
)

// heals are scenarios in which somebody else breaks what a rotation, or a mesh at
// rest, depends on.
func heals() []scenario {
	return []scenario{
		{"the old generation loses its label in mid-roll, and gets it back", unlabelled},
		{"the old generation is deleted in mid-roll, and its anchor is carried", carried},
		{"the old anchor is edited out of a bundle that Reanchor writes", editedOut},
		{"the pointer is moved too early, and back before anything is signed", pointedTooEarly},
		{"only the issuer has expired: it is renewed at once, without a rotation", func(t *T) { issuerExpired(t, smallGenerations("issuer-expired")) }},
		{"only the issuer has expired, in place: it is renewed at once, without a rotation", issuerExpiredInPlace},
		{"leaves that live long are replaced by one more roll, and not waited for", leavesRestart},
		{"trust from outside that no object shows demands an approval as well", externalTrust},
	}
}

// toAnchor waits until the run's new anchor is issued for good, and returns what is
// on record of it.
func (w *world) toAnchor() v1alpha1.RotationCertificate {
	w.Helper()
	w.awaitPhase(long, v1alpha1.PhaseWiden)
	var to v1alpha1.RotationCertificate
	w.eventually(time.Minute, func() error {
		run, err := w.run(w.Context())
		if err != nil {
			return err
		}
		if run.Status.ToAnchor == nil || run.Status.ToAnchor.CertificateRef == nil {
			return errors.New("the run does not say what Certificate the new anchor is of")
		}
		to = *run.Status.ToAnchor
		certificate, err := linkerd.Settled(w.Context(), w.Client, client.ObjectKey{Namespace: to.CertificateRef.Namespace, Name: to.CertificateRef.Name})
		if err == nil && identity.Fingerprint(certificate.Raw) != to.Fingerprint {
			err = fmt.Errorf("the new anchor on record is %.8s, and its Certificate's is another", to.Fingerprint)
		}
		return err
	})
	return to
}

// halfRolled waits until some workloads of the application are rolled, and fails
// if all are.
func (w *world) halfRolled() {
	w.Helper()
	w.eventually(long, func() error {
		if done, all := w.rolled(); done == 0 {
			return fmt.Errorf("none of %d workloads is rolled", all)
		}
		return nil
	})
	if done, all := w.rolled(); done == all {
		w.Fatalf("all %d workloads are rolled: the test shows nothing", all)
	}
}

// Somebody takes the label off the generation that signed every leaf. Without
// Reanchor its anchor would leave the bundle, and no new pod could verify its own
// leaf.
func unlabelled(t *T) {
	o := smallGenerations("unlabelled")
	o.ReadyDelay = 2 * time.Second
	w := newWorld(t, o, oneByOne)
	w.rotate()
	to := w.toAnchor()
	w.halfRolled()
	w.merge("Certificate", w.AnchorKey(), fmt.Sprintf(`{"spec":{"secretTemplate":{"labels":{%q:null}}}}`, v1alpha1.AnchorOfLabel))
	w.eventually(time.Minute, w.labelledBack)
	w.eventually(time.Minute, func() error { return w.published(w.before, to.Fingerprint) })
	w.complete(long)
	w.unharmed()
	w.replaced()
}

// Somebody deletes the generation that signed every leaf, key and all. Its
// certificate is in the archive: a Secret of Reanchor's own carries it until no leaf
// needs it, and goes then.
func carried(t *T) {
	o := smallGenerations("carried")
	o.ReadyDelay = 2 * time.Second
	w := newWorld(t, o, oneByOne)
	w.rotate()
	to := w.toAnchor()
	w.halfRolled()
	old := linkerd.Certificate()
	old.SetNamespace(w.AnchorKey().Namespace)
	old.SetName(w.AnchorKey().Name)
	w.check(w.Client.Delete(t.Context(), old))
	w.check(w.Client.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: old.GetNamespace(), Name: old.GetName()}}))
	carrier := &corev1.Secret{}
	key := client.ObjectKey{Namespace: linkerd.TrustNamespace, Name: w.Mesh.Mesh + "-anchor-carried"}
	holds := func(anchor string) error {
		if err := w.Client.Get(t.Context(), key, carrier); err != nil {
			return err
		}
		if block, rest := pem.Decode(carrier.Data[corev1.TLSCertKey]); len(carrier.Data) != 1 || len(rest) > 0 || block == nil || identity.Fingerprint(block.Bytes) != anchor {
			return fmt.Errorf("the carrier does not hold just the anchor %.8s, but %d bytes in %d keys", anchor, len(carrier.Data[corev1.TLSCertKey]), len(carrier.Data))
		}
		return nil
	}
	w.eventually(time.Minute, func() error { return holds(w.before) })
	w.eventually(time.Minute, func() error { return w.published(w.before, to.Fingerprint) })
	w.complete(long)
	w.unharmed()
	w.replaced()
	w.drained(w.before)
	w.check(holds(to.Fingerprint))
}

// labelledBack is nil when Reanchor, and not whoever made it, has labelled the
// first generation, and its Secret has the label too.
func (w *world) labelledBack() error {
	u := linkerd.Certificate()
	if err := w.Client.Get(w.Context(), w.AnchorKey(), u); err != nil {
		return err
	}
	by := ""
	for _, m := range u.GetManagedFields() {
		if m.FieldsV1 != nil && bytes.Contains(m.FieldsV1.GetRawBytes(), []byte("f:"+v1alpha1.AnchorOfLabel)) {
			by += m.Manager + " "
		}
	}
	var s corev1.Secret
	if err := w.Client.Get(w.Context(), w.AnchorKey(), &s); err != nil {
		return err
	}
	if by != v1alpha1.FieldManager+" " || s.Labels[v1alpha1.AnchorOfLabel] != w.Mesh.Mesh {
		return fmt.Errorf("the label is written by %q, the Secret's are %v", by, s.Labels)
	}
	return nil
}

// suspend has Reanchor write nothing, until it is called with false.
func (w *world) suspend(on bool) {
	w.Helper()
	w.reconfigure(func(s *v1alpha1.MeshTrustSpec) { s.Suspend = on })
}

// Every pod is ready for the switch, when somebody writes the bundle without the
// old anchor. It is put back, and since the bundle is what it was, nothing is
// rolled for that.
func editedOut(t *T) {
	o := smallGenerations("edited-out")
	o.Writer = v1alpha1.BundleWriterReanchor
	w := newWorld(t, o, func(mt *v1alpha1.MeshTrust) { mt.Spec.Rotation.ExternalTrust = true })
	w.rotate(v1alpha1.GateNarrow)
	to := w.toAnchor()
	w.awaitApproval(v1alpha1.PhaseSwitchIssuer, v1alpha1.GateSwitchIssuer)
	w.suspend(true)
	var cm corev1.ConfigMap
	w.check(w.Client.Get(t.Context(), w.BundleKey(), &cm))
	cm.Data[identity.BundleKey] = without(t, cm.Data[identity.BundleKey], w.before)
	w.check(w.Client.Update(t.Context(), &cm, client.FieldOwner("kubectl-edit")))
	w.check(w.published(to.Fingerprint))
	w.suspend(false)
	w.eventually(time.Minute, func() error { return w.published(w.before, to.Fingerprint) })
	w.check(w.unswitched())
	w.approve(v1alpha1.GateSwitchIssuer)
	w.complete(long)
	w.rotated()
}

// without returns a bundle's text less one anchor.
func without(t *T, text, fingerprint string) string {
	t.Helper()
	out, found := "", false
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		if identity.Fingerprint(block.Bytes) == fingerprint {
			found = true
			continue
		}
		out += string(pem.EncodeToMemory(block))
	}
	if !found || out == "" {
		t.Fatalf("the bundle does not hold %.8s, or nothing else", fingerprint)
	}
	return out
}

// Somebody moves the pointer to the new generation in mid-roll. The next renewal
// of the issuer, by itself or by hand, would break the mesh. The pointer is moved
// back before that, and what is renewed afterwards is signed by the old anchor.
func pointedTooEarly(t *T) {
	o := smallGenerations("pointed-early")
	o.ReadyDelay = 2 * time.Second
	w := newWorld(t, o, oneByOne)
	w.rotate()
	to := w.toAnchor()
	w.halfRolled()
	old, issuer := w.signsNext(), w.issuer()
	w.point(to.SecretName)
	w.eventually(time.Minute, func() error {
		if now := w.signsNext(); now != old {
			return fmt.Errorf("Secret %s would sign the next issuer, want %s", now, old)
		}
		return nil
	})
	if w.issuer() != issuer {
		t.Error("the issuer was renewed meanwhile: the test shows nothing")
	}
	w.pointed()
	w.check(w.RenewNow(t.Context(), w.IssuerKey()))
	w.check(w.unswitched())
	w.unharmed()
	w.complete(long)
	w.rotated()
}

// signsNext is the name of the Secret that would sign the next issuer.
func (w *world) signsNext() string {
	w.Helper()
	name, err := w.pointsAt(w.Context())
	w.check(err)
	return name
}

func (w *world) pointsAt(ctx context.Context) (string, error) {
	u := certManagers("ClusterIssuer")
	if err := w.Client.Get(ctx, client.ObjectKey{Name: w.ClusterIssuer}, u); err != nil {
		return "", err
	}
	name, _, err := unstructured.NestedString(u.Object, "spec", "ca", "secretName")
	return name, err
}

func certManagers(kind string) *unstructured.Unstructured {
	u := linkerd.Certificate()
	u.SetKind(kind)
	return u
}

// Nobody has renewed the issuer, and it has expired with every leaf that it
// signed. The anchor is fine: the issuer is renewed at once, nothing is rolled,
// and no rotation is opened. Handshakes fail from its end until then, since every
// leaf has expired: none before, and none once the leaves of the next are there.
func issuerExpired(t *T, o linkerd.Options) {
	w := newWorld(t, o, nil)
	w.converged()
	w.unharmed()
	w.reissue("45s", "Disabled")
	expired, end := w.issuer(), w.certificateEnd(w.IssuerKey())
	if left := time.Until(end); left < 5*time.Second || left > time.Minute {
		t.Fatalf("the issuer ends in %s: the test shows nothing", left)
	}
	w.eventually(time.Until(end)+15*time.Second, func() error {
		if w.issuer() == expired {
			return fmt.Errorf("the issuer that ended %s ago is still there", time.Since(end))
		}
		return nil
	})
	t.Logf("renewed %s after its end", time.Since(end).Round(100*time.Millisecond))
	w.reissue("40m", "RenewBefore")
	w.eventually(time.Minute, func() error { return w.gone(expired) })
	w.healthyAgain()
	for _, f := range w.Proxies.Failures() {
		if f.Reason != proxies.Expired || f.At.Before(end) {
			t.Errorf("a handshake failed that need not have: %s", f)
		}
	}
	w.runs(0)
	w.publishes(w.before)
	w.check(w.unswitched())
	w.unrolled()
}

// The same in place. The anchor's Secret and the previous one hold the same anchor,
// before and after.
func issuerExpiredInPlace(t *T) {
	o := small("issuer-expired-in-place")
	o.Workloads, o.Rate = 2, 10
	issuerExpired(t, o)
}

// reissue has the issuer issued with another lifetime, and renewed by itself from
// then on, or not.
func (w *world) reissue(lifetime, policy string) {
	w.Helper()
	before := w.issuer()
	w.merge("Certificate", w.IssuerKey(), fmt.Sprintf(`{"spec":{"duration":%q,"renewBefore":"1s","renewal":{"policy":%q}}}`, lifetime, policy))
	w.eventually(time.Minute, func() error {
		if w.issuer() == before {
			return fmt.Errorf("the issuer is the one from before")
		}
		return nil
	})
}

// certificateEnd is when what a Certificate issued last expires.
func (w *world) certificateEnd(key client.ObjectKey) time.Time {
	w.Helper()
	return w.certificate(key).NotAfter
}

// certificate is what a Certificate issued last.
func (w *world) certificate(key client.ObjectKey) *x509.Certificate {
	w.Helper()
	var s corev1.Secret
	w.check(w.Client.Get(w.Context(), key, &s))
	block, _ := pem.Decode(s.Data[corev1.TLSCertKey])
	if block == nil {
		w.Fatalf("Secret %s holds no certificate", key)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	w.check(err)
	return certificate
}

// gone is nil when no proxy presents a leaf of the issuer.
func (w *world) gone(issuer string) error {
	for _, p := range w.Proxies.Peers() {
		if p.Issuer == issuer {
			return fmt.Errorf("%s", p)
		}
	}
	return nil
}

// runs fails unless the mesh has had so many runs.
func (w *world) runs(want int) {
	w.Helper()
	var list v1alpha1.AnchorRotationList
	w.check(w.Client.List(w.Context(), &list))
	have := 0
	for i := range list.Items {
		if list.Items[i].Spec.MeshTrustRef.Name == w.Mesh.Mesh {
			have++
		}
	}
	if have != want {
		w.Errorf("there are %d runs, want %d", have, want)
	}
}
