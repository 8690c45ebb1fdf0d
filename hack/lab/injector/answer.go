package injector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxReview is more than the API server ever sends.
const maxReview = 16 << 20

// answer is the handler of one replica.
func (i *Injector) answer(r *replica) http.HandlerFunc {
	return func(w http.ResponseWriter, request *http.Request) {
		var review admissionv1.AdmissionReview
		err := json.NewDecoder(io.LimitReader(request.Body, maxReview)).Decode(&review)
		if err != nil || review.Request == nil {
			http.Error(w, "no AdmissionReview", http.StatusBadRequest)
			return
		}
		text, known := i.watches.text(i.replicas.cut(r))
		review.Response, err = i.respond(request.Context(), review.Request, text, known)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		review.Request = nil
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(review) // a write that fails is the caller's loss
	}
}

func (i *Injector) respond(ctx context.Context, request *admissionv1.AdmissionRequest, text string, known bool) (*admissionv1.AdmissionResponse, error) {
	response := &admissionv1.AdmissionResponse{UID: request.UID, Allowed: true}
	var pod corev1.Pod
	if err := json.Unmarshal(request.Object.Raw, &pod); err != nil {
		return nil, fmt.Errorf("reading the pod: %w", err)
	}
	// Read each time: a cached namespace may be older than the pod.
	namespace, err := i.client.CoreV1().Namespaces().Get(ctx, request.Namespace, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading the pod's namespace: %w", err)
	}
	if !wanted(&pod, namespace.Annotations) {
		return response, nil
	}
	if !known {
		return nil, errors.New("there is no trust bundle yet: ConfigMap " + i.options.ControlPlane + "/" + i.options.Bundle)
	}
	patch, err := inject(&pod, target{request.Namespace, namespace.Annotations, i.options.ControlPlane}, text)
	if err != nil {
		return nil, err
	}
	if response.Patch, err = json.Marshal(patch); err != nil {
		return nil, fmt.Errorf("encoding the patch: %w", err)
	}
	kind := admissionv1.PatchTypeJSONPatch
	response.PatchType = &kind
	return response, nil
}
