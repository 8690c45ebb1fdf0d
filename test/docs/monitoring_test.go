package docs

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// ruleFile is a file of alert rules, all that Prometheus reads of it.
type ruleFile struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func alerts(t *testing.T) []rule {
	t.Helper()
	var file ruleFile
	if err := yaml.UnmarshalStrict([]byte(readFile(t, "manifests/monitoring/alerts.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	var out []rule
	for _, g := range file.Groups {
		out = append(out, g.Rules...)
	}
	return out
}

// panels returns the expressions of the dashboard, by panel.
func panels(t *testing.T) map[string][]string {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string `json:"title"`
			Type    string `json:"type"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal([]byte(readFile(t, "manifests/monitoring/dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			out[p.Title] = append(out[p.Title], target.Expr)
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
	}
	return out
}

func TestEachAlertLinksTheRunbook(t *testing.T) {
	const runbook = "https://github.com/reanchor/reanchor/blob/main/docs/runbook.md#"
	headings, seen := readPage(t, "docs/runbook.md").anchors(), map[string]bool{}
	for _, a := range alerts(t) {
		fragment, ok := strings.CutPrefix(a.Annotations["runbook_url"], runbook)
		if !ok || !slices.Contains(headings, fragment) {
			t.Errorf("%s links %q, which is no heading of docs/runbook.md", a.Alert, a.Annotations["runbook_url"])
		}
		if a.Annotations["summary"] == "" || !slices.Contains([]string{"info", "warning", "critical"}, a.Labels["severity"]) {
			t.Errorf("%s has no summary, or no severity that is known", a.Alert)
		}
		if a.Alert == "" || seen[a.Alert] {
			t.Errorf("an alert has no name, or that of another: %q", a.Alert)
		}
		seen[a.Alert] = true
	}
}

func TestAlertsAndDashboardUseMetricsThatExist(t *testing.T) {
	metrics, used := exported(t), map[string]bool{}
	check := func(where, expr string) {
		for _, m := range selectors(expr) {
			used[m.metric] = true
			checkSelector(t, where, m, metrics)
		}
	}
	for _, a := range alerts(t) {
		if len(selectors(a.Expr)) == 0 {
			t.Errorf("%s: no metric was found in %s", a.Alert, a.Expr)
		}
		check(a.Alert, a.Expr)
	}
	for title, exprs := range panels(t) {
		for _, expr := range exprs {
			check("panel "+title, expr)
		}
	}
	if unused := slices.DeleteFunc(slices.Sorted(maps.Keys(metrics)), func(m string) bool { return used[m] }); len(unused) > 0 {
		t.Errorf("neither an alert nor a panel shows %q: is it worth exporting?", unused)
	}
}

// selector is one use of a metric: its name, matchers by label, and the labels
// that the expression around it groups by.
type selector struct {
	metric   string
	matchers map[string][]string
}

var (
	selecting = regexp.MustCompile(`\b(reanchor_[a-z_]+)(?:\{([^}]*)\})?`)
	matching  = regexp.MustCompile(`([a-z_]+)(=~|!~|!=|=)"([^"]*)"`)
)

func selectors(expr string) []selector {
	var out []selector
	for _, m := range selecting.FindAllStringSubmatch(expr, -1) {
		s := selector{metric: m[1], matchers: map[string][]string{}}
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			s.metric = strings.TrimSuffix(s.metric, suffix)
		}
		for _, x := range matching.FindAllStringSubmatch(m[2], -1) {
			s.matchers[x[1]] = []string{x[3]}
			if strings.HasSuffix(x[2], "~") {
				s.matchers[x[1]] = strings.Split(x[3], "|")
			}
		}
		out = append(out, s)
	}
	return out
}

func checkSelector(t *testing.T, where string, s selector, metrics map[string][]string) {
	t.Helper()
	labels, ok := metrics[s.metric]
	if !ok {
		t.Errorf("%s uses %s, and the program exports no such metric", where, s.metric)
		return
	}
	for label, values := range s.matchers {
		if !slices.Contains(labels, label) {
			t.Errorf("%s matches %s by %s, a label that it does not have", where, s.metric, label)
		}
		for _, value := range values {
			if known := knownValues(t)[label]; known != nil && !slices.Contains(known, value) {
				t.Errorf("%s matches %s=%q, which is never exported", where, label, value)
			}
		}
	}
}

// knownValues are the values of the labels whose values are known beforehand.
func knownValues(t *testing.T) map[string][]string {
	t.Helper()
	reasons := []string{}
	for _, r := range v1alpha1.Reasons() {
		reasons = append(reasons, string(r))
	}
	rows := readPage(t, "docs/metrics.md").rows(t)
	return map[string][]string{
		"reason": reasons, "condition": v1alpha1.MeshTrustConditions(), "decision": outcomes(),
		"webhook": {"stamp", "validate"},
		// These stand in the page beside the metric that has them.
		"class":       coded(rows["reanchor_pods"][3]),
		"status":      coded(rows["reanchor_condition"][3]),
		"state":       coded(rows["reanchor_rollout_workloads"][3]),
		"certificate": coded(rows["reanchor_not_after_timestamp_seconds"][3]),
	}
}
