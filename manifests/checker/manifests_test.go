// Package checker holds the manifests of the checker, and these tests of them.
package checker

import (
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func read(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func TestTheDaemonSetMayReadAndNothingElse(t *testing.T) {
	var d appsv1.DaemonSet
	read(t, "daemonset.yaml", &d)
	pod := d.Spec.Template.Spec
	if !pod.HostNetwork || pod.HostPID || pod.HostIPC || pod.ServiceAccountName != "" || pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Errorf("host namespaces or service account are wrong: %+v", pod)
	}
	if len(pod.Containers) != 1 || len(pod.InitContainers) != 0 {
		t.Fatalf("%d containers", len(pod.Containers))
	}
	c := pod.Containers[0]
	s := c.SecurityContext
	if s.Privileged != nil || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || *s.RunAsUser != 0 {
		t.Errorf("security context %+v", s)
	}
	want := &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"DAC_READ_SEARCH"}}
	if diff := cmp.Diff(want, s.Capabilities); diff != "" {
		t.Errorf("capabilities (-want +got):\n%s", diff)
	}
	propagation := corev1.MountPropagationHostToContainer
	if diff := cmp.Diff([]corev1.VolumeMount{{Name: "host", MountPath: "/host", ReadOnly: true, MountPropagation: &propagation}}, c.VolumeMounts); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]corev1.Volume{{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}}, pod.Volumes); diff != "" {
		t.Errorf("volumes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]corev1.Toleration{{Operator: corev1.TolerationOpExists}}, pod.Tolerations); diff != "" {
		t.Errorf("it must run on every node, tainted ones too (-want +got):\n%s", diff)
	}
	if !slices.Contains(c.Args, "--rootfs=/host") || !slices.Contains(c.Args, "--serve") || !slices.Contains(c.Args, "--no-processes") {
		t.Errorf("arguments %v", c.Args)
	}
	if diff := cmp.Diff(d.Spec.Selector.MatchLabels, d.Spec.Template.Labels); diff != "" {
		t.Errorf("the selector does not select the pods:\n%s", diff)
	}
}

func TestTheOverlayAddsProcessesAndNothingElse(t *testing.T) {
	var base, patch appsv1.DaemonSet
	read(t, "daemonset.yaml", &base)
	read(t, "processes/daemonset.yaml", &patch)
	if patch.Name != base.Name || patch.Namespace != base.Namespace {
		t.Errorf("it patches %s/%s", patch.Namespace, patch.Name)
	}
	pod := patch.Spec.Template.Spec
	want := slices.DeleteFunc(slices.Clone(base.Spec.Template.Spec.Containers[0].Args), func(a string) bool { return a == "--no-processes" })
	if !pod.HostPID || pod.Containers[0].Name != base.Spec.Template.Spec.Containers[0].Name {
		t.Errorf("hostPID or container are wrong: %+v", pod)
	}
	if diff := cmp.Diff(want, pod.Containers[0].Args); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]corev1.Capability{"DAC_READ_SEARCH", "SYS_PTRACE"}, pod.Containers[0].SecurityContext.Capabilities.Add); diff != "" {
		t.Errorf("capabilities (-want +got):\n%s", diff)
	}
}

func TestTheNamespaceAllowsThePod(t *testing.T) {
	var ns corev1.Namespace
	read(t, "namespace.yaml", &ns)
	var d appsv1.DaemonSet
	read(t, "daemonset.yaml", &d)
	if ns.Name != d.Namespace || ns.Labels["pod-security.kubernetes.io/enforce"] != "privileged" {
		t.Errorf("namespace %s with labels %v", ns.Name, ns.Labels)
	}
}

func TestKustomizationsNameFilesThatExist(t *testing.T) {
	for _, dir := range []string{"", "processes/"} {
		var k struct {
			APIVersion, Kind string
			Resources        []string
			Patches          []struct{ Path string }
			Images           []struct{ Name, NewTag string }
		}
		read(t, dir+"kustomization.yaml", &k)
		for _, p := range k.Patches {
			k.Resources = append(k.Resources, p.Path)
		}
		for _, r := range k.Resources {
			if _, err := os.Stat(dir + r); err != nil {
				t.Errorf("%skustomization.yaml: %v", dir, err)
			}
		}
	}
}
