package owner

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Strip is the transform of the cache of Deployments, StatefulSets and
// DaemonSets: it keeps what Reader reads and drops the rest, which is most of
// every object. It may be applied twice.
func Strip(obj any) (any, error) {
	switch o := obj.(type) {
	case *appsv1.Deployment:
		stripMeta(&o.ObjectMeta)
		stripTemplate(&o.Spec.Template)
		o.Status.Conditions = nil
	case *appsv1.StatefulSet:
		stripMeta(&o.ObjectMeta)
		stripTemplate(&o.Spec.Template)
		o.Spec.VolumeClaimTemplates, o.Status.Conditions = nil, nil
	case *appsv1.DaemonSet:
		stripMeta(&o.ObjectMeta)
		stripTemplate(&o.Spec.Template)
		o.Status.Conditions = nil
	}
	return obj, nil
}

func stripMeta(m *metav1.ObjectMeta) {
	m.ManagedFields, m.OwnerReferences = nil, nil
	for key := range m.Annotations {
		if !strings.HasPrefix(key, "reanchor.dev/") {
			delete(m.Annotations, key)
		}
	}
}

// stripTemplate keeps the labels, Reanchor's annotations, and of the containers
// those variables whose literal value is a certificate.
func stripTemplate(t *corev1.PodTemplateSpec) {
	stripMeta(&t.ObjectMeta)
	t.Spec = corev1.PodSpec{
		InitContainers: stripContainers(t.Spec.InitContainers),
		Containers:     stripContainers(t.Spec.Containers),
	}
}

func stripContainers(containers []corev1.Container) []corev1.Container {
	out := make([]corev1.Container, 0, len(containers))
	for i := range containers {
		c := &containers[i]
		kept := corev1.Container{Name: c.Name, RestartPolicy: c.RestartPolicy}
		for _, e := range c.Env {
			if strings.Contains(e.Value, "-----BEGIN") {
				kept.Env = append(kept.Env, e)
			}
		}
		out = append(out, kept)
	}
	return out
}
