package admission

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// plain is a pod that has nothing but what a pod must have: no labels and no
// annotations, for example.
func plain(namespace string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "p-", Namespace: namespace},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "a"}}},
	}
}

// plainProxy is such a pod with a proxy, which says itself to which control plane
// it belongs.
func plainProxy(namespace, controlPlane, anchors string) *corev1.Pod {
	pod := plain(namespace)
	pod.Spec.Containers[0].Name = "linkerd-proxy"
	pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "_l5d_ns", Value: controlPlane}, {Name: anchorsEnv, Value: anchors}}
	return pod
}

// matchConditions is how often the API server kept a pod away from one of the
// two webhooks, and how often an expression failed for one, since it started. An
// expression that fails denies a pod in place of the validating webhook; the
// stamp is left out without a word, so that only this counter tells.
func matchConditions(t *testing.T) (keptAway, failed float64) {
	t.Helper()
	text, err := shared.kube.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	sum := func(what string) (n float64) {
		for _, m := range families["apiserver_admission_match_condition_"+what+"_total"].GetMetric() {
			if strings.HasSuffix(labels(m)["name"], "."+v1alpha1.Group) {
				n += m.GetCounter().GetValue()
			}
		}
		return n
	}
	return sum("exclusions"), sum("evaluation_errors")
}

func TestAMeshedPodWithoutLabelsAndAnnotationsIsJudged(t *testing.T) {
	valid, expired := root(t, "valid", -time.Hour, time.Hour), root(t, "expired", -2*time.Hour, -time.Hour)
	linkerd(t, "plain", v1alpha1.AdmissionSpec{}, bundle.Of(valid.Cert))
	ns := namespace(t, "plain", nil)
	_, failed := matchConditions(t)
	pod, _, err := create(t, plainProxy(ns, "plain", valid.PEM()))
	if err != nil {
		t.Fatal(err)
	}
	if got := stampOf(pod)[v1alpha1.TrustBundleHashAnnotation]; got != bundle.Of(valid.Cert).Hash() {
		t.Errorf("the stamp is %q", got)
	}
	_, _, err = create(t, plainProxy(ns, "plain", expired.PEM()))
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `mesh "plain"`) {
		t.Errorf("with an expired bundle: %v", err)
	}
	// One that no mesh claims gets no stamp: the validating webhook's conditions
	// see it without annotations too.
	if _, _, err := create(t, plainProxy(ns, "elsewhere", expired.PEM())); err != nil {
		t.Errorf("of a mesh that is not known here: %v", err)
	}
	if _, after := matchConditions(t); after != failed {
		t.Errorf("%v match conditions failed", after-failed)
	}
}
