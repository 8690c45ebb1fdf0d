package rotation

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// An alert must tell a condition that is False from one of which nothing is
// known, and both from one that nobody has spoken of.
func TestAConditionsMetricTellsFalseFromUnknown(t *testing.T) {
	registry := prometheus.NewRegistry()
	m, err := NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	mt := &v1alpha1.MeshTrust{ObjectMeta: metav1.ObjectMeta{Name: "m"}}
	for kind, status := range map[string]metav1.ConditionStatus{
		v1alpha1.ConditionReady: metav1.ConditionFalse, v1alpha1.ConditionBundleValid: metav1.ConditionTrue,
		v1alpha1.ConditionIssuerTrusted: metav1.ConditionUnknown,
	} {
		mt.Status.Conditions = append(mt.Status.Conditions, metav1.Condition{Type: kind, Status: status})
	}
	m.show(mt)
	for kind, want := range map[string]string{
		v1alpha1.ConditionReady: "false", v1alpha1.ConditionBundleValid: "true",
		v1alpha1.ConditionIssuerTrusted: "unknown", v1alpha1.ConditionConverged: "unknown",
	} {
		series := conditionSeries(t, registry, kind)
		for _, status := range []string{"true", "false", "unknown"} {
			value, ok := series[status]
			if !ok || (value == 1) != (status == want) {
				t.Errorf("%s is %s, and the series of status %q is %v (there: %v)", kind, want, status, value, ok)
			}
		}
		if len(series) != 3 {
			t.Errorf("%s has the series %v", kind, series)
		}
	}
}

// conditionSeries returns the values of a condition's series by status.
func conditionSeries(t *testing.T, registry *prometheus.Registry, kind string) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "reanchor_condition" {
			continue
		}
		for _, series := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range series.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["condition"] == kind && strings.ToLower(labels["status"]) == labels["status"] {
				out[labels["status"]] = series.GetGauge().GetValue()
			}
		}
	}
	return out
}
