package rotation

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// policyOf turns the spec, with its defaults, into the planner's policy.
func policyOf(spec *v1alpha1.MeshTrustSpec, workloads int, zones Zones) (rollout.Policy, error) {
	ro := &spec.Rollout
	most, err := intstr.GetScaledValueFromIntOrPercent(ro.MaxConcurrent, workloads, true)
	if err != nil {
		return rollout.Policy{}, fmt.Errorf("reading spec.rollout.maxConcurrent: %w", err)
	}
	p := rollout.Policy{
		Suspend: spec.Suspend, Paused: ro.Paused,
		MaxConcurrent:             min(max(most, 1), v1alpha1.MaxInProgress),
		MaxConcurrentPerNamespace: int(*ro.MaxConcurrentPerNamespace),
		WhenBroken:                ro.OutsideWindows == v1alpha1.OutsideWindowsWhenBroken,
		FailureThreshold:          int(*ro.FailureThreshold),
		ProgressDeadline:          ro.ProgressDeadline.Duration,
		MaxAttempts:               int(*ro.MaxAttempts),
		Retired:                   ro.Policies.Retired,
		EvictBarePods:             ro.Policies.BarePods == v1alpha1.BarePodsEvict,
		EvictJobs:                 ro.Policies.Jobs == v1alpha1.JobsEvict,
		EvictUnmanaged:            ro.Policies.Unmanaged == v1alpha1.UnmanagedEvict,
		Operators:                 ro.Operators,
		EnvDelay:                  spec.Bundle.Propagation.Environment.Duration,
	}
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
