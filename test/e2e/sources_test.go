package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/hack/local"
)

// Where the issuer is named by its Certificate, it is read from the Certificate's
// requests, and the controller may read no Secret at all (I6). A renewal is seen.
func TestTheIssuerIsReadFromItsCertificateWithoutASecret(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{})
	m.withoutSecrets()
	objects := fmt.Sprintf(`
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: self, namespace: %[1]s}
spec: {selfSigned: {}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: root, namespace: %[1]s}
spec:
  secretName: root
  issuerRef: {name: self, kind: Issuer}
  commonName: root.linkerd.cluster.local
  isCA: true
  privateKey: {algorithm: ECDSA, size: 256}
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: root, namespace: %[1]s}
spec: {ca: {secretName: root}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: issuer, namespace: %[1]s}
spec:
  secretName: issuer
  issuerRef: {name: root, kind: Issuer}
  commonName: identity.linkerd.cluster.local
  isCA: true
  privateKey: {algorithm: ECDSA, size: 256, rotationPolicy: Always}
`, m.name)
	if err := local.Apply(t.Context(), env.client, []byte(objects)); err != nil {
		t.Fatal(err)
	}
	issuedForGood(t, m.name, "root")
	renewIn(t, m.name, "issuer") // it may be of an earlier issue of the root
	root := m.issued("root", "")
	issuer := m.issued("issuer", "")
	m.publishText(string(root))
	spec := quick()
	spec.Issuer.CertificateRef = &v1alpha1.ObjectRef{Namespace: m.name, Name: "issuer"}
	m.trust(*spec)
	m.await(time.Minute, v1alpha1.ConditionIssuerTrusted, metav1.ConditionTrue, "")
	if got, want := m.status().Status.Issuer.Fingerprint, fingerprint(issuer); got != want {
		t.Errorf("the issuer on record is %s, want %s", got, want)
	}

	renewIn(t, m.name, "issuer")
	renewed := fingerprint(m.issued("issuer", string(issuer)))
	eventually(t, time.Minute, func() error {
		if got := m.status().Status.Issuer.Fingerprint; got != renewed {
			return fmt.Errorf("the issuer on record is %s, want %s", got, renewed)
		}
		return nil
	})
	m.await(time.Minute, v1alpha1.ConditionIssuerTrusted, metav1.ConditionTrue, "")
}

// withoutSecrets takes from the controller's role in the mesh's namespace what
// docs/install.md says may be taken away.
func (m *meshWorld) withoutSecrets() {
	m.t.Helper()
	role := get(m.t, m.name, "reanchor-controller", &rbacv1.Role{})
	before := role.DeepCopy()
	var kept []rbacv1.PolicyRule
	for _, rule := range role.Rules {
		if rule.Resources[0] != "secrets" {
			kept = append(kept, rule)
		}
	}
	if len(kept) != len(role.Rules)-1 {
		m.t.Fatalf("the role has %d rules for Secrets", len(role.Rules)-len(kept))
	}
	role.Rules = kept
	if err := env.client.Patch(m.t.Context(), role, client.MergeFrom(before)); err != nil {
		m.t.Fatal(err)
	}
}

// issued waits until cert-manager has issued a Secret's certificate that is
// another than before, and returns it.
func (m *meshWorld) issued(secret, before string) []byte {
	m.t.Helper()
	var text []byte
	eventually(m.t, time.Minute, func() error {
		var s corev1.Secret
		if err := env.client.Get(m.t.Context(), client.ObjectKey{Namespace: m.name, Name: secret}, &s); err != nil {
			return err
		}
		if text = s.Data[corev1.TLSCertKey]; len(text) == 0 || string(text) == before {
			return fmt.Errorf("Secret %s holds no new certificate", secret)
		}
		return nil
	})
	return text
}

func fingerprint(text []byte) string {
	block, _ := pem.Decode(text)
	sum := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(sum[:])
}

// A bundle may be published for the whole cluster: pods of any namespace mount it,
// and are rolled once when it changes.
func TestABundleOfTheWholeClusterIsFollowed(t *testing.T) {
	t.Parallel()
	name := fmt.Sprintf("mesh-%d", meshes.Add(1))
	first, second := bundletest.NewRoot(t, "first", lifetime()), bundletest.NewRoot(t, "second", lifetime())
	u := &unstructured.Unstructured{}
	u.SetAPIVersion("certificates.k8s.io/v1beta1")
	u.SetKind("ClusterTrustBundle")
	u.SetName(name)
	u.Object["spec"] = map[string]any{"trustBundle": first.PEM()}
	create(t, u)
	t.Cleanup(func() { env.client.Delete(context.Background(), u) })
	m := &meshWorld{t: t, name: name}
	spec := quick()
	spec.Profile, spec.Issuer = v1alpha1.ProfileGeneric, v1alpha1.IssuerSpec{None: true}
	spec.Bundle.ClusterTrustBundleRef = &v1alpha1.ClusterObjectRef{Name: name}
	spec.Rollout.MaxConcurrent = new(intstr.FromInt32(1))
	mt := &v1alpha1.MeshTrust{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: *spec}
	create(t, mt)
	t.Cleanup(func() { env.client.Delete(context.Background(), mt) })
	m.awaitConverged(time.Minute, first)
	apps := m.mounting(name)

	u.Object["spec"] = map[string]any{"trustBundle": first.PEM() + second.PEM()}
	if err := env.client.Update(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	m.awaitConverged(time.Minute, first, second)
	rolled := func() error {
		if n, p := revisions(t, apps)["web"], m.status().Status.Pods; n != 2 || p.Current != 2 || p.Total != 2 {
			return fmt.Errorf("%d revisions and pods %+v, want the first and one roll, and two pods current", n, p)
		}
		return nil
	}
	eventually(t, time.Minute, rolled)
	stays(t, 5*time.Second, rolled)
	if err := env.client.Delete(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	m.await(time.Minute, v1alpha1.ConditionBundleValid, metav1.ConditionFalse, v1alpha1.BundleNotFound)
}

// mounting makes a namespace with a Deployment of members whose pods, which start
// when the bundle is surely what they read, mount the ClusterTrustBundle.
func (m *meshWorld) mounting(name string) (namespace string) {
	m.t.Helper()
	namespace = m.name + "-apps"
	m.createNamespace(namespace, nil)
	time.Sleep(4 * time.Second) // a pod that starts earlier may find no bundle
	source := corev1.VolumeProjection{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{Name: &name, Path: "ca.pem"}}
	deployment(m.t, namespace, "web", 2, func(d *appsv1.Deployment) {
		d.Spec.Template.Labels[v1alpha1.MeshLabel] = m.name
		pod := &d.Spec.Template.Spec
		pod.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "roots", MountPath: "/etc/roots", ReadOnly: true}}
		pod.Volumes = []corev1.Volume{{Name: "roots", VolumeSource: corev1.VolumeSource{
			Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{source}},
		}}}
	})
	ready(m.t, namespace, 2)
	eventually(m.t, time.Minute, func() error {
		if p := m.status().Status.Pods; p.Current != 2 || p.Total != 2 {
			return fmt.Errorf("pods %+v, want two current", p)
		}
		return nil
	})
	return namespace
}

// Pods of a ReplicationController are replaced one by one, as those of a bare
// ReplicaSet are.
func TestPodsOfAReplicationControllerAreEvicted(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{})
	apps := m.namespace("apps")
	template := podTemplate("old", nil)
	create(t, &corev1.ReplicationController{
		ObjectMeta: metav1.ObjectMeta{Namespace: apps, Name: "old"},
		Spec:       corev1.ReplicationControllerSpec{Replicas: new(int32(2)), Selector: map[string]string{"app": "old"}, Template: &template},
	})
	ready(t, apps, 2)
	before := podsOf(t, apps, "old")
	history := m.record()
	next := m.rotate()
	m.trust(*quick())
	m.awaitConverged(time.Minute, m.root, next)
	replaced(t, apps, "old", before, m.root, next)
	if least := history.leastUp(2, apps, "old"); least != 1 {
		t.Errorf("%d pods were up at least, want one", least)
	}
}
