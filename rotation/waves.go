package rotation

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// waves assigns namespaces to waves. The control plane is the first, whatever
// the spec says; what no wave selects is rolled with the last.
type waves struct {
	names        []string
	selectors    []labels.Selector
	controlPlane string
}

func newWaves(spec *v1alpha1.MeshTrustSpec) (waves, error) {
	out := waves{names: []string{v1alpha1.WaveControlPlane}, selectors: []labels.Selector{labels.Nothing()}}
	if spec.Profile != v1alpha1.ProfileGeneric {
		out.controlPlane = spec.ControlPlaneNamespace
	}
	for _, w := range spec.Rollout.Waves {
		selector, err := metav1.LabelSelectorAsSelector(w.NamespaceSelector)
		if err != nil {
			return waves{}, fmt.Errorf("reading spec.rollout.waves, wave %s: %w", w.Name, err)
		}
		if w.Name == v1alpha1.WaveControlPlane {
			out.selectors[0] = selector
			continue
		}
		out.names, out.selectors = append(out.names, w.Name), append(out.selectors, selector)
	}
	if out.names[len(out.names)-1] != v1alpha1.WaveRest {
		out.names, out.selectors = append(out.names, v1alpha1.WaveRest), append(out.selectors, labels.Everything())
	}
	return out, nil
}

// of returns the index of the namespace's wave.
func (w waves) of(ns *corev1.Namespace) int {
	last := len(w.names) - 1
	if ns == nil {
		return last
	}
	if w.controlPlane != "" && ns.Name == w.controlPlane {
		return 0
	}
	for i, selector := range w.selectors {
		if selector.Matches(labels.Set(ns.Labels)) {
			return i
		}
	}
	return last
}
