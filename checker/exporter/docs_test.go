package exporter_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/reanchor/reanchor/checker/exporter"
)

// TestThePageListsEveryMetricWithItsLabels compares docs/checker.md with the
// collector, both ways.
func TestThePageListsEveryMetricWithItsLabels(t *testing.T) {
	page, err := os.ReadFile("../../docs/checker.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(reanchor_\\w+)` \\| (.*?) ?\\| .+ \\|$").FindAllStringSubmatch(string(page), -1) {
		documented[row[1]] = sorted(regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[2], -1))
	}
	exported := map[string][]string{}
	descriptions := make(chan *prometheus.Desc, 100)
	exporter.NewCollector("v1", false).Describe(descriptions)
	close(descriptions)
	for d := range descriptions {
		m := regexp.MustCompile(`^Desc\{fqName: "(\w+)", help: ".*", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`).FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("no way to read %s", d)
		}
		exported[m[1]] = sorted(regexp.MustCompile(`(\w+)(?:="[^"]*")?`).FindAllStringSubmatch(m[2]+","+m[3], -1))
	}
	if diff := cmp.Diff(exported, documented); diff != "" {
		t.Errorf("metrics and their labels (-collector +docs/checker.md):\n%s", diff)
	}
	for _, name := range []string{"x509_cert_not_after", "x509_cert_not_before", "x509_cert_expired"} {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("the page does not name %s", name)
		}
	}
}

func sorted(matches [][]string) []string {
	names := []string{}
	for _, m := range matches {
		names = append(names, m[1])
	}
	slices.Sort(names)
	return names
}
