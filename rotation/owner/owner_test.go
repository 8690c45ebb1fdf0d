package owner

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
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

func TestAnArgoRolloutIsInFlightByItsPhase(t *testing.T) {
	key := rollout.Key{Group: rolloutKind.Group, Kind: rolloutKind.Kind, Namespace: "shop", Name: "web"}
	for phase, want := range map[string]bool{"Progressing": true, "Healthy": false, "Paused": false, "Degraded": false, "": false} {
		t.Run(phase, func(t *testing.T) {
			u := &unstructured.Unstructured{Object: map[string]any{
				"spec": map[string]any{"replicas": int64(3)},
				"status": map[string]any{
					"phase": phase, "observedGeneration": "0", "replicas": int64(4), "availableReplicas": int64(2),
				},
			}}
			u.SetGroupVersionKind(rolloutKind)
			u.SetNamespace(key.Namespace)
			u.SetName(key.Name)
			c := fake.NewClientBuilder().WithScheme(runtime.NewScheme()).WithObjects(u).Build()
			got, err := reader(c, nil).Read(t.Context(), key, Surroundings{})
			if err != nil {
				t.Fatal(err)
			}
			state := rollout.Owner{Observed: true, Progressing: want, Desired: 3, Updated: 4, Total: 4, Available: 2}
			if diff := cmp.Diff(state, got.State); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
