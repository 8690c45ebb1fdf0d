package rotation

import (
	"testing"
	"time"

	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/inventory"
)

func TestWhichPodsARotationWantsReplaced(t *testing.T) {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	current := bundle.Of(bundletest.NewRoot(t, "root", bundletest.From(noon.Add(-time.Hour), 100*time.Hour)).Cert)
	mark := current.Hash()
	for name, c := range map[string]struct {
		restart restart
		pod     inventory.Pod
		want    bool
	}{
		"none without one":                         {restart{}, inventory.Pod{ControlPlane: true, Class: mesh.ClassUnknown}, false},
		"an unknown one of the control plane":      {restart{unknown: true}, inventory.Pod{ControlPlane: true, Class: mesh.ClassUnknown}, true},
		"but once for a bundle":                    {restart{unknown: true}, inventory.Pod{ControlPlane: true, Class: mesh.ClassUnknown, RestartedFor: mark + ".2"}, false},
		"again for another":                        {restart{unknown: true}, inventory.Pod{ControlPlane: true, Class: mesh.ClassUnknown, RestartedFor: "v1:other"}, true},
		"no known one":                             {restart{unknown: true}, inventory.Pod{ControlPlane: true, Class: mesh.ClassCurrent}, false},
		"no unknown one of an application":         {restart{unknown: true}, inventory.Pod{Class: mesh.ClassUnknown}, false},
		"one that may hold an old leaf":            {restart{before: noon}, inventory.Pod{Class: mesh.ClassCurrent, CreatedAt: noon.Add(-time.Second)}, true},
		"not one that was created afterwards":      {restart{before: noon}, inventory.Pod{Class: mesh.ClassCurrent, CreatedAt: noon}, false},
		"one of which it is not known when it was": {restart{before: noon}, inventory.Pod{Class: mesh.ClassCurrent}, true},
	} {
		if got := c.restart.wanted(c.pod, current); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
