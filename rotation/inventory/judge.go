package inventory

import (
	"strings"
	"unique"

	corev1 "k8s.io/api/core/v1"

	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/mesh"
)

// judge judges records in the light of one question, each distinct trust once.
type judge struct {
	question Question
	resolver *mesh.Resolver
	// byClaim answers for records without starts, which a claim tells whole.
	byClaim map[unique.Handle[mesh.Claim]]*judgement
	byTrust map[*mesh.Trust]*judgement
}

// judgement is what many records have in common.
type judgement struct {
	trust *mesh.Trust
	class mesh.Class
}

// verdict is a record and its judgement.
type verdict struct {
	record *record
	*judgement
}

func compareNames(a, b verdict) int { return strings.Compare(a.record.name(), b.record.name()) }

func newJudge(m *mesh.Mesh, q Question, texts *bundle.Cache) *judge {
	return &judge{
		question: q,
		resolver: m.NewResolver(mesh.World{History: q.History, Now: q.Now, Parse: texts.Parse}),
		byClaim:  map[unique.Handle[mesh.Claim]]*judgement{},
		byTrust:  map[*mesh.Trust]*judgement{},
	}
}

func (j *judge) judge(r *record) *judgement {
	if len(r.starts) > 0 {
		return j.of(j.resolver.Trust(r.evidence()))
	}
	known := j.byClaim[r.claim]
	if known == nil {
		known = j.of(j.resolver.Trust(r.evidence()))
		j.byClaim[r.claim] = known
	}
	return known
}

func (j *judge) of(trust *mesh.Trust) *judgement {
	known := j.byTrust[trust]
	if known == nil {
		known = &judgement{trust, mesh.Classify(*trust, j.question.Current, j.question.Now)}
		j.byTrust[trust] = known
	}
	return known
}

func (v verdict) pod(namespace string) Pod {
	r, f := v.record, v.record.flags
	return Pod{
		Namespace: namespace, Name: r.name(), UID: r.uid(), CreatedAt: r.createdAt(),
		Node: r.node.Value(), Revision: r.revision.Value(), RestartedFor: r.mark.Value(), Ordinal: int(r.ordinal), Phase: f.phase(),
		Ready: f.has(ready), Terminating: f.has(terminating), Mirror: f.has(isMirror), OptedOut: f.has(optedOut),
		RunsToEnd: f.has(runsToEnd), ControlPlane: f.has(controlPlane), Injector: f.has(injector),
		Trust: v.trust, Class: v.class,
	}
}

func (f flags) phase() corev1.PodPhase {
	switch {
	case f.has(pending):
		return corev1.PodPending
	case f.has(running):
		return corev1.PodRunning
	default:
		return corev1.PodUnknown
	}
}
