package e2e

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// A namespace opts out while its workloads are being rolled: what has begun
// comes to rest, nothing else is written, other namespaces go on. When it opts
// in again the rest follows.
func TestOptOutMidWayHoldsUntilItIsTakenBack(t *testing.T) {
	t.Parallel()
	const each = 8
	m := newMesh(t, meshOptions{})
	out, other := m.namespace("out"), m.namespace("other")
	for i := range each {
		deployment(t, out, fmt.Sprintf("app-%d", i), 1, nil)
		deployment(t, other, fmt.Sprintf("app-%d", i), 1, nil)
	}
	ready(t, out, each)
	ready(t, other, each)
	history := m.record()
	next := m.rotate()
	spec := quick()
	spec.Rollout.MaxConcurrentPerNamespace = new(int32(1))
	m.trust(*spec)
	eventually(t, time.Minute, func() error {
		if n := marked(history, out); n < 2 {
			return fmt.Errorf("%d workloads are begun, want two", n)
		}
		return nil
	})

	annotateNamespace(t, out, map[string]string{v1alpha1.OptOutAnnotation: v1alpha1.OptOutRollout})
	optedAt := time.Now()
	m.await(time.Minute, v1alpha1.ConditionConverged, "True", v1alpha1.Converged)
	rolled := marked(history, out)
	if rolled == 0 || rolled == each {
		t.Fatalf("%d of %d were rolled when the opt-out was seen; the test shows nothing", rolled, each)
	}
	if n := marked(history, other); n != each {
		t.Errorf("%d of the other namespace were rolled, want all %d", n, each)
	}
	for name, reason := range blocked(m.status()) {
		if reason != v1alpha1.OptedOut {
			t.Errorf("%s is reported as %s, want %s", name, reason, v1alpha1.OptedOut)
		}
	}
	if n := len(blocked(m.status())); n != each-rolled {
		t.Errorf("%d workloads are reported, want the %d that opted out", n, each-rolled)
	}
	stays(t, 5*time.Second, func() error {
		if n := marked(history, out); n != rolled {
			return fmt.Errorf("%d workloads are begun, want %d as before", n, rolled)
		}
		return nil
	})

	annotateNamespace(t, out, map[string]string{v1alpha1.OptOutAnnotation: ""})
	eventually(t, time.Minute, func() error {
		if n := marked(history, out); n != each {
			return fmt.Errorf("%d workloads are begun, want all %d", n, each)
		}
		return nil
	})
	m.awaitConverged(time.Minute, m.root, next)
	since, until := uint64(0), uint64(0) // the versions between which it was opted out
	var late []writing
	history.replay(func(i *instant) {
		if i.change.kind == "Namespace" && i.change.object.GetName() == out {
			switch opted := i.change.object.GetAnnotations()[v1alpha1.OptOutAnnotation] != ""; {
			case opted && since == 0:
				since = i.change.version
			case !opted && since > 0 && until == 0:
				until = i.change.version
			}
		}
		if d, ok := i.change.object.(*appsv1.Deployment); ok && d.Namespace == out && i.before != nil && mark(d) != mark(i.before) &&
			since > 0 && until == 0 {
			late = append(late, writing{i.change.key(), writtenAt(d)})
		}
	})
	// The roller reads the namespace live before each of its writes, which come one
	// after the other: only the one that was under way may come later, within the five
	// seconds for which a decision holds.
	if len(late) > 1 || len(late) == 1 && late[0].at.After(optedAt.Add(5*time.Second)) {
		t.Errorf("written to while the namespace was opted out, since %s: %v, want one at most, that was under way", optedAt, late)
	}
	if since == 0 || until == 0 {
		t.Errorf("the opt-out was not seen in the timeline")
	}
	for name, n := range revisions(t, out) {
		if n != 2 {
			t.Errorf("%s has %d revisions, want two", name, n)
		}
	}
	if n := len(revisions(t, out)); n != each {
		t.Errorf("%d workloads, want %d", n, each)
	}
}

// marked counts the Deployments of a namespace that were begun.
func marked(l *timeline, namespace string) int {
	n := 0
	for _, d := range l.now().deployments() {
		if d.Namespace == namespace && mark(d) != "" {
			n++
		}
	}
	return n
}
