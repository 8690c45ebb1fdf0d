package identity

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/reanchor/reanchor/hack/lab"
)

// heldAnnotation tells the pods that are waiting to be released from those that
// a test wants never to be Ready.
const heldAnnotation = "lab.reanchor.dev/held"

// Hold makes pods of a template wait: they run, and are Ready only when they have
// been released. A replica of identity is, once it has started; any other meshed
// pod once its proxy has a leaf (package proxies).
//
// The lab's never-ready annotation holds the pod, and releasing removes it; the
// ready-delay annotation, which the template may set, is what then makes it Ready.
func Hold(template *metav1.ObjectMeta) {
	if template.Annotations == nil {
		template.Annotations = map[string]string{}
	}
	template.Annotations[heldAnnotation] = "true"
	template.Annotations[lab.NeverReadyAnnotation] = "true"
	if _, set := template.Annotations[lab.ReadyDelayAnnotation]; !set {
		template.Annotations[lab.ReadyDelayAnnotation] = "0s"
	}
}

// Held tells whether a pod waits to be released.
func Held(pod *metav1.ObjectMeta) bool {
	return pod.Annotations[heldAnnotation] == "true" && pod.Annotations[lab.NeverReadyAnnotation] == "true"
}

// Release lets a pod become Ready. One that is gone is no error.
func Release(ctx context.Context, client kubernetes.Interface, pod types.NamespacedName) error {
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:null}}}`, lab.NeverReadyAnnotation)
	_, err := client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("releasing pod %s: %w", pod, err)
	}
	return nil
}
