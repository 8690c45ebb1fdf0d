package rotation

import (
	"context"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/inventory"
	"github.com/reanchor/reanchor/rotation/owner"
)

// A rollout of its own counts in the budget (I4), also of a workload with nothing
// to be replaced. Argo Rollouts are not cached: one is read only while it may be in
// flight.
func TestAnArgoRolloutWithoutStalePodsIsReadWhileItMayBeInFlight(t *testing.T) {
	u := &unstructured.Unstructured{Object: map[string]any{
		"spec": map[string]any{"replicas": int64(2)}, "status": map[string]any{"phase": "Progressing", "observedGeneration": "0"},
	}}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Rollout"})
	u.SetNamespace("shop")
	u.SetName("web")
	reads := 0
	live := fake.NewClientBuilder().WithScheme(runtime.NewScheme()).WithObjects(u).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			reads++
			return c.Get(ctx, key, o, options...)
		},
	}).Build()
	for name, c := range map[string]struct {
		kind        string
		newest      int
		terminating int
		want        bool
	}{
		"a pod has just come":                     {"Rollout", 0, 0, true},
		"a pod ends":                              {"Rollout", -3600, 1, true},
		"it has been at rest for long":            {"Rollout", -3600, 0, false},
		"other kinds have no rollout of that ilk": {"ReplicaSet", 0, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := surveyorOf()
			s.reader, s.policy.ProgressDeadline = owner.Reader{Cached: live, Live: live, Mesh: &mesh.Mesh{}}, 10*time.Minute
			key := inventory.Key{Group: "argoproj.io", Kind: "Rollout", Namespace: "shop", Name: "web"}
			if c.kind != "Rollout" {
				key.Group, key.Kind = "apps", c.kind
			}
			reads = 0
			got, err := s.one(t.Context(), &inventory.Workload{
				Key: key, Counts: inventory.Counts{Total: 2, Current: 2}, Ready: 2, Terminating: c.terminating, NewestPod: at(c.newest),
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 1 || got[0].Owner.Progressing != c.want || (reads > 0) != c.want {
				t.Errorf("in flight and read: want %t, got %+v after %d reads", c.want, got, reads)
			}
		})
	}
}
