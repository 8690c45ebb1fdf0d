package nudge

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/owner"
)

// manager owns the annotation. It is not the manager that rolls: an apply of
// that one without its mark would take the mark back, which is a roll.
const manager = v1alpha1.FieldManager + "-nudge"

// wake writes the annotation, if the owner still lacks pods. What the API server
// answers is not wrapped: an admission rule of somebody else's may quote a
// certificate of the owner's pods, and the error is logged.
func (n *Nudger) wake(ctx context.Context, a Action) error {
	object := objectOf(a.Owner)
	if object == nil {
		return nil
	}
	err := n.Live.Get(ctx, client.ObjectKey{Namespace: a.Owner.Namespace, Name: a.Owner.Name}, object)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("reading %s %s/%s: %s", a.Owner.Kind, a.Owner.Namespace, a.Owner.Name, owner.Refusal(err))
	case !lacksPods(object):
		return nil
	}
	u := &unstructured.Unstructured{}
	u.SetAPIVersion("apps/v1")
	u.SetKind(a.Owner.Kind)
	u.SetNamespace(a.Owner.Namespace)
	u.SetName(a.Owner.Name)
	u.SetUID(object.GetUID())
	u.SetAnnotations(map[string]string{v1alpha1.NudgedAnnotation: a.Value})
	err = n.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(manager), client.ForceOwnership)
	if err == nil {
		n.Recorder.Eventf(object, nil, corev1.EventTypeNormal, string(v1alpha1.Nudged), "Nudge",
			"woken from back-off: the reason for which its pods were refused is gone")
	}
	if err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("waking %s %s/%s: %s", a.Owner.Kind, a.Owner.Namespace, a.Owner.Name, owner.Refusal(err))
	}
	return nil
}

func objectOf(o Owner) client.Object {
	switch o.Kind {
	case "ReplicaSet":
		return &appsv1.ReplicaSet{}
	case "StatefulSet":
		return &appsv1.StatefulSet{}
	case "DaemonSet":
		return &appsv1.DaemonSet{}
	default:
		return nil
	}
}

func lacksPods(object client.Object) bool {
	switch o := object.(type) {
	case *appsv1.ReplicaSet:
		return o.Spec.Replicas != nil && o.Status.Replicas < *o.Spec.Replicas
	case *appsv1.StatefulSet:
		return o.Spec.Replicas != nil && o.Status.Replicas < *o.Spec.Replicas
	case *appsv1.DaemonSet:
		return o.Status.CurrentNumberScheduled < o.Status.DesiredNumberScheduled
	default:
		return false
	}
}
