package e2e

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/hack/lab/injector"
)

const (
	anchorsVariable   = "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"
	componentLabel    = "linkerd.io/control-plane-component"
	rootsFile         = "/var/run/linkerd/identity/trust-roots/" + injector.BundleKey
	injectorComponent = "proxy-injector"
	identityComponent = "identity"
)

// componentTemplate is the pod template of a component of the control plane, as
// Linkerd's chart renders it: the proxy refers to the bundle, and the component
// mounts it.
func (m *meshWorld) componentTemplate(component string) corev1.PodTemplateSpec {
	always := corev1.ContainerRestartPolicyAlways
	roots := corev1.LocalObjectReference{Name: injector.BundleConfigMap}
	template := podTemplate(component, map[string]string{"linkerd.io/inject": "disabled"})
	template.Labels[componentLabel] = component
	template.Labels["linkerd.io/control-plane-ns"] = m.name
	template.Spec.InitContainers = []corev1.Container{{
		Name: "linkerd-proxy", Image: "proxy", RestartPolicy: &always,
		Env: []corev1.EnvVar{{Name: anchorsVariable, ValueFrom: &corev1.EnvVarSource{
			ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: roots, Key: injector.BundleKey},
		}}},
	}}
	template.Spec.Containers[0].Name = component
	template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "trust-roots", MountPath: "/var/run/linkerd/identity/trust-roots/"}}
	template.Spec.Volumes = []corev1.Volume{{Name: "trust-roots", VolumeSource: corev1.VolumeSource{
		ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: roots},
	}}}
	return template
}

// component creates a Deployment of the control plane.
func (m *meshWorld) component(name string, replicas int32) {
	m.t.Helper()
	m.seasoned()
	deployment(m.t, m.name, name, replicas, func(d *appsv1.Deployment) { d.Spec.Template = m.componentTemplate(name) })
}

// roll creation times, for the order of things.
type span struct{ first, last time.Time }

func creations(list []corev1.Pod) span {
	var s span
	for i := range list {
		at := list[i].CreationTimestamp.Time
		if s.first.IsZero() || at.Before(s.first) {
			s.first = at
		}
		if at.After(s.last) {
			s.last = at
		}
	}
	return s
}

// holds fails when check does not stay nil for as long as said.
func holds(t *testing.T, during time.Duration, check func() error) {
	t.Helper()
	end := time.Now().Add(during)
	for time.Now().Before(end) {
		if err := check(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// unrolled returns a check that no Deployment of the namespaces has another
// number of revisions than it has now.
func unrolled(t *testing.T, namespaces ...string) func() error {
	t.Helper()
	before := map[string]string{}
	for _, ns := range namespaces {
		before[ns] = fmt.Sprint(revisions(t, ns))
	}
	return func() error {
		for _, ns := range namespaces {
			if now := fmt.Sprint(revisions(t, ns)); now != before[ns] {
				return fmt.Errorf("namespace %s: revisions were %s and are %s, want nothing rolled", ns, before[ns], now)
			}
		}
		return nil
	}
}

// rolledOnce fails unless every Deployment of a namespace has been rolled just
// once, and all pods carry the set.
func rolledOnce(t *testing.T, namespace string, deployments int, want bundle.Set) {
	t.Helper()
	have := revisions(t, namespace)
	if len(have) != deployments {
		t.Errorf("namespace %s has %d Deployments, want %d", namespace, len(have), deployments)
	}
	for name, n := range have {
		if n != 2 {
			t.Errorf("%s/%s has %d revisions, want the first and one roll", namespace, name, n)
		}
	}
	for _, pod := range pods(t, namespace) {
		if !anchorsOf(t, &pod).Equal(want) {
			t.Errorf("pod %s does not carry the bundle", pod.Name)
		}
	}
}

// observed waits until the status is of the spec as it is now.
func (m *meshWorld) observed() {
	m.t.Helper()
	eventually(m.t, time.Minute, func() error {
		if mt := m.status(); mt.Status.ObservedGeneration != mt.Generation {
			return fmt.Errorf("MeshTrust %s: generation %d, observed %d", m.name, mt.Generation, mt.Status.ObservedGeneration)
		}
		return nil
	})
}

// seasoned waits until the bundle has been there for longer than it takes to
// propagate, so that a pod that starts now surely reads it.
func (m *meshWorld) seasoned() {
	m.t.Helper()
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: m.name, Name: injector.BundleConfigMap}}
	if err := env.client.Get(m.t.Context(), client.ObjectKeyFromObject(cm), cm); err != nil {
		m.t.Fatal(err)
	}
	written := cm.CreationTimestamp.Time
	for _, f := range cm.ManagedFields {
		if f.Time.After(written) {
			written = f.Time.Time
		}
	}
	eventually(m.t, time.Minute, func() error {
		if age := time.Since(written); age < 3*time.Second {
			return fmt.Errorf("the bundle of %s is %s old", m.name, age)
		}
		return nil
	})
}
