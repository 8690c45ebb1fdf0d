package docs

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

func TestTheRunbookHasOneHeadingForEachReason(t *testing.T) {
	var want []string
	for _, reason := range v1alpha1.Reasons() {
		want = append(want, string(reason))
	}
	got := readPage(t, "docs/runbook.md").headings(2)
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headings of level 2 in docs/runbook.md (-reasons +headings):\n%s", diff)
	}
}

// Each heading says what the reason means, how to see it and what to do.
func TestEachReasonIsExplained(t *testing.T) {
	for reason, text := range readPage(t, "docs/runbook.md").sections() {
		meaning, rest, ok := strings.Cut(text, "\n- See: ")
		see, do, ok2 := strings.Cut(rest, "\n- Do: ")
		if !ok || !ok2 || len(meaning) < 30 || strings.TrimSpace(do) == "" {
			t.Errorf("%s: want a meaning, a line \"- See: \" and a line \"- Do: \", got:\n%s", reason, text)
		}
		if !strings.Contains(see, "kubectl ") {
			t.Errorf("%s: its line \"- See: \" names no kubectl command: %s", reason, see)
		}
	}
}

// Commands that filter by a reason must name one that is in the vocabulary.
func TestCommandsFilterByKnownReasons(t *testing.T) {
	known := v1alpha1.Reasons()
	for _, p := range pages(t) {
		for _, m := range reasonFilters.FindAllStringSubmatch(strings.Join(p.lines, "\n"), -1) {
			// FailedCreate is Kubernetes' own, for pods that were refused.
			if m[1] != "FailedCreate" && !slices.Contains(known, v1alpha1.Reason(m[1])) {
				t.Errorf("%s filters by the reason %s, which is none", p.name, m[1])
			}
		}
	}
}
