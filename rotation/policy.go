package rotation

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/inventory"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// rollable is how many of the workloads are of a kind that is rolled at all: a
// percent is of these. Hundreds of Jobs that are waited for would else let half of
// a mesh's Deployments roll at once.
func rollable(spec *v1alpha1.MeshTrustSpec, workloads []inventory.Workload) int {
	n, policy := 0, kindPolicy(&spec.Rollout)
	for i := range workloads {
		verb, _ := rollout.VerbFor(rollout.OwnerSpec{Key: rollout.Key(workloads[i].Key), Found: true, Desired: 1}, policy)
		if verb != "" {
			n++
		}
	}
	return n
}

// kindPolicy is what the policy says on kinds.
func kindPolicy(ro *v1alpha1.RolloutSpec) rollout.Policy {
	return rollout.Policy{
		EvictBarePods:  ro.Policies.BarePods == v1alpha1.BarePodsEvict,
		EvictJobs:      ro.Policies.Jobs == v1alpha1.JobsEvict,
		EvictUnmanaged: ro.Policies.Unmanaged == v1alpha1.UnmanagedEvict,
		Operators:      ro.Operators,
	}
}

// policyOf turns the spec, with its defaults, into the planner's policy for so many
// workloads that may be rolled.
func policyOf(spec *v1alpha1.MeshTrustSpec, workloads int, zones Zones) (rollout.Policy, error) {
	ro := &spec.Rollout
	most, err := intstr.GetScaledValueFromIntOrPercent(ro.MaxConcurrent, workloads, true)
	if err != nil {
		return rollout.Policy{}, fmt.Errorf("reading spec.rollout.maxConcurrent: %w", err)
	}
	p := kindPolicy(ro)
	p.Suspend, p.Paused = spec.Suspend, ro.Paused
	p.MaxConcurrent = min(max(most, 1), v1alpha1.MaxInProgress)
	p.MaxConcurrentPerNamespace = int(*ro.MaxConcurrentPerNamespace)
	p.WhenBroken = ro.OutsideWindows == v1alpha1.OutsideWindowsWhenBroken
	p.FailureThreshold = int(*ro.FailureThreshold)
	p.ProgressDeadline = ro.ProgressDeadline.Duration
	p.MaxAttempts = int(*ro.MaxAttempts)
	p.Retired = ro.Policies.Retired
	p.EnvDelay = spec.Bundle.Propagation.Environment.Duration
	for _, w := range ro.Windows {
		zone, err := zones(w.TimeZone)
		if err != nil {
			return rollout.Policy{}, fmt.Errorf("reading spec.rollout.windows, time zone %q: %w", w.TimeZone, err)
		}
		window, err := rollout.NewWindow(w.Schedule, w.Duration.Duration, zone)
		if err != nil {
			return rollout.Policy{}, fmt.Errorf("reading spec.rollout.windows: %w", err)
		}
		p.Windows = append(p.Windows, window)
	}
	return p, nil
}
