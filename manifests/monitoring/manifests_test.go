// Package monitoring holds alert rules and a dashboard, and these tests of what is
// for Prometheus's operator. What the rules ask for is tested by test/docs.
package monitoring

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

func TestTheOperatorGetsTheRulesOfPrometheus(t *testing.T) {
	var rules map[string]any
	var object struct {
		APIVersion, Kind string
		Spec             map[string]any
	}
	for file, into := range map[string]any{"alerts.yaml": &rules, "prometheusrule.yaml": &object} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, into); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	if object.APIVersion != "monitoring.coreos.com/v1" || object.Kind != "PrometheusRule" {
		t.Errorf("it is a %s of %s", object.Kind, object.APIVersion)
	}
	if len(rules["groups"].([]any)) < 2 {
		t.Errorf("groups: %v", rules["groups"])
	}
	if diff := cmp.Diff(rules, object.Spec); diff != "" {
		t.Errorf("copy the groups (-alerts.yaml +prometheusrule.yaml):\n%s", diff)
	}
}

// podMonitor is as much of the operator's kind as is used.
type podMonitor struct {
	APIVersion, Kind string
	Metadata         metav1.ObjectMeta
	Spec             struct {
		Selector            metav1.LabelSelector
		PodMetricsEndpoints []struct {
			Port        string
			Relabelings []struct {
				SourceLabels []string
				TargetLabel  string
			}
		}
	}
}

// monitors are the PodMonitors of a file, by name.
func monitors(t *testing.T, file string) map[string]podMonitor {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]podMonitor{}
	for reader := utilyaml.NewDocumentDecoder(io.NopCloser(strings.NewReader(string(text)))); ; {
		document := make([]byte, len(text))
		n, err := reader.Read(document)
		if errors.Is(err, io.EOF) {
			return out
		}
		var m podMonitor
		if err := errors.Join(err, yaml.UnmarshalStrict(document[:n], &m)); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out[m.Metadata.Name] = m
	}
}

// A monitor that selects no pod, or asks a port that serves no metrics, leaves the
// alerts without series, and nobody notices.
func TestTheOperatorScrapesEveryWorkload(t *testing.T) {
	for name, tc := range map[string]struct {
		monitors, workload string
		// port serves the metrics; docs/metrics.md and docs/checker.md say so.
		port string
		// node: the label node is set, by which an alert tells nodes apart.
		node bool
	}{
		"reanchor-webhook":    {"podmonitors.yaml", "../webhook/deployment.yaml", "health", false},
		"reanchor-controller": {"podmonitors.yaml", "../controller/deployment.yaml", "metrics", false},
		"reanchor-checker":    {"../checker/podmonitor.yaml", "../checker/daemonset.yaml", "metrics", true},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(tc.workload)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(string(text), "\n---\n")
			var w struct {
				Metadata metav1.ObjectMeta
				Spec     struct {
					Selector metav1.LabelSelector
					Template corev1.PodTemplateSpec
				}
			}
			if err := yaml.Unmarshal([]byte(first), &w); err != nil {
				t.Fatal(err)
			}
			m, there := monitors(t, tc.monitors)[name]
			if !there || m.Kind != "PodMonitor" || m.APIVersion != "monitoring.coreos.com/v1" || m.Metadata.Namespace != w.Metadata.Namespace {
				t.Fatalf("it is %s %s in namespace %s", m.APIVersion, m.Kind, m.Metadata.Namespace)
			}
			if diff := cmp.Diff(w.Spec.Selector, m.Spec.Selector); diff != "" {
				t.Errorf("pods (-of the workload +scraped):\n%s", diff)
			}
			if len(m.Spec.PodMetricsEndpoints) != 1 {
				t.Fatalf("%d endpoints", len(m.Spec.PodMetricsEndpoints))
			}
			e := m.Spec.PodMetricsEndpoints[0]
			if e.Port != tc.port || !slices.ContainsFunc(w.Spec.Template.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool { return p.Name == e.Port }) {
				t.Errorf("port %s", e.Port)
			}
			node := len(e.Relabelings) == 1 && e.Relabelings[0].TargetLabel == "node" && slices.Equal(e.Relabelings[0].SourceLabels, []string{"__meta_kubernetes_pod_node_name"})
			if node != tc.node {
				t.Errorf("relabelings %+v", e.Relabelings)
			}
		})
	}
}
