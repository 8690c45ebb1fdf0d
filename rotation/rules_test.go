package rotation

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/rollout"
)

func TestNamespacesBelongToWaves(t *testing.T) {
	mt := &v1alpha1.MeshTrust{Spec: v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd}}
	spec := mt.EffectiveSpec()
	w, err := newWaves(&spec)
	if err != nil {
		t.Fatal(err)
	}
	namespace := func(name string, labels map[string]string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	}
	for name, tc := range map[string]struct {
		namespace *corev1.Namespace
		want      string
	}{
		"the control plane's own":              {namespace("linkerd", nil), v1alpha1.WaveControlPlane},
		"an extension":                         {namespace("linkerd-viz", map[string]string{"linkerd.io/extension": "viz"}), v1alpha1.WaveExtensions},
		"any other":                            {namespace("shop", nil), v1alpha1.WaveRest},
		"one that is not in the cache is last": {nil, v1alpha1.WaveRest},
	} {
		t.Run(name, func(t *testing.T) {
			if got := w.names[w.of(tc.namespace)]; got != tc.want {
				t.Errorf("wave %s, want %s", got, tc.want)
			}
		})
	}
	spec.Rollout.Waves = []v1alpha1.Wave{{Name: "bad", NamespaceSelector: &metav1.LabelSelector{
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}}}}
	if _, err := newWaves(&spec); err == nil || !strings.Contains(err.Error(), "wave bad") {
		t.Errorf("a selector that cannot be read gives %v, want an error that names its wave", err)
	}
}

func TestTheBudgetIsAtLeastOneAndBounded(t *testing.T) {
	zones := func(string) (*time.Location, error) { return time.UTC, nil }
	for workloads, want := range map[int]int{0: 1, 1: 1, 9: 1, 11: 2, 100: 10, 100_000: v1alpha1.MaxInProgress} {
		mt := &v1alpha1.MeshTrust{Spec: v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd}}
		spec := mt.EffectiveSpec()
		p, err := policyOf(&spec, workloads, zones)
		if err != nil {
			t.Fatal(err)
		}
		if p.MaxConcurrent != want {
			t.Errorf("10%% of %d workloads are %d, want %d", workloads, p.MaxConcurrent, want)
		}
	}
}

func TestOnlyWebhooksThatChangeNewPodsAfterTheStampAreNamed(t *testing.T) {
	webhook := func(name, resource string, operations ...admissionregistrationv1.OperationType) admissionregistrationv1.MutatingWebhookConfiguration {
		return admissionregistrationv1.MutatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Webhooks: []admissionregistrationv1.MutatingWebhook{{Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: operations,
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, Resources: []string{resource}},
			}}}},
		}
	}
	stamp := func(name string) admissionregistrationv1.MutatingWebhookConfiguration {
		c := webhook(name, "pods", admissionregistrationv1.Create)
		c.Webhooks[0].Name = "stamp.reanchor.dev"
		return c
	}
	others := []admissionregistrationv1.MutatingWebhookConfiguration{
		webhook("zzz-injector", "pods", admissionregistrationv1.Create),
		webhook("linkerd-proxy-injector-webhook-config", "pods", admissionregistrationv1.Create),
		webhook("zzz-services", "services", admissionregistrationv1.Create),
		webhook("zzz-updates", "pods", admissionregistrationv1.Update),
		webhook("zzy-all", "*", admissionregistrationv1.OperationAll),
	}
	for name, tc := range map[string]struct {
		all  []admissionregistrationv1.MutatingWebhookConfiguration
		want stampOrder
	}{
		"under its usual name":          {append(others, stamp("zz-reanchor-stamp")), stampOrder{"zz-reanchor-stamp", []string{"zzy-all", "zzz-injector"}}},
		"under another name":            {append(others, stamp("zzz-a")), stampOrder{"zzz-a", []string{"zzz-injector"}}},
		"under a name that is the last": {append(others, stamp("zzzz")), stampOrder{stamp: "zzzz"}},
		"not registered":                {others, stampOrder{"zz-reanchor-stamp", []string{"zzy-all", "zzz-injector"}}},
	} {
		if diff := cmp.Diff(tc.want, stampOrderOf(tc.all), cmp.AllowUnexported(stampOrder{})); diff != "" {
			t.Errorf("a stamp %s (-want +got):\n%s", name, diff)
		}
	}
}

func TestTheMirroredLabelIsToldFromAHumansOwn(t *testing.T) {
	label := map[string]string{v1alpha1.AdmissionLabel: v1alpha1.AdmissionDisabled}
	fields := func(manager, json string) []metav1.ManagedFieldsEntry {
		return []metav1.ManagedFieldsEntry{{Manager: manager, FieldsV1: metav1.NewFieldsV1(json)}}
	}
	const owned = `{"f:metadata":{"f:labels":{"f:reanchor.dev/admission":{}}}}`
	for name, tc := range map[string]struct {
		labels map[string]string
		fields []metav1.ManagedFieldsEntry
		want   bool
	}{
		"set by the controller":              {label, fields(optOutManager, owned), true},
		"set by a human":                     {label, fields("kubectl", owned), false},
		"the controller owns another field":  {label, fields(optOutManager, `{"f:metadata":{"f:labels":{"f:other":{}}}}`), false},
		"not set":                            {nil, nil, false},
		"set to something else since":        {map[string]string{v1alpha1.AdmissionLabel: "x"}, fields(optOutManager, owned), false},
		"fields that cannot be read own not": {label, fields(optOutManager, `[`), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := mirrored(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Labels: tc.labels, ManagedFields: tc.fields}}); got != tc.want {
				t.Errorf("mirrored: %v, want %v", got, tc.want)
			}
		})
	}
}

func TestAProbesAnswerIsJudgedByWhatItCarries(t *testing.T) {
	ca := anchors(t, 2)
	old, both := bundle.Of(ca[0].Cert), bundle.Of(ca[0].Cert, ca[1].Cert)
	trust := func(s bundle.Set) mesh.Trust { return mesh.Trust{Knowledge: mesh.Known, Sure: s, Maybe: s} }
	for name, tc := range map[string]struct {
		trust mesh.Trust
		want  rollout.ProbeOutcome
	}{
		"the published bundle":           {trust(both), rollout.AllFresh},
		"an older bundle":                {trust(old), rollout.SomeStale},
		"nothing that can be told":       {mesh.Trust{Why: "x"}, rollout.Refused},
		"no certificate at all is stale": {trust(bundle.Set{}), rollout.SomeStale},
	} {
		t.Run(name, func(t *testing.T) {
			if got := judge(tc.trust, both, at(0)); got.outcome != tc.want {
				t.Errorf("outcome %v, want %v", got.outcome, tc.want)
			}
		})
	}
}

// A bundle that is taken back and published again is another publication: what the
// injectors served at the first says nothing of the second.
func TestProbesCountForThePublicationTheyWereMadeFor(t *testing.T) {
	first := rollout.Bundle{Hash: "v1:a", PublishedAt: at(0), SeenAt: at(1)}
	for name, tc := range map[string]struct {
		now  rollout.Bundle
		want rollout.ProbeOutcome
	}{
		"the same":                        {first, rollout.Refused},
		"another bundle":                  {rollout.Bundle{Hash: "v1:b", PublishedAt: at(0), SeenAt: at(1)}, rollout.NotProbed},
		"the same bundle, published anew": {rollout.Bundle{Hash: "v1:a", PublishedAt: at(60), SeenAt: at(61)}, rollout.NotProbed},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFence(interceptor.NewClient(fake.NewFakeClient(), interceptor.Funcs{
				Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
					return errors.New("no")
				},
			}), "probe")
			o := &observation{mesh: mesh.Mesh{Profile: mesh.Linkerd}}
			o.facts.Bundle = first
			f.probe(t.Context(), "m", o, at(10))
			o.facts.Bundle = tc.now
			if got := f.evidence("m", o, at(20)); got.Probe != tc.want {
				t.Errorf("outcome %v, want %v", got.Probe, tc.want)
			}
		})
	}
}
