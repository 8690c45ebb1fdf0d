package review_test

import (
	"errors"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/webhook/review"
)

// reference reads a review the slow way: strict JSON by jsontext, then the
// typed objects by the decoder of Kubernetes itself, then mesh.ViewOf.
func reference(text string) (*review.Request, error) {
	if err := strictJSON(text); err != nil {
		return nil, err
	}
	var ar admissionv1.AdmissionReview
	if err := kjson.UnmarshalCaseSensitivePreserveInts([]byte(text), &ar); err != nil {
		return nil, err
	}
	if ar.APIVersion != "admission.k8s.io/v1" || ar.Kind != "AdmissionReview" || ar.Request == nil || ar.Request.UID == "" {
		return nil, errors.New("no review")
	}
	r := ar.Request
	if r.Operation != admissionv1.Create || r.SubResource != "" ||
		r.Kind != (metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}) ||
		r.Resource != (metav1.GroupVersionResource{Version: "v1", Resource: "pods"}) {
		return nil, errors.New("no creation of a pod")
	}
	var pod corev1.Pod
	if err := kjson.UnmarshalCaseSensitivePreserveInts(r.Object.Raw, &pod); err != nil {
		return nil, err
	}
	if pod.Kind != "Pod" || pod.APIVersion != "v1" {
		return nil, errors.New("no pod")
	}
	pod.Namespace = r.Namespace
	pod.Status = corev1.PodStatus{}
	return requestOf(string(r.UID), &pod), nil
}

func requestOf(uid string, pod *corev1.Pod) *review.Request {
	view := mesh.ViewOf(pod)
	view.CreatedAt = time.Time{}
	labels := map[string]string{}
	for k, v := range view.Labels {
		if mesh.RelevantLabel(k) {
			labels[k] = v
		}
	}
	view.Labels = labels
	annotation := func(key string) review.Annotation {
		v, ok := pod.Annotations[key]
		return review.Annotation{Value: v, Present: ok}
	}
	return &review.Request{
		UID: uid, Pod: *view, Annotated: pod.Annotations != nil, OptOut: pod.Annotations[v1alpha1.OptOutAnnotation],
		Claimed: review.Stamp{
			Hash:     annotation(v1alpha1.TrustBundleHashAnnotation),
			NotAfter: annotation(v1alpha1.TrustBundleNotAfterAnnotation),
			By:       annotation(v1alpha1.StampedByAnnotation),
		},
	}
}

// strictJSON refuses what is not one JSON value, in UTF-8, without duplicate
// names.
func strictJSON(text string) error {
	d := jsontext.NewDecoder(strings.NewReader(text))
	if err := d.SkipValue(); err != nil {
		return err
	}
	if _, err := d.ReadToken(); err == nil {
		return errors.New("two values")
	}
	if !jsontext.Value(text).IsValid() {
		return errors.New("not valid")
	}
	return nil
}
