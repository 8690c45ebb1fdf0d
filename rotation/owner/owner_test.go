package owner

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/reanchor/reanchor/rotation/rollout"
)

func TestWhatIsExpectedOfAnOwnerThatIsNotRead(t *testing.T) {
	replaces, nothing := rollout.Owner{Observed: true, ByPods: true}, rollout.Owner{Observed: true}
	for name, c := range map[string]struct {
		group, kind string
		want        rollout.Owner
	}{
		"an unknown kind makes up for pods that are gone": {"apps.kruise.io", "CloneSet", replaces},
		"so does one with a known name in another group":  {"example.com", "Deployment", replaces},
		"a Job does":                      {"batch", "Job", replaces},
		"nothing makes up for a bare pod": {"", "Pod", nothing},
		"nor for a mirror pod, which its node has none other for": {"", "Node", nothing},
	} {
		t.Run(name, func(t *testing.T) {
			key := rollout.Key{Group: c.group, Kind: c.kind, Namespace: "shop", Name: "x"}
			got, err := reader(world(nil, interceptor.Funcs{}), nil).Read(t.Context(), key, Surroundings{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Owner{Spec: rollout.OwnerSpec{Key: key, Found: true}, State: c.want}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
