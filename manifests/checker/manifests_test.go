// Package checker holds the manifests of the checker, and these tests of them.
package checker

import (
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/reanchor/reanchor/manifests/manifeststest"
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
	if s.SELinuxOptions == nil || s.SELinuxOptions.Type != "spc_t" || s.AppArmorProfile != nil {
		t.Errorf("SELinux %+v, AppArmor %+v", s.SELinuxOptions, s.AppArmorProfile)
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
	if diff := cmp.Diff(map[string]string{corev1.LabelOSStable: "linux"}, pod.NodeSelector); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	if !slices.Contains(c.Args, "--rootfs=/host") || !slices.Contains(c.Args, "--serve") || !slices.Contains(c.Args, "--no-processes") {
		t.Errorf("arguments %v", c.Args)
	}
	if diff := cmp.Diff(d.Spec.Selector.MatchLabels, d.Spec.Template.Labels); diff != "" {
		t.Errorf("the selector does not select the pods:\n%s", diff)
	}
}

// made decodes an object that kustomize makes of a kustomization.
func made(t *testing.T, kustomization, key string, into any) {
	t.Helper()
	u := manifeststest.Render(t, "..", kustomization)[key]
	if u == nil {
		t.Fatalf("there is no %s", key)
	}
	text, err := yaml.Marshal(u.Object)
	if err == nil {
		err = yaml.UnmarshalStrict(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
}

// alone is the checker without any component.
const alone = "resources: [../manifests/checker]\n"

func TestTheComponentAddsProcessesAndNothingElse(t *testing.T) {
	const daemonset = "DaemonSet reanchor-checker/reanchor-checker"
	var base, with appsv1.DaemonSet
	made(t, alone, daemonset, &base)
	made(t, alone+"components: [../manifests/checker/processes]\n", daemonset, &with)
	want := &base.Spec.Template.Spec
	want.HostPID = true
	c := &want.Containers[0]
	c.Args = slices.DeleteFunc(slices.Clone(c.Args), func(a string) bool { return a == "--no-processes" })
	c.SecurityContext.Capabilities.Add = append(c.SecurityContext.Capabilities.Add, "SYS_PTRACE")
	c.SecurityContext.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	if diff := cmp.Diff(base, with); diff != "" {
		t.Errorf("it (-want +got):\n%s", diff)
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
	// Clusters that admit critical pods only under a quota would admit none.
	var q corev1.ResourceQuota
	made(t, alone, "ResourceQuota reanchor-checker/reanchor-critical-pods", &q)
	want := []corev1.ScopedResourceSelectorRequirement{{ScopeName: corev1.ResourceQuotaScopePriorityClass,
		Operator: corev1.ScopeSelectorOpIn, Values: []string{d.Spec.Template.Spec.PriorityClassName}}}
	if diff := cmp.Diff(want, q.Spec.ScopeSelector.MatchExpressions); diff != "" {
		t.Errorf("the quota is for other pods (-want +got):\n%s", diff)
	}
	if nodes := q.Spec.Hard.Pods().Value(); nodes < 2*5000 {
		t.Errorf("%d pods are fewer than a large cluster has while they are replaced", nodes)
	}
}

// In the host's network a server listens on every address of the node, unless it
// is told which. kubelet replaces $(HOST_IP) only by what stands before.
func TestItListensOnTheAddressOfTheNodeAlone(t *testing.T) {
	var d appsv1.DaemonSet
	read(t, "daemonset.yaml", &d)
	var names []string
	for _, e := range d.Spec.Template.Spec.Containers[0].Env {
		switch names = append(names, e.Name); e.Name {
		case "HOST_IP":
			if e.ValueFrom == nil || e.ValueFrom.FieldRef == nil || e.ValueFrom.FieldRef.FieldPath != "status.hostIP" {
				t.Errorf("HOST_IP is %+v", e)
			}
		case "REANCHOR_LISTEN_ADDRESS":
			if !slices.Contains(names, "HOST_IP") {
				t.Errorf("it is not known yet what HOST_IP is: %v", names)
			}
			for _, ip := range []string{"10.0.0.1", "fd00::1"} {
				host, port, err := net.SplitHostPort(strings.ReplaceAll(e.Value, "$(HOST_IP)", ip))
				if err != nil || host != ip || port != "9784" {
					t.Errorf("on a node with %s it listens on %q port %q: %v", ip, host, port, err)
				}
			}
		}
	}
	if !slices.Contains(names, "REANCHOR_LISTEN_ADDRESS") {
		t.Errorf("variables %v", names)
	}
}
