package linkerd

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab/identity"
	"github.com/reanchor/reanchor/hack/lab/injector"
)

// The components of the control plane: values of ComponentLabel. The Deployments
// are called linkerd-NAME.
const (
	ComponentIdentity    = "identity"
	ComponentDestination = "destination"
	ComponentInjector    = "proxy-injector"
)

const (
	proxyContainer  = "linkerd-proxy"
	anchorsVariable = "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"
	injectKey       = "linkerd.io/inject"
	enabled         = "enabled"
	disabled        = "disabled"
)

// createNamespaces makes those of the control plane, of the application and of
// dry runs.
func (m *Mesh) createNamespaces(ctx context.Context) error {
	namespaces := []*corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: m.Mesh}}}
	for i := range m.options.Namespaces {
		namespaces = append(namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: m.Namespace(i), Labels: m.own(), Annotations: map[string]string{injectKey: enabled},
		}})
	}
	if m.Mesh != DefaultName {
		labels := m.own()
		labels[v1alpha1.ProbeForLabel] = m.Mesh
		labels["pod-security.kubernetes.io/enforce"] = "privileged"
		namespaces = append(namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: m.Probe, Labels: labels}})
	}
	for _, ns := range namespaces {
		if err := m.Client.Create(ctx, ns); client.IgnoreAlreadyExists(err) != nil {
			return fmt.Errorf("creating namespace %s: %w", ns.Name, err)
		}
	}
	// As Linkerd's chart labels its own namespace, which may be there already.
	labels := []byte(`{"metadata":{"labels":{"linkerd.io/is-control-plane":"true","config.linkerd.io/admission-webhooks":"disabled"}}}`)
	if err := m.Client.Patch(ctx, namespaces[0], client.RawPatch("application/merge-patch+json", labels)); err != nil {
		return fmt.Errorf("labelling namespace %s: %w", m.Mesh, err)
	}
	return nil
}

// own are the labels of a namespace whose pods are this mesh's to inject.
func (m *Mesh) own() map[string]string {
	if m.Mesh == DefaultName {
		return map[string]string{}
	}
	return map[string]string{injector.MeshLabel: m.Mesh}
}

// Namespace i of the application.
func (m *Mesh) Namespace(i int) string { return fmt.Sprintf("%s-app-%d", m.Mesh, i+1) }

// createComponent creates a Deployment of the control plane.
func (m *Mesh) createComponent(ctx context.Context, component string, replicas int) error {
	name, count := "linkerd-"+component, int32(replicas)
	labels := map[string]string{AppLabel: name, ComponentLabel: component, ControlPlaneLabel: m.Mesh}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{injectKey: disabled}},
		Spec:       m.componentSpec(component),
	}
	identity.Hold(&template.ObjectMeta)
	surge, none := intstr.FromInt32(1), intstr.FromInt32(0)
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: m.Mesh, Name: name, Labels: map[string]string{ComponentLabel: component}},
		Spec: appsv1.DeploymentSpec{
			Replicas: &count, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{AppLabel: name}}, Template: template,
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &none},
			},
		},
	}
	if err := m.Client.Create(ctx, d); err != nil {
		return fmt.Errorf("creating Deployment %s: %w", name, err)
	}
	m.workloads = append(m.workloads, Workload{Namespace: m.Mesh, Kind: "Deployment", Name: name, Pods: replicas, ControlPlane: true})
	return nil
}

// Scale changes how many pods a part of the control plane has. It does not wait
// for them.
func (m *Mesh) Scale(ctx context.Context, component string, pods int) error {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: m.Mesh, Name: "linkerd-" + component}}
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, pods)
	if err := m.Client.Patch(ctx, d, client.RawPatch("application/merge-patch+json", patch)); err != nil {
		return fmt.Errorf("scaling Deployment %s: %w", d.Name, err)
	}
	return nil
}

// componentSpec is that of the chart: the proxy refers to the bundle, and the
// component mounts it.
func (m *Mesh) componentSpec(component string) corev1.PodSpec {
	always := corev1.ContainerRestartPolicyAlways
	roots := corev1.LocalObjectReference{Name: m.Bundle}
	spec := corev1.PodSpec{
		InitContainers: []corev1.Container{{
			Name: proxyContainer, Image: "proxy", RestartPolicy: &always,
			Env: []corev1.EnvVar{{Name: "_l5d_ns", Value: m.Mesh}, {Name: anchorsVariable, ValueFrom: &corev1.EnvVarSource{
				ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: roots, Key: identity.BundleKey},
			}}},
		}},
		Containers: []corev1.Container{{
			Name: component, Image: "controller",
			VolumeMounts: []corev1.VolumeMount{{Name: "trust-roots", MountPath: "/var/run/linkerd/identity/trust-roots/"}},
		}},
		Volumes: []corev1.Volume{{Name: "trust-roots", VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: roots},
		}}},
	}
	if component == ComponentIdentity {
		m.addIssuer(&spec)
	}
	return spec
}

// addIssuer gives the identity component its arguments and its issuer.
func (m *Mesh) addIssuer(spec *corev1.PodSpec) {
	c := &spec.Containers[0]
	c.Args = []string{
		"identity", "-controller-namespace=" + m.Mesh, "-identity-trust-domain=cluster.local",
		"-identity-issuance-lifetime=" + m.options.Times.Leaf.String(),
		"-identity-clock-skew-allowance=" + m.options.Times.Skew.String(),
		"-identity-scheme=kubernetes.io/tls",
	}
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "identity-issuer", MountPath: "/var/run/linkerd/identity/issuer"})
	spec.Volumes = append(spec.Volumes, corev1.Volume{Name: "identity-issuer", VolumeSource: corev1.VolumeSource{
		Secret: &corev1.SecretVolumeSource{SecretName: m.Names.Issuer},
	}})
}

// injected asks for a dry run of a pod.
func (m *Mesh) injected(ctx context.Context) error {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace(0), GenerateName: "dry-"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
	if err := m.Client.Create(ctx, pod, client.DryRunAll); err != nil {
		return fmt.Errorf("making a dry run: %w", err)
	}
	if pod.Labels[ControlPlaneLabel] != m.Mesh {
		return errors.New("a pod was not injected")
	}
	return nil
}
