package lifecycle

import (
	"slices"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// entryOf is the form in which an acknowledgement is stored.
func entryOf(a v1alpha1.Acknowledgement) string {
	if a.Node != "" {
		return "node/" + a.Node
	}
	return a.Namespace + "/" + a.Kind + "/" + a.Name
}

// acknowledge notes when each entry was first seen, by the earlier of the
// controller's and the API server's clock, and forgets those that are gone: one
// that is added again covers what exists then.
func (p *planner) acknowledge() {
	at := p.now
	if s := p.facts.Read.ServerTime; !s.IsZero() && s.Before(at) {
		at = s
	}
	var kept []AcknowledgedAt
	for _, a := range p.facts.Run.Acknowledge {
		entry := entryOf(a)
		same := func(k AcknowledgedAt) bool { return k.Entry == entry }
		if slices.ContainsFunc(kept, same) {
			continue
		}
		if i := slices.IndexFunc(p.state.Acknowledged, same); i >= 0 {
			kept = append(kept, p.state.Acknowledged[i])
			continue
		}
		kept = append(kept, AcknowledgedAt{Entry: entry, At: at.Truncate(time.Second)})
	}
	p.state.Acknowledged = kept
}

// covered reports whether a pod was acknowledged: by its workload, its own name
// or its node, in an entry that is not older than the pod.
func (p *planner) covered(pod *Pod) bool {
	for _, k := range p.state.Acknowledged {
		if pod.CreatedAt.IsZero() || pod.CreatedAt.After(k.At) {
			continue
		}
		switch k.Entry {
		case "node/" + pod.Node, pod.Namespace + "/Pod/" + pod.Name,
			pod.Workload.Namespace + "/" + pod.Workload.Kind + "/" + pod.Workload.Name:
			return true
		}
	}
	return false
}
