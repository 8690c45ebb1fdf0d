package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/hack/local"
)

const erlangSecret, erlangSubject = "dist-ca", "erlang distribution CA"

// An Erlang cluster whose nodes verify one another by a CA that cert-manager
// keeps in a Secret. The CA expired six days ago, and nobody noticed, since
// leaves are valid and connections stay open: whatever starts now is refused.
func TestErlangClusterWithAnExpiredCA(t *testing.T) {
	t.Parallel()
	m := &meshWorld{t: t, name: fmt.Sprintf("mesh-%d", meshes.Add(1))}
	m.createNamespace(m.name, nil)
	certificate := m.certificate()
	m.caOfSecret(nil)
	// cert-manager repairs what it knows of. The CA could only expire since its
	// Certificate was gone.
	if err := env.client.Delete(t.Context(), certificate); err != nil {
		t.Fatal(err)
	}
	sixDays := 6 * 24 * time.Hour
	expired := bundletest.NewRoot(t, erlangSubject, bundletest.From(time.Now().Add(-90*24*time.Hour), 90*24*time.Hour-sixDays))
	m.expireSecret(expired)
	deployment(t, m.name, "rabbit", 2, m.erlang)
	ready(t, m.name, 2)
	m.grant(m.name, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "reanchor-controller"}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{erlangSecret}, Verbs: []string{"get", "list", "watch"},
	}}})
	spec := quick()
	spec.Profile, spec.Issuer = v1alpha1.ProfileGeneric, v1alpha1.IssuerSpec{None: true}
	spec.Bundle.SecretRef = &v1alpha1.KeyRef{Namespace: m.name, Name: erlangSecret}
	m.trust(*spec)

	mt := m.await(time.Minute, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.BundleExpired)
	if p := mt.Status.Pods; p.Expired != 2 || p.Stale != 2 || p.Total != 2 {
		t.Errorf("want the two running pods expired, have %+v", p)
	}
	m.webhookFor(m.name)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: m.name, Name: "late"}, Spec: podTemplate("late", nil).Spec}
	m.join(&pod.ObjectMeta, &pod.Spec)
	eventually(t, time.Minute, func() error { return m.denied(pod, expired) })
	if n := revisions(t, m.name)["rabbit"]; n != 1 {
		t.Errorf("rolled towards an expired CA: %d revisions", n)
	}

	m.certificate()
	replaced := m.caOfSecret(expired)
	mt = m.await(time.Minute, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.Converged)
	if mt.Status.Bundle.Hash != replaced.Hash() || mt.Status.Pods.Current != 2 || mt.Status.Pods.Total != 2 {
		t.Errorf("want two pods with the new CA, have %s", describe(mt))
	}
	if n := revisions(t, m.name)["rabbit"]; n != 2 {
		t.Errorf("the Deployment has %d revisions, want the first and one roll", n)
	}
	for _, p := range pods(t, m.name) {
		if stamp := p.Annotations[v1alpha1.TrustBundleHashAnnotation]; stamp != replaced.Hash() {
			t.Errorf("pod %s was admitted with the stamp %q, want %q", p.Name, stamp, replaced.Hash())
		}
	}
	create(t, pod)
}

// erlang makes a Deployment a member of the mesh.
func (m *meshWorld) erlang(d *appsv1.Deployment) {
	m.join(&d.Spec.Template.ObjectMeta, &d.Spec.Template.Spec)
}

// join makes a pod a member: the label, and the CA that it reads at start.
func (m *meshWorld) join(meta *metav1.ObjectMeta, spec *corev1.PodSpec) {
	if meta.Labels == nil {
		meta.Labels = map[string]string{}
	}
	meta.Labels[v1alpha1.MeshLabel] = m.name
	spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "dist", MountPath: "/etc/dist", ReadOnly: true}}
	spec.Volumes = []corev1.Volume{{Name: "dist", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: erlangSecret}}}}
}

// certificate lets cert-manager issue the CA, self-signed.
func (m *meshWorld) certificate() *unstructured.Unstructured {
	m.t.Helper()
	issuer := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"selfSigned": map[string]any{}}}}
	certificate := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"isCA": true, "commonName": erlangSubject, "secretName": erlangSecret, "duration": "2160h",
		"privateKey": map[string]any{"algorithm": "ECDSA", "size": int64(256), "rotationPolicy": "Always"},
		"issuerRef":  map[string]any{"name": "self", "kind": "Issuer", "group": "cert-manager.io"},
	}}}
	for kind, u := range map[string]*unstructured.Unstructured{"Issuer": issuer, "Certificate": certificate} {
		u.SetAPIVersion("cert-manager.io/v1")
		u.SetKind(kind)
		u.SetNamespace(m.name)
		u.SetName(map[string]string{"Issuer": "self", "Certificate": "dist"}[kind])
		if err := local.Create(m.t.Context(), env.client, u); err != nil {
			m.t.Fatal(err)
		}
	}
	return certificate
}

// caOfSecret waits until cert-manager has written a CA other than the last, for
// good.
func (m *meshWorld) caOfSecret(last *bundletest.CA) bundle.Set {
	m.t.Helper()
	issuedForGood(m.t, m.name, "dist")
	var set bundle.Set
	eventually(m.t, time.Minute, func() error {
		var s corev1.Secret
		if err := env.client.Get(m.t.Context(), client.ObjectKey{Namespace: m.name, Name: erlangSecret}, &s); err != nil {
			return err
		}
		var err error
		if set, err = bundle.Parse(s.Data["ca.crt"]); err != nil {
			return err
		}
		if last != nil && set.Contains(last.Fingerprint()) {
			return errors.New("the Secret still holds the expired CA")
		}
		return nil
	})
	return set
}

// expireSecret puts an expired CA in the place of the one that was issued.
func (m *meshWorld) expireSecret(ca *bundletest.CA) {
	m.t.Helper()
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		var s corev1.Secret
		if err := env.client.Get(m.t.Context(), client.ObjectKey{Namespace: m.name, Name: erlangSecret}, &s); err != nil {
			return err
		}
		s.Data = map[string][]byte{"ca.crt": []byte(ca.PEM()), "tls.crt": []byte(ca.PEM()), "tls.key": []byte(ca.KeyPEM())}
		return env.client.Update(m.t.Context(), &s)
	})
	if err != nil {
		m.t.Fatal(err)
	}
	written := time.Now()
	eventually(m.t, time.Minute, func() error {
		if time.Since(written) < 4*time.Second {
			return errors.New("a pod that starts now may still read the CA before")
		}
		return nil
	})
}

// denied returns nil when a pod is refused with the mesh, the CA and its end
// named.
func (m *meshWorld) denied(pod *corev1.Pod, ca *bundletest.CA) error {
	err := env.client.Create(m.t.Context(), pod.DeepCopy(), client.DryRunAll)
	if !apierrors.IsForbidden(err) {
		return fmt.Errorf("want the pod denied, got %v", err)
	}
	for _, part := range []string{m.name, erlangSubject, ca.Cert.NotAfter.UTC().Format(time.DateOnly)} {
		if !strings.Contains(err.Error(), part) {
			return fmt.Errorf("want %q named in the denial: %w", part, err)
		}
	}
	return nil
}
