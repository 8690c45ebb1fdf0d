package rotation

import (
	"testing"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/inventory"
)

func TestAPercentIsOfTheWorkloadsOfAKindThatIsRolled(t *testing.T) {
	var workloads []inventory.Workload
	for kind, group := range map[string]string{"Deployment": "apps", "Rollout": "argoproj.io", "Database": "example.com", "Kafka": "kafka.example.com", "Job": "batch", "Pod": "", "Node": ""} {
		w := inventory.Workload{}
		w.Key.Group, w.Key.Kind = group, kind
		workloads = append(workloads, w)
	}
	for name, c := range map[string]struct {
		policies v1alpha1.RolloutPolicies
		want     int
	}{
		"Jobs, bare pods, unknown kinds and mirror pods are none": {v1alpha1.RolloutPolicies{}, 3},
		"Jobs are when they are evicted":                          {v1alpha1.RolloutPolicies{Jobs: v1alpha1.JobsEvict}, 4},
		"bare pods are when they are evicted":                     {v1alpha1.RolloutPolicies{BarePods: v1alpha1.BarePodsEvict}, 4},
		"unknown kinds are when they are evicted":                 {v1alpha1.RolloutPolicies{Unmanaged: v1alpha1.UnmanagedEvict}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			mt := &v1alpha1.MeshTrust{Spec: v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd, Rollout: v1alpha1.RolloutSpec{
				Policies: c.policies, Operators: []v1alpha1.OperatorKind{{Group: "example.com", Kind: "Database", Evict: true}},
			}}}
			spec := mt.EffectiveSpec()
			if got := rollable(&spec, workloads); got != c.want {
				t.Errorf("%d are counted, want %d", got, c.want)
			}
		})
	}
}
