package rollout_test

import "testing"

// TestTheSimulationNoticesAMissingRule takes one rule away at a time, in the
// simulated world or in what its controllers see, and wants a foul within as many
// steps as the rules are simulated for by default.
func TestTheSimulationNoticesAMissingRule(t *testing.T) {
	rules := map[string]mutant{
		"the state is stored before anything is written":           actFirst,
		"the injectors are fenced":                                 noFence,
		"terminating pods count":                                   noTerminating,
		"an own write counts until it shows":                       noLags,
		"a second attempt needs a pod of the first":                noEvidence,
		"caches reach the present before a leader acts":            staleStart,
		"a decision is acted on at once or not at all":             noDeadline,
		"a state that was changed meanwhile is not overwritten":    noConflict,
		"the workload is read live before it is written":           noLiveRead,
		"the next pod goes when the one before is replaced":        noReadiness,
		"waves follow one another":                                 noWaves,
		"nothing is rolled towards a bundle that fails the issuer": noGate,
		"nothing starts before the bundle is surely read":          noPropagation,
		"rollouts that others began count":                         noOwnRollouts,
		"an operator is through when all pods are replaced":        noOldest,
		"a pod that is missing is waited for":                      noMissing,
		"a roll for old leaves is no attempt":                      noLeaves,
		"nobody waits for a pod that cannot end":                   lostCount,
	}
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			steps := 0
			for seed := uint64(1); steps < 1_000_000; seed++ {
				w, f := simulate(seed, config{mutant: rule}, disturbedSteps)
				steps += w.steps
				if f != "" {
					t.Logf("world %d, %d steps in all: %s", seed, steps, f)
					return
				}
			}
			t.Errorf("%d steps without a foul", steps)
		})
	}
}
