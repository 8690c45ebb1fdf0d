package rollout_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/rollout"
)

func night(t *testing.T) []rollout.Window {
	t.Helper()
	w, err := rollout.NewWindow("0 22 * * *", time.Hour, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	return []rollout.Window{w}
}

// TestOneDecision is what Next decides on facts that it sees for the first time.
func TestOneDecision(t *testing.T) {
	hold := func(r v1alpha1.Reason) rollout.Hold { return rollout.Hold{Reason: r, Message: "because"} }
	needed := func(f *rollout.Facts) { f.Fence.Needed = true }
	for name, c := range map[string]struct {
		workloads []rollout.Workload
		edit      func(*rollout.Facts)
		reason    v1alpha1.Reason
		actions   []string
		blocked   []string
		again     time.Duration // after noon; 0 for none
		probe     bool
	}{
		"nothing is there":           {reason: v1alpha1.Converged},
		"every pod carries it":       {workloads: []rollout.Workload{stale("a", "x", current)}, reason: v1alpha1.Converged},
		"a stale workload is rolled": {workloads: []rollout.Workload{stale("a", "x")}, reason: v1alpha1.CanaryInFlight, actions: []string{"Restart x v1:new"}, again: 5 * time.Second},
		"an evicted one from its highest ordinal": {workloads: []rollout.Workload{stale("a", "x", verb(v1alpha1.VerbEvict))},
			reason: v1alpha1.CanaryInFlight, actions: []string{"Evict x x-1"}, again: 5 * time.Second},
		"an Argo Rollout a second after its newest pod": {workloads: []rollout.Workload{stale("a", "x", verb(v1alpha1.VerbRestartAt))},
			reason: v1alpha1.CanaryInFlight, actions: []string{"RestartAt x 11:00:01"}, again: 5 * time.Second},
		"a canary goes alone, the first by name": {workloads: []rollout.Workload{stale("a", "z"), stale("a", "y"), stale("a", "x")},
			reason: v1alpha1.CanaryInFlight, actions: []string{"Restart x v1:new"}, again: 5 * time.Second},
		"the control plane goes first": {workloads: []rollout.Workload{stale("a", "x"), stale("m", "plane", wave(0))},
			reason: v1alpha1.CanaryInFlight, actions: []string{"Restart plane v1:new"}, again: 5 * time.Second},
		"an earlier wave goes before a later one": {workloads: []rollout.Workload{stale("a", "x", func(w *rollout.Workload) { w.Expired = true }), stale("b", "y", wave(1))},
			reason: v1alpha1.CanaryInFlight, actions: []string{"Restart y v1:new"}, again: 5 * time.Second},
		"expired pods are the most urgent": {workloads: []rollout.Workload{stale("a", "x"), stale("a", "y", func(w *rollout.Workload) { w.Expired = true })},
			reason: v1alpha1.CanaryInFlight, actions: []string{"Restart y v1:new"}, again: 5 * time.Second},
		"missing renewals are less urgent than missing anchors": {workloads: []rollout.Workload{stale("a", "x", func(w *rollout.Workload) { w.RenewalOnly = true }), stale("a", "y")},
			reason: v1alpha1.CanaryInFlight, actions: []string{"Restart y v1:new"}, again: 5 * time.Second},
		"unless they break handshakes already": {workloads: []rollout.Workload{stale("a", "x", func(w *rollout.Workload) { w.RenewalOnly, w.Broken = true, true }), stale("a", "y")},
			reason: v1alpha1.CanaryInFlight, actions: []string{"Restart x v1:new"}, again: 5 * time.Second},
		"retired pods come last": {workloads: []rollout.Workload{stale("a", "x", retired), stale("a", "y", func(w *rollout.Workload) { w.RenewalOnly = true })},
			edit:   func(f *rollout.Facts) { f.Policy.Retired = v1alpha1.RetiredAlways },
			reason: v1alpha1.CanaryInFlight, actions: []string{"Restart y v1:new"}, again: 5 * time.Second},

		"retired pods are left alone by default": {workloads: []rollout.Workload{stale("a", "x", retired)}, reason: v1alpha1.Converged},
		"retired pods are rolled always": {workloads: []rollout.Workload{stale("a", "x", retired)}, edit: func(f *rollout.Facts) { f.Policy.Retired = v1alpha1.RetiredAlways },
			reason: v1alpha1.CanaryInFlight, actions: []string{"Restart x v1:new"}, again: 5 * time.Second},
		"retired pods are rolled once for a bundle": {workloads: []rollout.Workload{stale("a", "x", retired, func(w *rollout.Workload) { w.RestartedFor = newHash })},
			edit: func(f *rollout.Facts) { f.Policy.Retired = v1alpha1.RetiredAlways }, reason: v1alpha1.Converged},
		"retired pods wait for a window, and it is said when": {workloads: []rollout.Workload{stale("a", "x", retired)},
			edit: func(f *rollout.Facts) { f.Policy.Retired, f.Policy.Windows = v1alpha1.RetiredInWindow, night(t) }, reason: v1alpha1.Converged, again: 10 * time.Hour},
		"retired pods wait for ever without a window": {workloads: []rollout.Workload{stale("a", "x", retired)},
			edit: func(f *rollout.Facts) { f.Policy.Retired = v1alpha1.RetiredInWindow }, reason: v1alpha1.Converged},

		"suspended":                   {workloads: []rollout.Workload{stale("a", "x")}, edit: func(f *rollout.Facts) { f.Policy.Suspend, f.Policy.Paused = true, true }, reason: v1alpha1.Suspended},
		"paused":                      {workloads: []rollout.Workload{stale("a", "x")}, edit: func(f *rollout.Facts) { f.Policy.Paused = true }, reason: v1alpha1.Paused},
		"the bundle fails the issuer": {workloads: []rollout.Workload{stale("a", "x")}, edit: func(f *rollout.Facts) { f.Hold = hold(v1alpha1.BundleDoesNotTrustIssuer) }, reason: v1alpha1.BundleDoesNotTrustIssuer},
		"a hold is graver than a pause": {workloads: []rollout.Workload{stale("a", "x")},
			edit: func(f *rollout.Facts) { f.Hold, f.Policy.Paused = hold(v1alpha1.BundleInvalid), true }, reason: v1alpha1.BundleInvalid},
		"a suspension is graver than a hold": {workloads: []rollout.Workload{stale("a", "x")},
			edit: func(f *rollout.Facts) { f.Hold, f.Policy.Suspend = hold(v1alpha1.BundleInvalid), true }, reason: v1alpha1.Suspended},
		"a hold does not matter when nothing is stale": {workloads: []rollout.Workload{stale("a", "x", current)}, edit: func(f *rollout.Facts) { f.Hold = hold(v1alpha1.IssuerExpired) }, reason: v1alpha1.Converged},
		"outside the windows": {workloads: []rollout.Workload{stale("a", "x")}, edit: func(f *rollout.Facts) { f.Policy.Windows = night(t) },
			reason: v1alpha1.OutsideWindow, again: 10 * time.Hour},
		"outside the windows, until pods break": {workloads: []rollout.Workload{stale("a", "x")},
			edit: func(f *rollout.Facts) {
				f.Policy.Windows, f.Policy.WhenBroken, f.Breaks = night(t), true, noon.Add(time.Hour)
			},
			reason: v1alpha1.OutsideWindow, again: time.Hour},
		"what is broken is repaired outside the windows": {workloads: []rollout.Workload{stale("a", "x"), stale("a", "y", func(w *rollout.Workload) { w.Broken = true })},
			edit:   func(f *rollout.Facts) { f.Policy.Windows, f.Policy.WhenBroken = night(t), true },
			reason: v1alpha1.CanaryInFlight, actions: []string{"Restart y v1:new"}, again: 5 * time.Second},
		"what has expired too": {workloads: []rollout.Workload{stale("a", "y", func(w *rollout.Workload) { w.Expired = true })},
			edit:   func(f *rollout.Facts) { f.Policy.Windows, f.Policy.WhenBroken = night(t), true },
			reason: v1alpha1.CanaryInFlight, actions: []string{"Restart y v1:new"}, again: 5 * time.Second},
		"unless the policy forbids it": {workloads: []rollout.Workload{stale("a", "y", func(w *rollout.Workload) { w.Broken = true })},
			edit: func(f *rollout.Facts) { f.Policy.Windows = night(t) }, reason: v1alpha1.OutsideWindow, again: 10 * time.Hour},

		"before the bundle is surely read": {workloads: []rollout.Workload{stale("m", "plane", wave(0))},
			edit: func(f *rollout.Facts) {
				f.Bundle.SeenAt, f.Bundle.PublishedAt = noon.Add(-3*time.Second), noon.Add(-4*time.Second)
			},
			reason: v1alpha1.WaitingForPropagation, again: 7 * time.Second},
		"the control plane needs no fence": {workloads: []rollout.Workload{stale("m", "plane", wave(0))}, edit: needed,
			reason: v1alpha1.CanaryInFlight, actions: []string{"Restart plane v1:new"}, again: 5 * time.Second},
		"an injector may serve the older bundle": {workloads: []rollout.Workload{stale("a", "x")},
			edit:   func(f *rollout.Facts) { f.Fence.Needed, f.Fence.KnownAt = true, noon.Add(2*time.Second) },
			reason: v1alpha1.WaitingForInjector, again: 2 * time.Second},
		"no probe is made while an injector may serve the older bundle": {workloads: []rollout.Workload{stale("a", "x")},
			edit: needed, reason: v1alpha1.WaitingForInjector, again: 5 * time.Second},
		"the injectors are probed": {workloads: []rollout.Workload{stale("a", "x")}, edit: func(f *rollout.Facts) { f.Fence.Needed, f.Fence.Known = true, true },
			reason: v1alpha1.WaitingForInjector, again: 5 * time.Second, probe: true},
		"a probe was answered with the older bundle": {workloads: []rollout.Workload{stale("a", "x")},
			edit: func(f *rollout.Facts) {
				f.Fence = rollout.FenceEvidence{Needed: true, Known: true, Probe: rollout.SomeStale}
			},
			reason: v1alpha1.WaitingForInjector, again: 5 * time.Second, probe: true},
		"a probe was refused": {workloads: []rollout.Workload{stale("a", "x")},
			edit: func(f *rollout.Facts) {
				f.Fence = rollout.FenceEvidence{Needed: true, Known: true, Probe: rollout.Refused}
			},
			reason: v1alpha1.ProbeRefused, again: 5 * time.Second, probe: true},
		"every probe was answered with the bundle": {workloads: []rollout.Workload{stale("a", "x")},
			edit: func(f *rollout.Facts) {
				f.Fence = rollout.FenceEvidence{Needed: true, Known: true, Probe: rollout.AllFresh}
			},
			reason: v1alpha1.CanaryInFlight, actions: []string{"Restart x v1:new"}, again: 5 * time.Second},
		"a rotation asks for the fence though nothing is to be rolled": {workloads: []rollout.Workload{stale("a", "x", current)},
			edit:   func(f *rollout.Facts) { f.WantFence, f.Fence.Needed, f.Fence.Known = true, true, true },
			reason: v1alpha1.WaitingForInjector, again: 5 * time.Second, probe: true},
		"and has it at once": {workloads: []rollout.Workload{stale("a", "x", current)},
			edit: func(f *rollout.Facts) {
				f.WantFence, f.Fence = true, rollout.FenceEvidence{Needed: true, Known: true, Probe: rollout.AllFresh}
			},
			reason: v1alpha1.Converged},
		"without a rotation nobody is probed for nothing": {workloads: []rollout.Workload{stale("a", "x", current)},
			edit:   func(f *rollout.Facts) { f.Fence.Needed, f.Fence.Known = true, true },
			reason: v1alpha1.Converged},
		"nor while all is paused": {workloads: []rollout.Workload{stale("a", "x", current)},
			edit: func(f *rollout.Facts) {
				f.WantFence, f.Policy.Paused, f.Fence.Needed, f.Fence.Known = true, true, true, true
			},
			reason: v1alpha1.Converged},
		"a fence of an earlier publication does not count": {workloads: []rollout.Workload{stale("a", "x")},
			edit: func(f *rollout.Facts) {
				f.Fence = rollout.FenceEvidence{Needed: true, Known: true}
				f.State = rollout.State{BundleHash: newHash, FencedAt: noon.Add(-3 * time.Hour)}
			},
			reason: v1alpha1.WaitingForInjector, again: 5 * time.Second, probe: true},

		"what is blocked is reported": {workloads: []rollout.Workload{stale("a", "x", block(v1alpha1.BarePod)), stale("a", "y", block(v1alpha1.OptedOut))},
			reason: v1alpha1.Converged, blocked: []string{"x BarePod", "y OptedOut"}},
		"a blocked workload holds up no later wave": {workloads: []rollout.Workload{stale("a", "x", wave(1), block(v1alpha1.JobPod)), stale("a", "y")},
			reason: v1alpha1.CanaryInFlight, actions: []string{"Restart y v1:new"}, blocked: []string{"x JobPod"}, again: 5 * time.Second},
		"a blocked control plane does": {workloads: []rollout.Workload{stale("m", "plane", wave(0), block(v1alpha1.WorkloadPaused)), stale("a", "y")},
			reason: v1alpha1.WorkloadPaused, blocked: []string{"plane WorkloadPaused"}},
		"one that opted out does not": {workloads: []rollout.Workload{stale("m", "plane", wave(0), block(v1alpha1.OptedOut)), stale("a", "y")},
			reason: v1alpha1.CanaryInFlight, actions: []string{"Restart y v1:new"}, blocked: []string{"plane OptedOut"}, again: 5 * time.Second},
		"pods on a node that cannot replace them are named": {workloads: []rollout.Workload{stale("a", "x", current, func(w *rollout.Workload) { w.Stranded, w.Owner.Unreachable = 1, 1 })},
			reason: v1alpha1.Converged, blocked: []string{"x NodeNotReady"}},

		"a rollout of somebody else ends first": {workloads: []rollout.Workload{stale("a", "x", func(w *rollout.Workload) { w.Owner.Updated, w.NewestPod = 1, noon.Add(-time.Minute) })},
			reason: v1alpha1.RolloutInFlight, blocked: []string{"x RolloutInFlight"}, again: 9 * time.Minute},
		"it counts in the budget": {workloads: []rollout.Workload{stale("b", "busy", current, busy), stale("a", "x")},
			edit:   func(f *rollout.Facts) { f.Policy.MaxConcurrent = 1 },
			reason: v1alpha1.BudgetExhausted, again: 9 * time.Minute},
		"it counts in its namespace": {workloads: []rollout.Workload{stale("b", "busy", current, busy), stale("b", "x"), stale("c", "y")},
			edit:   func(f *rollout.Facts) { f.Policy.MaxConcurrentPerNamespace = 1 },
			reason: v1alpha1.CanaryInFlight, actions: []string{"Restart y v1:new"}, again: 5 * time.Second},
		"one that brings no new pods any more takes up no place": {workloads: []rollout.Workload{stale("b", "busy", halted), stale("b", "broken", current, halted), stale("b", "x")},
			edit:   func(f *rollout.Facts) { f.Policy.MaxConcurrent, f.Policy.MaxConcurrentPerNamespace = 1, 1 },
			reason: v1alpha1.Rolling, actions: []string{"Restart x v1:new"}, blocked: []string{"busy RolloutInFlight"}, again: 5 * time.Second},
		"but it does while a pod of it terminates": {workloads: []rollout.Workload{stale("b", "busy", current, halted, func(w *rollout.Workload) { w.Terminating = 1 }), stale("b", "x")},
			reason: v1alpha1.BudgetExhausted, edit: func(f *rollout.Facts) { f.Policy.MaxConcurrent = 1 }},
		"and one that failed does, whose pods are weeks old: somebody may be replacing them": {
			workloads: []rollout.Workload{stale("b", "busy", halted, func(w *rollout.Workload) { w.Terminating = 1 }), stale("b", "x")},
			edit: func(f *rollout.Facts) {
				f.Policy.MaxConcurrent, f.Policy.MaxConcurrentPerNamespace = 1, 1
				f.State = failed("busy", noon.Add(-time.Minute))
			},
			reason: v1alpha1.BudgetExhausted},
		"and while its owner has not seen what is asked of it": {workloads: []rollout.Workload{stale("b", "busy", current, halted, func(w *rollout.Workload) { w.Owner.Observed = false }), stale("b", "x")},
			reason: v1alpha1.BudgetExhausted, edit: func(f *rollout.Facts) { f.Policy.MaxConcurrent = 1 }},
		"one that is stuck holds up no later wave": {workloads: []rollout.Workload{stale("a", "x", wave(1), func(w *rollout.Workload) { w.Owner.Updated = 1 }), stale("a", "y")},
			reason: v1alpha1.CanaryInFlight, actions: []string{"Restart y v1:new"}, blocked: []string{"x RolloutInFlight"}, again: 5 * time.Second},
		"one that is stuck is not called converged": {workloads: []rollout.Workload{stale("a", "x", wave(1), func(w *rollout.Workload) { w.Owner.Updated = 1 })},
			reason: v1alpha1.RolloutInFlight, blocked: []string{"x RolloutInFlight"}},
		"one that is stuck on stale pods is healed": {workloads: []rollout.Workload{stale("a", "x", func(w *rollout.Workload) { w.Owner.Updated, w.StalePods[0].Ready, w.Ready = 1, false, 1 })},
			edit:   func(f *rollout.Facts) { f.Policy.MaxConcurrent = 1 },
			reason: v1alpha1.Rolling, actions: []string{"Restart x v1:new"}, again: 5 * time.Second},
		"a stale control plane that is stuck holds up all": {workloads: []rollout.Workload{stale("m", "plane", wave(0), func(w *rollout.Workload) { w.Owner.Updated = 1 }), stale("a", "y")},
			reason: v1alpha1.RolloutInFlight, blocked: []string{"plane RolloutInFlight"}},
		"one that is merely retired does not": {workloads: []rollout.Workload{stale("m", "plane", wave(0), retired, func(w *rollout.Workload) { w.Owner.Updated = 1 }), stale("a", "y")},
			edit:   func(f *rollout.Facts) { f.Policy.Retired = v1alpha1.RetiredAlways },
			reason: v1alpha1.CanaryInFlight, actions: []string{"Restart y v1:new"}, blocked: []string{"plane RolloutInFlight"}, again: 5 * time.Second},
		"a spec that its owner has not seen is waited for": {workloads: []rollout.Workload{stale("a", "x", func(w *rollout.Workload) { w.Owner.Observed = false })},
			reason: v1alpha1.RolloutInFlight, blocked: []string{"x RolloutInFlight"}},
		"pods that are merely not available are rolled": {workloads: []rollout.Workload{stale("a", "x", func(w *rollout.Workload) { w.Owner.Available, w.Ready = 0, 0 })},
			reason: v1alpha1.CanaryInFlight, actions: []string{"Restart x v1:new"}, again: 5 * time.Second},

		"a mark of another bundle is none": {workloads: []rollout.Workload{stale("a", "x", func(w *rollout.Workload) { w.RestartedFor = oldHash + ".2" })},
			reason: v1alpha1.CanaryInFlight, actions: []string{"Restart x v1:new"}, again: 5 * time.Second},
		"a pod of the mark that is stale calls for the next attempt": {workloads: []rollout.Workload{marked(stale("a", "x"), newHash)},
			reason: v1alpha1.CanaryInFlight, actions: []string{"Restart x v1:new.2"}, again: 5 * time.Second},
		"stale pods that are not of the mark are waited for": {workloads: []rollout.Workload{stale("a", "x", func(w *rollout.Workload) { w.RestartedFor, w.Outdated = newHash, 2 })},
			reason: v1alpha1.CanaryInFlight, again: 5 * time.Second},
		"the last attempt was made": {workloads: []rollout.Workload{marked(stale("a", "x"), newHash+".3")}, reason: v1alpha1.StillStale, again: 10 * time.Minute},
		"marks of an earlier time that the bundle was in force are no attempts": {workloads: []rollout.Workload{marked(stale("a", "x"), newHash+".3")},
			edit: func(f *rollout.Facts) {
				f.Bundle.PublishedAt, f.Bundle.SeenAt = noon.Add(-30*time.Minute), noon.Add(-30*time.Minute)
			},
			reason: v1alpha1.CanaryInFlight, actions: []string{"Restart x v1:new.4"}, again: 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, c.workloads...)
			if c.edit != nil {
				c.edit(&s.facts)
			}
			d := s.next()
			s.want(d, c.reason, c.actions...)
			if diff := cmp.Diff(c.blocked, blockedBy(d)); diff != "" {
				t.Errorf("blocked (-want +got):\n%s", diff)
			}
			again := time.Duration(0)
			if !d.Again.IsZero() {
				again = d.Again.Sub(noon)
			}
			if again != c.again {
				t.Errorf("decides again after %s, want %s", again, c.again)
			}
			if d.Probe != c.probe {
				t.Errorf("asks for probes: %t, want %t", d.Probe, c.probe)
			}
		})
	}
}

// failed is a state in which the roll of a Deployment of namespace b failed.
func failed(name string, at time.Time) rollout.State {
	return rollout.State{BundleHash: newHash, Wave: 2, Failed: []rollout.Failure{{
		Key: rollout.Key{Group: "apps", Kind: "Deployment", Namespace: "b", Name: name}, Reason: v1alpha1.ProgressDeadlineExceeded, Attempt: 1, Since: at}}}
}

// marked shows a workload whose pods all are of a mark.
func marked(w rollout.Workload, mark string) rollout.Workload {
	w.RestartedFor = mark
	for i := range w.StalePods {
		w.StalePods[i].RestartedFor = mark
	}
	return w
}

func TestTheBudgetIsTheMostRestrictive(t *testing.T) {
	var many []rollout.Workload
	for n := range 20 {
		many = append(many, stale(fmt.Sprintf("ns%d", n%4), fmt.Sprintf("w%02d", n)))
	}
	for name, c := range map[string]struct {
		total, perNamespace, done, want int
	}{
		"the canary":                    {100, 100, 0, 1},
		"two after the canary":          {100, 100, 1, 2},
		"two after two":                 {100, 100, 2, 2},
		"four after three":              {100, 100, 3, 4},
		"eight after seven":             {100, 100, 7, 8},
		"sixteen after fifteen":         {100, 100, 15, 16},
		"the count bounds the ramp":     {5, 100, 15, 5},
		"the namespaces bound the ramp": {100, 2, 15, 8},
		"both":                          {7, 2, 15, 7},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, many...)
			s.facts.Policy.MaxConcurrent, s.facts.Policy.MaxConcurrentPerNamespace = c.total, c.perNamespace
			s.facts.State = rollout.State{BundleHash: newHash, Wave: 2, Completed: c.done}
			d := s.next()
			if got := len(d.State.InProgress); got != c.want || len(d.Actions) != c.want {
				t.Errorf("%d rolls begin with %d writes, want %d", got, len(d.Actions), c.want)
			}
			if again := s.next(); len(again.State.InProgress) != c.want {
				t.Errorf("%d are in flight when the decision is made again, want %d", len(again.State.InProgress), c.want)
			}
		})
	}
}

// TestWhatIsStalledTakesUpNoBudget has two rollouts that came to a halt since a
// stale pod is not ready: of an earlier wave one, of a later one the other.
func TestWhatIsStalledTakesUpNoBudget(t *testing.T) {
	halted := func(w *rollout.Workload) { w.Owner.Updated = 0 }
	s := newScript(t, stale("a", "x", ordered, halted, wave(1)), stale("a", "y", ordered, halted))
	s.facts.Policy.MaxConcurrent, s.facts.Policy.MaxConcurrentPerNamespace = 1, 1
	s.want(s.next(), v1alpha1.Rolling, "Restart x v1:new")

	s.facts.State = rollout.State{}
	block(v1alpha1.OptedOut)(s.workload("y"))
	s.workload("y").NewestPod = noon.Add(-time.Minute) // it goes on, as far as can be told
	d := s.next()
	s.want(d, v1alpha1.BudgetExhausted)
	if want := noon.Add(9 * time.Minute); !d.Again.Equal(want) {
		t.Errorf("again at %s, want %s, when that is stalled, too", d.Again, want)
	}
}

func TestTheOrderOfTheFactsDoesNotMatter(t *testing.T) {
	var many []rollout.Workload
	for n := range 12 {
		many = append(many, stale(fmt.Sprintf("ns%d", n%3), fmt.Sprintf("w%02d", n), func(w *rollout.Workload) { w.Expired = n%5 == 0 }))
	}
	s := newScript(t, many...)
	s.facts.State = rollout.State{BundleHash: newHash, Wave: 2, Completed: 3,
		InProgress: []rollout.Roll{{Key: many[3].Key, Attempt: 1, Verb: v1alpha1.VerbRestart, For: newHash, StartedAt: noon, ProgressAt: noon, Left: 2},
			{Key: many[1].Key, Attempt: 1, Verb: v1alpha1.VerbRestart, For: newHash, StartedAt: noon, ProgressAt: noon, Left: 2}},
		Failed: []rollout.Failure{{Key: many[7].Key, Reason: v1alpha1.StillStale, Since: noon}, {Key: many[6].Key, Reason: v1alpha1.EvictionBlocked, Since: noon}}}
	want := rollout.Next(s.facts, noon)
	slices.Reverse(s.facts.Workloads)
	slices.Reverse(s.facts.State.InProgress)
	slices.Reverse(s.facts.State.Failed)
	if diff := cmp.Diff(want, rollout.Next(s.facts, noon)); diff != "" {
		t.Errorf("in another order (-first +second):\n%s", diff)
	}
}

// BenchmarkNext decides on a mesh of 10,000 workloads, all of them stale, with
// as many in flight as the default budget allows.
func BenchmarkNext(b *testing.B) {
	facts := rollout.Facts{
		Bundle: rollout.Bundle{Hash: newHash, PublishedAt: noon.Add(-time.Hour), SeenAt: noon.Add(-time.Hour)},
		Policy: rollout.Policy{MaxConcurrent: 1000, MaxConcurrentPerNamespace: 10, FailureThreshold: 3, ProgressDeadline: time.Minute, MaxAttempts: 3},
	}
	for n := range 10_000 {
		facts.Workloads = append(facts.Workloads, stale(fmt.Sprintf("ns%d", n%200), fmt.Sprintf("w%d", n)))
	}
	facts.State = rollout.State{BundleHash: newHash, Wave: 2, Completed: 2000}
	facts.State = rollout.Next(facts, noon).State
	for b.Loop() {
		if d := rollout.Next(facts, noon); len(d.State.InProgress) != 1000 {
			b.Fatalf("%d in flight", len(d.State.InProgress))
		}
	}
}
