package docs

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/reanchor/reanchor/rotation"
	"github.com/reanchor/reanchor/webhook"
)

var (
	description   = regexp.MustCompile(`^Desc\{fqName: "([^"]+)",.* variableLabels: \{([^}]*)\}\}$`)
	reasonFilters = regexp.MustCompile(`reason==?"?([A-Za-z]+)`)
)

// exported returns the labels of every metric that the program registers, by
// name. A collector describes its metrics also while they have no value.
func exported(t *testing.T) map[string][]string {
	t.Helper()
	registry := prometheus.NewRegistry()
	if _, err := webhook.NewMetrics(registry); err != nil {
		t.Fatal(err)
	}
	if _, err := rotation.NewMetrics(registry); err != nil {
		t.Fatal(err)
	}
	descriptions := make(chan *prometheus.Desc, 100)
	registry.Describe(descriptions)
	close(descriptions)
	out := map[string][]string{}
	for d := range descriptions {
		m := description.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("cannot read the description %s", d)
		}
		out[m[1]] = strings.FieldsFunc(m[2], func(r rune) bool { return r == ',' || r == ' ' })
		slices.Sort(out[m[1]])
	}
	if len(out) == 0 {
		t.Fatal("the program registers no metric")
	}
	return out
}

func TestTheMetricsPageIsComplete(t *testing.T) {
	documented := map[string][]string{}
	for name, cells := range readPage(t, "docs/metrics.md").rows(t) {
		if !strings.HasPrefix(name, "reanchor_") {
			continue
		}
		labels := coded(cells[1])
		slices.Sort(labels)
		documented[name] = labels
		if counter := strings.HasSuffix(name, "_total"); counter != (cells[0] == "counter") {
			t.Errorf("docs/metrics.md says that %s is a %s", name, cells[0])
		}
		if cells[2] == "" || cells[3] == "" {
			t.Errorf("docs/metrics.md: %s has no unit or no meaning", name)
		}
	}
	if diff := cmp.Diff(exported(t), documented, cmp.Transformer("joined", func(s []string) string { return strings.Join(s, ",") })); diff != "" {
		t.Errorf("metrics and their labels (-program +docs/metrics.md):\n%s", diff)
	}
}

// The values of the label decision are a table of their own.
func TestEveryOutcomeIsDocumented(t *testing.T) {
	rows := readPage(t, "docs/metrics.md").rows(t)
	maps.DeleteFunc(rows, func(name string, _ []string) bool { return strings.HasPrefix(name, "reanchor_") })
	got := slices.Sorted(maps.Keys(rows))
	if diff := cmp.Diff(outcomes(), got); diff != "" {
		t.Errorf("outcomes (-program +docs/metrics.md):\n%s", diff)
	}
}

func outcomes() []string {
	var out []string
	for _, o := range []webhook.Outcome{webhook.Allowed, webhook.Warned, webhook.Audited, webhook.Denied, webhook.Stamped, webhook.Unstamped, webhook.Failed} {
		out = append(out, string(o))
	}
	slices.Sort(out)
	return out
}
