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

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/checkertest"
	"github.com/reanchor/reanchor/checker/exporter"
	"github.com/reanchor/reanchor/checker/report"
)

// ruleFile is what Prometheus reads of a file of rules, and the spec of a
// PrometheusRule.
type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []rule
	}
}

type rule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func alerts(t *testing.T) ruleFile {
	t.Helper()
	var rules ruleFile
	read(t, "../monitoring/checker-alerts.yaml", &rules)
	if len(rules.Groups) != 1 || len(rules.Groups[0].Rules) == 0 {
		t.Fatalf("%d groups, want one with rules", len(rules.Groups))
	}
	return rules
}

func TestTheOperatorGetsTheRulesOfPrometheus(t *testing.T) {
	var object struct {
		APIVersion, Kind string
		Metadata         map[string]any
		Spec             ruleFile
	}
	read(t, "prometheusrule.yaml", &object)
	if object.APIVersion != "monitoring.coreos.com/v1" || object.Kind != "PrometheusRule" {
		t.Errorf("it is a %s of %s", object.Kind, object.APIVersion)
	}
	if diff := cmp.Diff(alerts(t), object.Spec); diff != "" {
		t.Errorf("copy the groups (-manifests/monitoring/checker-alerts.yaml +prometheusrule.yaml):\n%s", diff)
	}
}

var (
	metricName  = regexp.MustCompile(`reanchor_\w+`)
	findingName = regexp.MustCompile(`finding[!=]~?"([^"]+)"`)
	labelName   = regexp.MustCompile(`\$labels\.(\w+)`)
)

// TestAlertsAskForMetricsThatExist: an alert on a name that nobody exports
// never fires, and nobody notices.
func TestAlertsAskForMetricsThatExist(t *testing.T) {
	exported, known := metrics(t), map[string]bool{}
	for _, r := range checker.Rules() {
		known[string(r.ID)] = true
	}
	for _, r := range alerts(t).Groups[0].Rules {
		series := ""
		for _, n := range metricName.FindAllString(r.Expr, -1) {
			if _, ok := exported[n]; !ok {
				t.Errorf("%s asks for %s, which is not exported", r.Alert, n)
			}
			series += exported[n]
		}
		if series == "" || !slices.Contains([]string{"warning", "critical"}, r.Labels["severity"]) || r.Annotations["summary"] == "" {
			t.Errorf("%s: no metric, severity or summary", r.Alert)
		}
		for _, l := range labelName.FindAllStringSubmatch(r.Annotations["summary"]+r.Annotations["runbook_url"], -1) {
			// These two are given by whoever scrapes: see podmonitor.yaml.
			if l[1] != "instance" && l[1] != "node" && !strings.Contains(series, l[1]+`="`) {
				t.Errorf("%s: there is no label %s in %s", r.Alert, l[1], series)
			}
		}
		for _, f := range findingName.FindAllStringSubmatch(r.Expr, -1) {
			for id := range strings.SplitSeq(f[1], "|") {
				if !known[id] {
					t.Errorf("%s asks for the finding %q, which no rule has", r.Alert, id)
				}
			}
		}
	}
}

// TestEachAlertLinksWhatToDo: a heading of docs/checker.md; that of a rule,
// where the finding is a label.
func TestEachAlertLinksWhatToDo(t *testing.T) {
	const page = "https://github.com/reanchor/reanchor/blob/main/docs/checker.md#"
	text, err := os.ReadFile("../../docs/checker.md")
	if err != nil {
		t.Fatal(err)
	}
	headings := map[string]bool{}
	for _, h := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(string(text), -1) {
		headings[strings.ReplaceAll(strings.ToLower(h[1]), " ", "-")] = true
	}
	for _, r := range checker.Rules() {
		if !headings[string(r.ID)] {
			t.Errorf("docs/checker.md has no heading %s", r.ID)
		}
	}
	for _, r := range alerts(t).Groups[0].Rules {
		heading, ok := strings.CutPrefix(r.Annotations["runbook_url"], page)
		if !ok || (heading != "{{ $labels.finding }}" && !headings[heading]) {
			t.Errorf("%s links %q, which is no heading of docs/checker.md", r.Alert, r.Annotations["runbook_url"])
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
	document := report.New(checker.Check(facts, now, policy), now, policy, report.Origin{})
	document.Processes = []checker.Loaded{{Process: "etcd", Path: "/x.crt"}}
	c := exporter.NewCollector("v", false)
	c.Publish(&exporter.Snapshot{Document: document, Finished: now})
	var text bytes.Buffer
	if err := exporter.Text(&text, c); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for line := range strings.Lines(text.String()) {
		if end := strings.IndexAny(line, "{ "); end > 0 && !strings.HasPrefix(line, "#") {
			found[line[:end]] = line
		}
	}
	return found
}
