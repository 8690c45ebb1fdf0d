package webhook_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/webhook"
)

// Who makes and deletes MeshTrusts under ever new names must not make series without
// end, and an alert must not go on for one that is gone.
func TestTheSeriesOfAMeshGoWithIt(t *testing.T) {
	registry := prometheus.NewRegistry()
	metrics, err := webhook.NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	ca := root(t, "a", -1, 1e15)
	named := func(names ...string) *webhook.Snapshot {
		var all []v1alpha1.MeshTrust
		for _, name := range names {
			mt := linkerd([]*bundletest.CA{ca})
			mt.Name = name
			all = append(all, mt)
		}
		return webhook.NewSnapshot(world(all...), nil)
	}
	// A request that began before the mesh went counts for it.
	late := named("gone")
	stamp, _ := webhook.NewHandlers(webhook.Sources{
		Snapshot: func() *webhook.Snapshot { return late }, Clock: clocktesting.NewFakePassiveClock(now), Metrics: metrics,
	})
	metrics.Snapshot(named("gone", "stays"))
	if diff := cmp.Diff(map[string]bool{"": true, "gone": true, "stays": true}, meshesCounted(t, registry)); diff != "" {
		t.Fatalf("series of meshes (-want +got):\n%s", diff)
	}
	metrics.Snapshot(named("stays"))
	if diff := cmp.Diff(map[string]bool{"": true, "stays": true}, meshesCounted(t, registry)); diff != "" {
		t.Errorf("series after a mesh went (-want +got):\n%s", diff)
	}
	call(stamp, strings.NewReader(reviewText(t, "bare-pod")))
	if !meshesCounted(t, registry)["gone"] {
		t.Fatal("the late request is not of this mesh")
	}
	metrics.Snapshot(named("stays"))
	if diff := cmp.Diff(map[string]bool{"": true, "stays": true}, meshesCounted(t, registry)); diff != "" {
		t.Errorf("series after a late request (-want +got):\n%s", diff)
	}
	before := series(t, registry)
	metrics.Snapshot(named("stays", "gone"))
	if series(t, registry) <= before {
		t.Error("a mesh that comes again has no series")
	}
}

// meshesCounted are the meshes that requests are counted for; empty for none.
func meshesCounted(t *testing.T, r *prometheus.Registry) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, m := range requestMetrics(t, r) {
		for _, l := range m.GetLabel() {
			if l.GetName() == "mesh" {
				names[l.GetValue()] = true
			}
		}
	}
	return names
}
