package rollout_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// operated makes the workload a custom resource whose operator restarts pods at
// an annotation; its pods are an hour old.
func operated(a v1alpha1.RestartAnnotation) func(*rollout.Workload) {
	a.Key, a.Path = "example.com/restart", v1alpha1.AnnotationsPath
	return func(w *rollout.Workload) {
		w.Key.Group, w.Key.Kind = "example.com", "Database"
		w.Verb, w.Annotation = v1alpha1.VerbAnnotate, &a
		w.Owner = rollout.Owner{Observed: true, ByPods: true}
		w.OldestPod = w.NewestPod
	}
}

// evicted makes it one whose pods are evicted.
func evicted(w *rollout.Workload) {
	operated(v1alpha1.RestartAnnotation{})(w)
	w.Verb, w.Annotation = v1alpha1.VerbEvict, nil
}

var (
	token     = v1alpha1.RestartAnnotation{Value: v1alpha1.RestartToken}
	timestamp = v1alpha1.RestartAnnotation{Value: v1alpha1.RestartTimestamp}
	text      = v1alpha1.RestartAnnotation{Text: "true"}
)

// asked shows the custom resource with an annotation that was just set.
func (s *script) asked(name, value string) *rollout.Workload {
	w := s.workload(name)
	w.RestartedFor, w.AskedAt = value, s.now
	w.RestartAt, _ = time.Parse(time.RFC3339, value)
	w.Owner.Observed = w.Annotation.Text == "" || w.Annotation.Text != value
	return w
}

// restarted shows it with new pods only, ready and not stale.
func (s *script) restarted(name string) *rollout.Workload {
	w := s.workload(name)
	current(w)
	w.Pods, w.Ready, w.Terminating = 2, 2, 0
	w.NewestPod, w.OldestPod = s.now, s.now
	return w
}

func TestAnOperatorIsAskedForARestart(t *testing.T) {
	for name, play := range map[string]func(*testing.T){
		"by a token that is the same however often it is written": func(t *testing.T) {
			s := newScript(t, stale("a", "x", operated(token)))
			s.want(s.next(), v1alpha1.CanaryInFlight, "Annotate x v1:new")
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight, "Annotate x v1:new") // the write may have been lost
			s.asked("x", "v1:new")
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
			s.pass(time.Minute).restarted("x")
			d := s.next()
			s.want(d, v1alpha1.Converged)
			if len(d.Ended) != 1 || d.Ended[0].Failed {
				t.Errorf("the end is not told: %+v", d.Ended)
			}
		},
		"by a time, a second after its newest pod": func(t *testing.T) {
			s := newScript(t, stale("a", "x", operated(timestamp)))
			s.want(s.next(), v1alpha1.CanaryInFlight, "Annotate x 2030-01-01T11:00:01Z")
			s.asked("x", "2030-01-01T11:00:01Z")
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
		},
		"by a later time that somebody else set": func(t *testing.T) {
			s := newScript(t, stale("a", "x", operated(timestamp)))
			s.next()
			w := s.asked("x", "2030-01-01T13:30:00+02:00")
			w.AskedAt = time.Time{}
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
		},
		"by a text, which is under way as long as it is there": func(t *testing.T) {
			s := newScript(t, stale("a", "x", operated(text)), stale("b", "y"))
			s.want(s.next(), v1alpha1.CanaryInFlight, "Annotate x true")
			s.asked("x", "true")
			s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
			s.pass(time.Minute).restarted("x")
			s.want(s.next(), v1alpha1.CanaryInFlight)
			s.asked("x", "").AskedAt = time.Time{}
			s.want(s.pass(time.Second).next(), v1alpha1.Rolling, "Restart y v1:new")
		},
		"not while a text of somebody else is there": func(t *testing.T) {
			s := newScript(t, stale("a", "x", operated(text)))
			s.asked("x", "true").AskedAt = time.Time{}
			d := s.next()
			s.want(d, v1alpha1.RolloutInFlight)
			if diff := cmp.Diff([]string{"x RolloutInFlight"}, blockedBy(d)); diff != "" {
				t.Error(diff)
			}
		},
		"again when it removed the text without a restart, twice": func(t *testing.T) {
			s := newScript(t, stale("a", "x", operated(text)))
			s.next()
			for range 2 {
				s.asked("x", "true")
				s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
				s.asked("x", "").AskedAt = time.Time{}
				s.want(s.pass(30*time.Second).next(), v1alpha1.CanaryInFlight) // pods may be seen late
				s.want(s.pass(time.Minute).next(), v1alpha1.CanaryInFlight, "Annotate x true")
			}
			s.asked("x", "true")
			s.pass(time.Second).next()
			s.asked("x", "").AskedAt = time.Time{}
			s.want(s.pass(2*time.Minute).next(), v1alpha1.CanaryInFlight)
			s.want(s.pass(10*time.Minute).next(), v1alpha1.ProgressDeadlineExceeded)
		},
		"but not again while it is at it, though its token is gone": func(t *testing.T) {
			s := newScript(t, stale("a", "x", operated(token)))
			s.next()
			s.asked("x", "v1:new")
			s.pass(time.Second).next()
			s.asked("x", "").AskedAt = time.Time{}
			s.want(s.pass(5*time.Minute).next(), v1alpha1.CanaryInFlight)
		},
		"and its answer is told when it is refused": func(t *testing.T) {
			s := newScript(t, stale("a", "x", operated(token)))
			s.next()
			s.workload("x").Refused = "databases is forbidden"
			d := s.pass(time.Second).next()
			if m := d.State.InProgress[0].Message; !strings.Contains(m, "databases is forbidden") {
				t.Errorf("the refusal is not told: %q", m)
			}
			d = s.pass(10 * time.Minute).next()
			if len(d.Ended) != 1 || d.Ended[0].Reason != v1alpha1.ProgressDeadlineExceeded || !strings.Contains(d.Ended[0].Message, "databases is forbidden") {
				t.Errorf("the failure does not tell why: %+v", d.Ended)
			}
		},
		"a second time when its new pods are stale too": func(t *testing.T) {
			s := newScript(t, stale("a", "x", operated(token)))
			s.next()
			s.asked("x", "v1:new")
			s.pass(time.Second).next()
			s.pass(time.Minute).restarted("x").StalePods = pods("x", s.now, 2)
			s.want(s.next(), v1alpha1.CanaryInFlight, "Annotate x v1:new.2")
		},
	} {
		t.Run(name, play)
	}
}

func TestARestartByAnOperatorIsInFlightUntilThePodsShowItsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*rollout.Workload)
		ends bool
	}{
		"all pods are new and ready":                     {func(*rollout.Workload) {}, true},
		"there are more than there were":                 {func(w *rollout.Workload) { w.Pods, w.Ready = 3, 3 }, true},
		"a pod is missing":                               {func(w *rollout.Workload) { w.Pods, w.Ready = 1, 1 }, false},
		"all are missing":                                {func(w *rollout.Workload) { w.Pods, w.Ready, w.OldestPod = 0, 0, time.Time{} }, false},
		"a pod is not ready":                             {func(w *rollout.Workload) { w.Ready = 1 }, false},
		"a pod terminates":                               {func(w *rollout.Workload) { w.Terminating = 1 }, false},
		"an old pod that carries the bundle is left":     {func(w *rollout.Workload) { w.OldestPod = noon.Add(-time.Hour) }, false},
		"a pod is left that came before it was asked":    {func(w *rollout.Workload) { w.OldestPod = noon.Add(2 * time.Second) }, false},
		"a pod came in the second in which it was asked": {func(w *rollout.Workload) { w.OldestPod = noon.Add(5 * time.Second) }, true},
		"a stale pod is left":                            {func(w *rollout.Workload) { w.StalePods = pods("x", noon.Add(-time.Hour), 1) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, stale("a", "x", operated(token)))
			s.next()
			s.pass(5*time.Second).asked("x", "v1:new")
			s.pass(time.Second).next()
			c.edit(s.pass(time.Minute).restarted("x"))
			d := s.next()
			if ended := len(d.State.InProgress) == 0; ended != c.ends {
				t.Errorf("the roll ended: %t, want %t: %+v", ended, c.ends, d.State)
			}
		})
	}
}

func TestAnOperatorThatDoesNotDoAllFails(t *testing.T) {
	begun := func(t *testing.T) *script {
		s := newScript(t, stale("a", "x", operated(token)))
		s.next()
		s.asked("x", "v1:new")
		s.pass(time.Second).next()
		return s
	}
	t.Run("when it does nothing it is not asked again, and forgiven once the pods are in order", func(t *testing.T) {
		s := begun(t)
		d := s.pass(10 * time.Minute).next()
		s.want(d, v1alpha1.ProgressDeadlineExceeded)
		if !strings.Contains(d.State.Failed[0].Message, "look at its operator") {
			t.Errorf("nobody is told to look at the operator: %q", d.State.Failed[0].Message)
		}
		for range 5 {
			s.want(s.pass(10*time.Minute).next(), v1alpha1.ProgressDeadlineExceeded)
		}
		s.restarted("x")
		s.want(s.pass(time.Minute).next(), v1alpha1.Converged)
	})
	t.Run("nor when the pods are merely retired", func(t *testing.T) {
		s := newScript(t, stale("a", "x", operated(timestamp), retired))
		s.facts.Policy.Retired = v1alpha1.RetiredAlways
		s.want(s.next(), v1alpha1.CanaryInFlight, "Annotate x 2030-01-01T11:00:01Z")
		w := s.asked("x", "2030-01-01T11:00:01Z")
		s.pass(time.Second).next()
		w.RetiredPods, w.NewestPod, w.Ready = w.RetiredPods[:1], s.pass(time.Minute).now, 1 // the new one is not ready
		s.want(s.next(), v1alpha1.CanaryInFlight)
		for range 5 {
			s.want(s.pass(10*time.Minute).next(), v1alpha1.ProgressDeadlineExceeded)
		}
	})
	t.Run("every pod that it replaces is progress", func(t *testing.T) {
		s := begun(t)
		s.pass(9 * time.Minute)
		s.workload("x").StalePods = s.workload("x").StalePods[:1]
		s.want(s.next(), v1alpha1.CanaryInFlight)
		s.want(s.pass(9*time.Minute).next(), v1alpha1.CanaryInFlight)
		s.want(s.pass(2*time.Minute).next(), v1alpha1.ProgressDeadlineExceeded)
	})
	t.Run("not for older pods that carry the bundle", func(t *testing.T) {
		s := begun(t)
		s.restarted("x").OldestPod = noon.Add(-time.Hour)
		s.want(s.next(), v1alpha1.CanaryInFlight)
		d := s.pass(10 * time.Minute).next()
		s.want(d, v1alpha1.Converged)
		if len(d.Ended) != 1 || d.Ended[0].Failed {
			t.Errorf("it did not end well: %+v", d.Ended)
		}
	})
	t.Run("not for pods that were taken away meanwhile", func(t *testing.T) {
		s := begun(t)
		w := s.restarted("x")
		w.Pods, w.Ready = 1, 1
		s.want(s.next(), v1alpha1.CanaryInFlight)
		s.want(s.pass(10*time.Minute).next(), v1alpha1.Converged)
	})
}

// The state may be lost with the status, and the annotation is still there.
func TestAnOperatorThatWasAskedBeforeIsNotAskedTwice(t *testing.T) {
	before, after := noon.Add(-time.Minute), noon.Add(-2*time.Hour)
	for name, c := range map[string]struct {
		annotation v1alpha1.RestartAnnotation
		value      string
		askedAt    time.Time
		action     []string
	}{
		"a token that is younger than the stale pods": {token, "v1:new", before, nil},
		"a token that is older than the stale pods":   {token, "v1:new", after, []string{"Annotate x v1:new.2"}},
		"a token of another bundle":                   {token, "v1:old", before, []string{"Annotate x v1:new"}},
		"a token that somebody else set":              {token, "v1:new", time.Time{}, []string{"Annotate x v1:new.2"}},
		"a time that is later than the stale pods":    {timestamp, "2030-01-01T11:59:00Z", time.Time{}, nil},
		"a time that is earlier than the stale pods":  {timestamp, "2030-01-01T10:59:00Z", after, []string{"Annotate x 2030-01-01T11:00:01Z"}},
		"a value that is no time":                     {timestamp, "yesterday", time.Time{}, []string{"Annotate x 2030-01-01T11:00:01Z"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, stale("a", "x", operated(c.annotation)))
			s.asked("x", c.value).AskedAt = c.askedAt
			d := s.next()
			s.want(d, v1alpha1.CanaryInFlight, c.action...)
			if len(c.action) > 0 {
				return
			}
			if len(d.State.InProgress) != 1 || !d.State.InProgress[0].Applied {
				t.Fatalf("the roll is not taken up: %+v", d.State)
			}
			s.pass(time.Minute).restarted("x")
			s.want(s.next(), v1alpha1.Converged)
		})
	}
}

func TestThePodsOfACustomResourceAreEvictedOneAtATime(t *testing.T) {
	s := newScript(t, stale("a", "x", evicted))
	s.want(s.next(), v1alpha1.CanaryInFlight, "Evict x x-1")
	w := s.workload("x")
	w.StalePods, w.Pods, w.Ready, w.Terminating = w.StalePods[:1], 1, 1, 1
	s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
	w.Terminating = 0 // it is gone, and its replacement not there yet
	s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
	w.Pods = 2 // there, and not ready
	s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
	w.Ready = 2
	s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight, "Evict x x-0")

	operated(token)(w)
	s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight, "Annotate x v1:new")
}

// TestTheEvictionsOfAJobAreCounted: its only pod is replaced after a back-off, by
// one that is stale too.
func TestTheEvictionsOfAJobAreCounted(t *testing.T) {
	s := newScript(t, stale("a", "x", evicted, func(w *rollout.Workload) {
		w.Key.Group, w.Key.Kind, w.Pods, w.Ready, w.StalePods = "batch", "Job", 1, 1, w.StalePods[:1]
	}))
	for range 3 {
		s.want(s.next(), v1alpha1.CanaryInFlight, "Evict x x-0")
		w := s.workload("x")
		w.StalePods, w.Pods, w.Ready, w.NewestPod, w.OldestPod = nil, 0, 0, time.Time{}, time.Time{}
		s.want(s.pass(time.Second).next(), v1alpha1.CanaryInFlight)
		s.want(s.pass(9*time.Minute).next(), v1alpha1.CanaryInFlight)
		w.StalePods, w.Pods, w.Ready = pods("x", s.pass(time.Second).now, 1), 1, 1
		w.NewestPod, w.OldestPod = s.now, s.now
	}
	s.want(s.next(), v1alpha1.StillStale)
	s.want(s.pass(24*time.Hour).next(), v1alpha1.StillStale)
}

// TestAnEvictionEndsWhereThereAreFewerPodsByNow: nobody tells how many pods an
// operator keeps.
func TestAnEvictionEndsWhereThereAreFewerPodsByNow(t *testing.T) {
	s := newScript(t, stale("a", "x", evicted))
	s.next()
	w := s.rolled("x", "")
	w.Pods, w.Ready = 1, 1
	s.want(s.pass(time.Minute).next(), v1alpha1.CanaryInFlight) // the other may still come
	d := s.pass(10 * time.Minute).next()
	s.want(d, v1alpha1.Converged)
	if len(d.Ended) != 1 || d.Ended[0].Failed {
		t.Errorf("%+v", d.Ended)
	}
}
