package api

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/robfig/cron/v3"
	"sigs.k8s.io/yaml"
)

// A schedule that the rules take is read by robfig/cron later: they must refuse
// nothing that it can read, and every number that it cannot.
func TestSchedulesAreRefusedWhenTheirParserWouldRefuseThem(t *testing.T) {
	rules := scheduleRules(t)
	fields := []string{"minute", "hour", "day", "month", "weekday"}
	for i, field := range fields {
		t.Run(field, func(t *testing.T) {
			for n := range 130 {
				for _, form := range []string{"%d", "0%d", "%d,%[1]d", "%d-%[1]d", "%d/2", "*/%d", "*,%d", "3-5,%d", "%d-%[1]d/3"} {
					agree(t, rules, schedule(i, fmt.Sprintf(form, n)))
				}
			}
		})
	}
	for _, name := range []string{"jan", "MAR-may", "Dec,JAN", "jan/2", "2-APR", "JUNE", "sun", "may"} {
		agree(t, rules, schedule(3, name))
	}
	for _, name := range []string{"sun", "MON-fri", "Sat,SUN", "mon/2", "1-FRI", "MONDAY", "jan", "?"} {
		agree(t, rules, schedule(4, name))
	}
	agree(t, rules, schedule(2, "?"))
	agree(t, rules, "0 22 * * 1-5")
	agree(t, rules, "*/15  0-6   1,15 JAN-MAR SUN")
}

// schedule is one with a single field that says something.
func schedule(field int, says string) string {
	fields := []string{"*", "*", "*", "*", "*"}
	fields[field] = says
	return strings.Join(fields, " ")
}

func agree(t *testing.T, rules []rule, schedule string) {
	t.Helper()
	_, err := cron.ParseStandard(schedule)
	taken := true
	for _, r := range rules {
		taken = taken && r.pattern.MatchString(schedule) == r.want
	}
	if taken != (err == nil) {
		t.Errorf("%q: the rules take it is %v, its parser says %v", schedule, taken, err)
	}
}

// rule is a CEL rule that is one regular expression; CEL has RE2, as Go.
type rule struct {
	pattern *regexp.Regexp
	want    bool
}

var matches = regexp.MustCompile(`^(!?)self\.matches\('(.*)'\)$`)

// scheduleRules are those of the CRD; both schedules have the same.
func scheduleRules(t *testing.T) []rule {
	t.Helper()
	text, err := os.ReadFile("../../manifests/crds/reanchor.dev_meshtrusts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct{ OpenAPIV3Schema schema }
			}
		}
	}
	if err := yaml.Unmarshal(text, &crd); err != nil {
		t.Fatal(err)
	}
	spec := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties
	of := spec["rotation"].Properties["schedule"].Rules
	if diff := cmp.Diff(of, spec["rollout"].Properties["windows"].Items.Properties["schedule"].Rules); diff != "" {
		t.Fatalf("the two schedules differ (-rotation +window):\n%s", diff)
	}
	var rules []rule
	for _, r := range of {
		m := matches.FindStringSubmatch(r.Rule)
		if m == nil {
			t.Fatalf("this test cannot read the rule %s", r.Rule)
		}
		rules = append(rules, rule{regexp.MustCompile(m[2]), m[1] == ""})
	}
	if len(rules) == 0 {
		t.Fatal("schedules have no rules")
	}
	return rules
}

// schema is as much of a CRD's as leads to the rules of a field.
type schema struct {
	Properties map[string]schema
	Items      *schema
	Rules      []struct{ Rule, Message string } `json:"x-kubernetes-validations"`
}
