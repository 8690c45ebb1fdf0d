package rollout_test

import "testing"

// TestTheSimulationNoticesAMissingRule takes one rule away at a time, in the
// simulated world or in what its controllers see, and wants a foul.
func TestTheSimulationNoticesAMissingRule(t *testing.T) {
	rules := map[string]struct {
		rule mutant
		from uint64 // the world to begin with, near one that is known to show it
	}{
		"the state is stored before anything is written":           {actFirst, 1},
		"the injectors are fenced":                                 {noFence, 1},
		"terminating pods count":                                   {noTerminating, 1},
		"an own write counts until it shows":                       {noLags, 1},
		"a second attempt needs a pod of the first":                {noEvidence, 1},
		"the pods tell of which roll they are":                     {noMarks, 785},
		"caches reach the present before a leader acts":            {staleStart, 355},
		"a decision is acted on at once or not at all":             {noDeadline, 125},
		"a state that was changed meanwhile is not overwritten":    {noConflict, 935},
		"the workload is read live before it is written":           {noLiveRead, 1},
		"the next pod goes when the one before is replaced":        {noReadiness, 1},
		"waves follow one another":                                 {noWaves, 1},
		"nothing is rolled towards a bundle that fails the issuer": {noGate, 1},
		"nothing starts before the bundle is surely read":          {noPropagation, 1},
		"rollouts that others began count":                         {noOwnRollouts, 1},
		"an operator is through when all pods are replaced":        {noOldest, 175},
		"a pod that is missing is waited for":                      {noMissing, 1},
	}
	for name, c := range rules {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			steps := 0
			for seed := c.from; seed < c.from+1000; seed++ {
				w, f := simulate(seed, config{mutant: c.rule}, disturbedSteps)
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
