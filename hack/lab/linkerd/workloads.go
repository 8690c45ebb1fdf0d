package linkerd

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/lab/identity"
)

// Workload is one of the mesh, as it was made.
type Workload struct {
	Namespace, Kind, Name string
	// Pods is how many it has.
	Pods         int
	ControlPlane bool
}

// replicas is how many pods a workload of the application has, a DaemonSet too:
// it is kept to so many nodes.
const replicas = 2

// createWorkloads makes the application and waits for it.
func (m *Mesh) createWorkloads(ctx context.Context) error {
	for i := range m.options.Workloads {
		w := Workload{Namespace: m.Namespace(i % m.options.Namespaces), Kind: "Deployment", Name: fmt.Sprintf("app-%d", i+1), Pods: replicas}
		d := Deployment(w, i%2 == 1)
		template, object := &d.Spec.Template, client.Object(d)
		switch i % 8 {
		case 3:
			s := statefulSet(w)
			w.Kind, template, object = "StatefulSet", &s.Spec.Template, s
		case 7:
			s := daemonSet(w)
			w.Kind, template, object = "DaemonSet", &s.Spec.Template, s
		}
		template.Annotations[lab.ReadyDelayAnnotation] = m.options.ReadyDelay.String()
		if err := m.Client.Create(ctx, object); err != nil {
			return fmt.Errorf("creating %s %s/%s: %w", w.Kind, w.Namespace, w.Name, err)
		}
		m.workloads = append(m.workloads, w)
	}
	return m.awaitReady(ctx)
}

// Template is the pod template of a workload of the application. Its pods take a
// second to end, as processes do.
func Template(app string) corev1.PodTemplateSpec {
	t := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{
			Labels: map[string]string{AppLabel: app}, Annotations: map[string]string{lab.TerminateDelayAnnotation: "1s"},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
	identity.Hold(&t.ObjectMeta)
	return t
}

func selector(app string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{AppLabel: app}}
}

// Deployment makes the object of a workload. A tight one has no room for pods
// above its count: one of its pods is down while it rolls.
func Deployment(w Workload, tight bool) *appsv1.Deployment {
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: w.Name},
		Spec:       appsv1.DeploymentSpec{Replicas: new(int32(w.Pods)), Selector: selector(w.Name), Template: Template(w.Name)},
	}
	if tight {
		d.Spec.Strategy = appsv1.DeploymentStrategy{
			Type:          appsv1.RollingUpdateDeploymentStrategyType,
			RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: new(intstr.FromInt32(0)), MaxUnavailable: new(intstr.FromInt32(1))},
		}
	}
	return d
}

func statefulSet(w Workload) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: w.Name},
		Spec: appsv1.StatefulSetSpec{
			Replicas: new(int32(w.Pods)), ServiceName: w.Name, Selector: selector(w.Name), Template: Template(w.Name),
			PodManagementPolicy: appsv1.ParallelPodManagement,
		},
	}
}

func daemonSet(w Workload) *appsv1.DaemonSet {
	d := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: w.Name},
		Spec:       appsv1.DaemonSetSpec{Selector: selector(w.Name), Template: Template(w.Name)},
	}
	var nodes []string
	for i := range w.Pods {
		nodes = append(nodes, fmt.Sprintf("lab-node-%d", i))
	}
	d.Spec.Template.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: nodes}},
		}}},
	}}
	return d
}

// Workloads are all of the mesh, its control plane first.
func (m *Mesh) Workloads() []Workload { return m.workloads }

// awaitReady waits until every workload made so far has just its pods, all Ready.
func (m *Mesh) awaitReady(ctx context.Context) error {
	return await(ctx, "all pods to be Ready", func(ctx context.Context) error {
		var list corev1.PodList
		if err := m.Client.List(ctx, &list, client.MatchingLabels{ControlPlaneLabel: m.Mesh}); err != nil {
			return fmt.Errorf("listing pods: %w", err)
		}
		ready := map[string]int{}
		for i := range list.Items {
			if p := &list.Items[i]; serves(p) {
				ready[p.Namespace+"/"+p.Labels[AppLabel]]++
			}
		}
		for _, w := range m.workloads {
			if have := ready[w.Namespace+"/"+w.Name]; have != w.Pods {
				return fmt.Errorf("%s %s/%s has %d Ready pods of %d", w.Kind, w.Namespace, w.Name, have, w.Pods)
			}
		}
		return nil
	})
}

// serves tells whether a pod is Ready and stays.
func serves(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil
		}
	}
	return false
}
