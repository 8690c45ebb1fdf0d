package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	eventsv1 "k8s.io/api/events/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// A webhook that changes new pods after the stamp is named, as long as it is
// there: what it injects carries no stamp. Every mesh of the lab says so, so
// this scenario does not run beside others.
func TestWebhooksThatRunAfterTheStampAreNamed(t *testing.T) {
	m := newMesh(t, meshOptions{spec: quick()})
	m.awaitConverged(time.Minute, m.root)
	m.await(time.Minute, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.Converged)
	earlier := lateWebhook(t, "zy-before-the-stamp", "pods", admissionregistrationv1.Create)
	other := lateWebhook(t, "zzz-of-services", "services", admissionregistrationv1.Create)
	updates := lateWebhook(t, "zzz-of-updates", "pods", admissionregistrationv1.Update)
	late := lateWebhook(t, "zzz-late-injector", "pods", admissionregistrationv1.Create)

	mt := m.lookUntilReadySays(v1alpha1.StampOrder)
	message := apimeta.FindStatusCondition(mt.Status.Conditions, v1alpha1.ConditionReady).Message
	if !strings.Contains(message, late.Name) {
		t.Errorf("the message does not name %s: %s", late.Name, message)
	}
	for _, c := range []*admissionregistrationv1.MutatingWebhookConfiguration{earlier, other, updates} {
		if strings.Contains(message, c.Name) {
			t.Errorf("the message names %s, which injects nothing after the stamp: %s", c.Name, message)
		}
	}
	eventually(t, time.Minute, func() error {
		if !slices.ContainsFunc(events(t, "default"), func(e eventsv1.Event) bool {
			return e.Regarding.Name == m.name && e.Reason == string(v1alpha1.StampOrder) && strings.Contains(e.Note, late.Name)
		}) {
			return fmt.Errorf("there is no event that names %s", late.Name)
		}
		return nil
	})

	if err := env.client.Delete(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	m.lookUntilReadySays(v1alpha1.Converged)
}

// lookUntilReadySays has the mesh looked at until Ready has a reason. One in
// which nothing happens is looked at each half minute only.
func (m *meshWorld) lookUntilReadySays(reason v1alpha1.Reason) *v1alpha1.MeshTrust {
	m.t.Helper()
	var last *v1alpha1.MeshTrust
	looks := 0
	eventually(m.t, time.Minute, func() error {
		looks++
		m.update(func(mt *v1alpha1.MeshTrust) {
			metav1.SetMetaDataAnnotation(&mt.ObjectMeta, "e2e.reanchor.dev/look", fmt.Sprint(looks))
		})
		last = m.status()
		if c := apimeta.FindStatusCondition(last.Status.Conditions, v1alpha1.ConditionReady); c.Status != metav1.ConditionTrue || c.Reason != string(reason) {
			return fmt.Errorf("want Ready with the reason %s, have %s", reason, describe(last))
		}
		return nil
	})
	return last
}

// lateWebhook registers a webhook that no object reaches.
func lateWebhook(t *testing.T, name, resource string, operation admissionregistrationv1.OperationType) *admissionregistrationv1.MutatingWebhookConfiguration {
	t.Helper()
	url, none := "https://localhost:1/", admissionregistrationv1.SideEffectClassNone
	c := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "inject.example.com", ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &url},
			SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"nobody": "has-this"}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{operation},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{resource}},
			}},
		}},
	}
	create(t, c)
	t.Cleanup(func() { env.client.Delete(context.Background(), c) })
	return c
}
