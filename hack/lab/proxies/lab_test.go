package proxies_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/lab/identity"
	"github.com/reanchor/reanchor/hack/lab/injector"
	"github.com/reanchor/reanchor/hack/lab/kubelet"
	"github.com/reanchor/reanchor/hack/lab/proxies"
)

const (
	controlPlane   = "linkerd"
	apps           = "apps" // a namespace whose pods are injected
	componentLabel = "linkerd.io/control-plane-component"
	anchors        = "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"
)

// mesh is a lab with every stand-in: a control plane of two identity replicas
// that are pods, and what a test starts.
type mesh struct {
	*testing.T
	client   kubernetes.Interface
	identity *identity.Identity
	proxies  *proxies.Proxies
}

func startMesh(t *testing.T) mesh {
	t.Helper()
	l, err := lab.Start(t.Context(), lab.Options{Nodes: 1, Progress: os.Stderr})
	check(t, err)
	t.Cleanup(func() { check(t, l.Stop()) })
	m := mesh{T: t}
	m.client, err = kubernetes.NewForConfig(l.Config())
	check(t, err)
	m.namespace(controlPlane, nil)
	m.namespace(apps, map[string]string{"linkerd.io/inject": "enabled"})
	k, err := kubelet.Start(t.Context(), l.Config(), kubelet.Options{})
	check(t, err)
	t.Cleanup(k.Stop)
	i, err := injector.Start(t.Context(), l.Config(), injector.Options{})
	check(t, err)
	t.Cleanup(func() { check(t, i.Stop(context.WithoutCancel(t.Context()))) })
	m.identity, err = identity.Start(t.Context(), l.Config(), identity.Options{
		PodSelector: componentLabel + "=identity", LeafLifetime: 20 * time.Second, ClockSkew: -1, RestartDelay: 2 * time.Second,
	})
	check(t, err)
	t.Cleanup(m.identity.Stop)
	m.proxies, err = proxies.Start(t.Context(), l.Config(), proxies.Options{Identity: m.identity, Kubelet: k, Rate: 100})
	check(t, err)
	t.Cleanup(m.proxies.Stop)
	return m
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// with runs a part of the test with its own t.
func (m mesh) with(t *testing.T) mesh {
	m.T = t
	return m
}

func (m mesh) namespace(name string, annotations map[string]string) {
	m.Helper()
	_, err := m.client.CoreV1().Namespaces().Create(m.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}}, metav1.CreateOptions{})
	check(m.T, err)
	m.eventually("service account", func() error {
		_, err := m.client.CoreV1().ServiceAccounts(name).Get(m.Context(), "default", metav1.GetOptions{})
		return err
	})
}

func (m mesh) eventually(what string, check func() error) {
	m.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			m.Fatalf("%s: not within two minutes: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (m mesh) publish(cas ...*bundletest.CA) {
	m.Helper()
	var text strings.Builder
	for _, ca := range cas {
		text.WriteString(ca.PEM())
	}
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: identity.BundleConfigMap}, Data: map[string]string{identity.BundleKey: text.String()}}
	maps := m.client.CoreV1().ConfigMaps(controlPlane)
	_, err := maps.Update(m.Context(), cm, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		_, err = maps.Create(m.Context(), cm, metav1.CreateOptions{})
	}
	check(m.T, err)
}

// issue writes an issuer below the anchor and returns its fingerprint.
func (m mesh) issue(anchor *bundletest.CA) string {
	m.Helper()
	i := anchor.Intermediate("identity.linkerd.cluster.local", lifetime())
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: identity.IssuerSecret}, Data: map[string][]byte{"tls.crt": []byte(i.PEM()), "tls.key": []byte(i.KeyPEM())}}
	secrets := m.client.CoreV1().Secrets(controlPlane)
	_, err := secrets.Update(m.Context(), s, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		_, err = secrets.Create(m.Context(), s, metav1.CreateOptions{})
	}
	check(m.T, err)
	return identity.Fingerprint(i.Cert.Raw)
}

func lifetime() bundletest.Validity {
	return bundletest.From(time.Now().Add(-time.Minute), 24*time.Hour)
}

// deployment creates one whose pods are Ready when they could be in a cluster.
func (m mesh) deployment(namespace, name string, replicas int32, spec corev1.PodSpec) {
	m.Helper()
	labels := map[string]string{componentLabel: name, "app": name}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec}
	if namespace == controlPlane {
		labels["linkerd.io/control-plane-ns"] = controlPlane
	}
	identity.Hold(&template.ObjectMeta)
	_, err := m.client.AppsV1().Deployments(namespace).Create(m.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}, Template: template},
	}, metav1.CreateOptions{})
	check(m.T, err)
}

// identitySpec is that of a component of the control plane: its proxy refers to
// the bundle.
func identitySpec() corev1.PodSpec {
	always := corev1.ContainerRestartPolicyAlways
	return corev1.PodSpec{
		InitContainers: []corev1.Container{{
			Name: "linkerd-proxy", Image: "proxy", RestartPolicy: &always,
			Env: []corev1.EnvVar{{Name: anchors, ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: identity.BundleConfigMap}, Key: identity.BundleKey,
			}}}},
		}},
		Containers: []corev1.Container{{Name: "identity", Image: "identity"}},
	}
}

func (m mesh) pods(namespace string) []corev1.Pod {
	m.Helper()
	list, err := m.client.CoreV1().Pods(namespace).List(m.Context(), metav1.ListOptions{})
	check(m.T, err)
	return list.Items
}

// live waits until so many proxies are.
func (m mesh) live(want int) {
	m.Helper()
	m.eventually("proxies are live", func() error {
		if s := m.proxies.Stats(); s.Proxies != want {
			return fmt.Errorf("%+v, want %d", s, want)
		}
		return nil
	})
}

// replicas waits until those of identity are as said.
func (m mesh) replicas(what string, fit func([]identity.Replica) bool) {
	m.Helper()
	m.eventually(what, func() error {
		if rs := m.identity.Replicas(); !fit(rs) {
			return fmt.Errorf("%+v", rs)
		}
		return nil
	})
}

func (m mesh) unfailed() proxies.Stats {
	m.Helper()
	s := m.proxies.Stats()
	if s.Failed != 0 {
		m.Fatalf("%+v; the failures:\n%v", s, m.proxies.Failures())
	}
	return s
}

// ready is how many pods of a namespace are Ready and stay.
func (m mesh) ready(namespace string) int {
	m.Helper()
	n := 0
	for _, p := range m.pods(namespace) {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil {
				n++
			}
		}
	}
	return n
}

func TestHandshakesOnALab(t *testing.T) {
	m := startMesh(t)
	old := bundletest.NewRoot(t, "root.linkerd.cluster.local", lifetime())
	next := bundletest.NewRoot(t, "root.linkerd.cluster.local", lifetime())
	m.publish(old)
	first := m.issue(old)
	m.deployment(apps, "web", 10, corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}})

	t.Run("without identity no pod gets a leaf, and none is Ready", func(t *testing.T) {
		m := m.with(t)
		m.eventually("ten pods have asked in vain", func() error {
			if s := m.proxies.Stats(); s.Waiting != 10 || s.Proxies != 0 {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
		if n := m.ready(apps); n != 0 {
			t.Errorf("%d pods are Ready", n)
		}
	})
	m.deployment(controlPlane, "identity", 2, identitySpec())
	m.live(12)

	t.Run("a sound mesh has 20 s of handshakes and none fails", func(t *testing.T) {
		m := m.with(t)
		const during = 20 * time.Second
		before := m.proxies.Stats()
		began := time.Now()
		time.Sleep(during)
		s, took := m.unfailed(), time.Since(began)
		rate := float64(s.Handshakes-before.Handshakes) / took.Seconds()
		t.Logf("%.1f handshakes a second, longest pause %s, %+v", rate, s.LongestPause, s)
		if rate < 50 {
			t.Errorf("%.1f handshakes a second, want 50", rate)
		}
		if s.Leaves <= 12 {
			t.Errorf("%d leaves for 12 proxies: none was refreshed", s.Leaves)
		}
	})
	t.Run("a missed reload: a replica that stopped reloading signs with the old issuer", func(t *testing.T) {
		m := m.with(t)
		check(t, m.identity.StopReloading(0))
		second := m.issue(old)
		m.replicas("the other replica has the new issuer", func(rs []identity.Replica) bool {
			return len(rs) == 2 && rs[0].Issuer == first && !rs[0].Reloads && rs[1].Issuer == second
		})
		m.eventually("leaves of both issuers are about", func() error {
			about := map[string]int{}
			for _, p := range m.proxies.Peers() {
				about[p.Issuer]++
			}
			if about[first] == 0 || about[second] == 0 || m.identity.Counters().Signed[second] == 0 {
				return fmt.Errorf("leaves by issuer: %v", about)
			}
			return nil
		})
		m.unfailed()
	})
	var switched string
	t.Run("an issuer that running replicas cannot verify is skipped", func(t *testing.T) {
		m := m.with(t)
		m.publish(next)
		switched = m.issue(next)
		m.eventually("one replica skips it, the other does not even look", func() error {
			if c := m.identity.Counters(); c.Skipped != 1 {
				return fmt.Errorf("%+v", c)
			}
			return nil
		})
		m.unfailed()
	})
	t.Run("the hazard: new leaves before all pods trust their anchor", func(t *testing.T) {
		m := m.with(t)
		check(t, m.client.CoreV1().Pods(controlPlane).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}))
		m.replicas("identity has restarted with the new issuer", func(rs []identity.Replica) bool {
			return len(rs) == 2 && rs[0].Issuer == switched && rs[1].Issuer == switched && rs[0].Reachable && rs[1].Reachable
		})
		m.eventually("handshakes fail", func() error {
			if s := m.proxies.Stats(); s.ByReason[proxies.BadSignature] < 10 || s.Rejected == 0 {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
		s := m.proxies.Stats()
		t.Logf("%+v; the first failure:\n%s", s, m.proxies.Failures()[0])
		if rest := s.Failed - s.ByReason[proxies.BadSignature] - s.ByReason[proxies.Expired]; rest != 0 {
			t.Errorf("%+v: %d failures for another reason", s, rest)
		}
		m.eventually("the leaves that pods of the old anchor hold end", func() error {
			if s := m.proxies.Stats(); s.ByReason[proxies.Expired] == 0 {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
	})
	t.Run("a refusal: a replica does not start with an issuer that it cannot verify, until it can", func(t *testing.T) {
		m := m.with(t)
		m.publish(old)
		pods := m.pods(controlPlane)
		check(t, m.client.CoreV1().Pods(controlPlane).Delete(t.Context(), pods[0].Name, metav1.DeleteOptions{}))
		m.eventually("its successor refuses twice", func() error {
			if c := m.identity.Counters(); c.Refused < 2 {
				return fmt.Errorf("%+v", c)
			}
			return nil
		})
		if n := m.ready(controlPlane); n != 1 {
			t.Errorf("%d pods of identity are Ready, want the one that was not deleted", n)
		}
		m.publish(old, next)
		m.replicas("it starts", func(rs []identity.Replica) bool { return len(rs) == 2 && rs[0].Reachable && rs[1].Reachable })
	})
}
