package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// The whole way out of an outage of the webhook, with kubectl alone: while no
// replica lives, the namespace is annotated, the controller mirrors that to the
// label, and the API server lets its meshed pods through; the other namespace
// still waits. When the annotation goes the label goes, and pods are refused
// again. The webhook's registrations have fixed names, so this scenario does not
// run beside others.
func TestAnOptedOutNamespaceGoesOnWithoutTheWebhook(t *testing.T) {
	m := newMesh(t, meshOptions{spec: quick()})
	out, other := m.namespace("out"), m.namespace("other")
	m.awaitConverged(time.Minute, m.root)
	kill := m.webhookFor(out, other)
	for _, ns := range []string{out, other} {
		eventually(t, time.Minute, func() error { return m.admitted(ns, true) })
	}

	kill()
	for _, ns := range []string{out, other} {
		if err := m.waitsForTheWebhook(ns); err != nil {
			t.Fatal(err)
		}
	}
	annotateNamespace(t, out, map[string]string{v1alpha1.OptOutAnnotation: v1alpha1.OptOutAdmission})
	eventually(t, time.Minute, func() error { return m.admitted(out, false) })
	if label := get(t, "", out, &corev1.Namespace{}).Labels[v1alpha1.AdmissionLabel]; label != v1alpha1.AdmissionDisabled {
		t.Errorf("a meshed pod is admitted and the label is %q", label)
	}
	if err := m.waitsForTheWebhook(other); err != nil {
		t.Errorf("the other namespace: %v", err)
	}

	annotateNamespace(t, out, map[string]string{v1alpha1.OptOutAnnotation: ""})
	eventually(t, time.Minute, func() error { return m.waitsForTheWebhook(out) })
	if label, there := get(t, "", out, &corev1.Namespace{}).Labels[v1alpha1.AdmissionLabel]; there {
		t.Errorf("pods are refused again and the label is still %q", label)
	}
}

// meshed is a pod that the mesh's injector is going to inject.
func meshed(namespace string) *corev1.Pod {
	template := podTemplate("bare", nil)
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "p-", Labels: template.Labels}, Spec: template.Spec}
}

// admitted creates a meshed pod and returns nil if that worked, with the stamp
// or without.
func (m *meshWorld) admitted(namespace string, stamped bool) error {
	m.t.Helper()
	pod := meshed(namespace)
	if err := env.client.Create(m.t.Context(), pod); err != nil {
		return err
	}
	anchorsOf(m.t, pod) // it is meshed
	if stamp := pod.Annotations[v1alpha1.TrustBundleHashAnnotation]; (stamp != "") != stamped {
		return fmt.Errorf("the pod's stamp is %q, want one: %v", stamp, stamped)
	}
	return nil
}

// waitsForTheWebhook returns nil if a meshed pod is refused by the API server
// itself, since nobody answers for the webhook.
func (m *meshWorld) waitsForTheWebhook(namespace string) error {
	m.t.Helper()
	err := env.client.Create(m.t.Context(), meshed(namespace))
	if !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), `failed calling webhook "validate.reanchor.dev"`) {
		return fmt.Errorf("want a meshed pod refused by the API server, got %v", err)
	}
	return nil
}
