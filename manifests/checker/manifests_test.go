// Package checker holds the manifests of the checker, and these tests of them.
package checker

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/checkertest"
	"github.com/reanchor/reanchor/checker/exporter"
	"github.com/reanchor/reanchor/checker/report"
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

// TestAlertsAskForMetricsThatExist: an alert on a name that nobody exports
// never fires, and nobody notices.
func TestAlertsAskForMetricsThatExist(t *testing.T) {
	var rules struct {
		APIVersion, Kind string
		Metadata         map[string]any
		Spec             struct {
			Groups []struct {
				Name  string
				Rules []struct {
					Alert, Expr, For    string
					Labels, Annotations map[string]string
				}
			}
		}
	}
	read(t, "prometheusrule.yaml", &rules)
	exported := metrics(t)
	name, finding := regexp.MustCompile(`reanchor_\w+`), regexp.MustCompile(`finding[!=]~?"([^"]+)"`)
	label := regexp.MustCompile(`\$labels\.(\w+)`)
	known := map[string]bool{}
	for _, r := range checker.Rules() {
		known[string(r.ID)] = true
	}
	for _, r := range rules.Spec.Groups[0].Rules {
		names := name.FindAllString(r.Expr, -1)
		if len(names) == 0 || r.Labels["severity"] == "" || r.Annotations["summary"] == "" {
			t.Errorf("%s: no metric, severity or summary", r.Alert)
		}
		for _, n := range names {
			series, ok := exported[n]
			if !ok {
				t.Errorf("%s asks for %s, which is not exported", r.Alert, n)
			}
			for _, l := range label.FindAllStringSubmatch(r.Annotations["summary"], -1) {
				if l[1] != "instance" && !strings.Contains(series, l[1]+`="`) {
					t.Errorf("%s: %s has no label %s: %s", r.Alert, n, l[1], series)
				}
			}
		}
		for _, f := range finding.FindAllStringSubmatch(r.Expr, -1) {
			for id := range strings.SplitSeq(f[1], "|") {
				if !known[id] {
					t.Errorf("%s asks for the finding %q, which no rule has", r.Alert, id)
				}
			}
		}
	}
}

// metrics is one sample line of each metric.
func metrics(t *testing.T) map[string]string {
	t.Helper()
	now := time.Now()
	pair, err := checkertest.Issue(checkertest.Spec{CN: "x", NotAfter: now.Add(-time.Hour)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	facts := checker.Facts{
		Files:     []checker.File{{Source: checker.SourceFile, Path: "/x.crt", Certs: []*checker.Cert{pair.Checked()}}},
		Endpoints: []checker.Endpoint{{Address: "127.0.0.1:1", State: checker.EndpointServing, Chain: []*checker.Cert{pair.Checked()}, ExpectPaths: []string{"/x.crt"}}},
		Roots:     []checker.Root{{Path: "/", State: checker.RootScanned}},
	}
	policy := checker.DefaultPolicy()
	c := exporter.NewCollector("v", false)
	c.Publish(&exporter.Snapshot{Document: report.New(checker.Check(facts, now, policy), now, policy, report.Origin{}), Finished: now})
	var text bytes.Buffer
	if err := exporter.Text(&text, c); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for line := range strings.Lines(text.String()) {
		if name, _, ok := strings.Cut(line, "{"); ok && !strings.HasPrefix(line, "#") {
			found[name] = line
		} else if name, _, ok := strings.Cut(line, " "); ok && !strings.HasPrefix(line, "#") {
			found[name] = line
		}
	}
	return found
}
