package rotation

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/owner"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// probesPerReplica is how many probes a burst makes for each replica of the
// injector. Sequential requests all reach one replica, over one connection that
// is kept alive; a parallel burst of this size reached all of three in trials.
const probesPerReplica = 8

// probeEvery is how soon a burst is followed by another for the same bundle. All go
// through the injector that every pod of the cluster waits for, and while the answers
// are bad they are asked for at every look.
const probeEvery = 5 * time.Second

// fence gathers evidence on what the injectors write into new pods.
//
// The evidence proper is about each replica: it was created after every reader
// surely sees the bundle, or so much time has passed since the bundle was
// published that its mounted file has surely been refreshed. A burst of probes
// corroborates: server-side dry runs of pods in the probe namespace, which pass
// through the injector and create nothing.
type fence struct {
	client client.Client
	// namespace is where probes are made, unless another is labelled for the mesh.
	namespace string

	mu     sync.Mutex
	bursts map[string]burst
}

// burst is the outcome of the last burst of probes for a mesh, and the bundle that
// it was made for: one that was in force before says nothing when it is again.
type burst struct {
	at      time.Time
	hash    string
	seenAt  time.Time
	outcome rollout.ProbeOutcome
	message string
}

func newFence(c client.Client, namespace string) *fence {
	return &fence{client: c, namespace: namespace, bursts: map[string]burst{}}
}

// evidence returns what is known of the injectors of a mesh.
func (f *fence) evidence(name string, o *observation, now time.Time) rollout.FenceEvidence {
	if o.mesh.Profile != mesh.Linkerd {
		return rollout.FenceEvidence{}
	}
	e := rollout.FenceEvidence{Needed: true, KnownAt: o.facts.Bundle.SurelyRead(o.mesh.FileDelay)}
	injectors, fresh := injectorsOf(o)
	e.Known = !now.Before(e.KnownAt) || injectors > 0 && fresh == injectors
	if b := f.last(name); b.of(o) {
		e.Probe, e.Message = b.outcome, b.message
	}
	return e
}

func (f *fence) last(name string) burst {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bursts[name]
}

// of reports whether the burst was made for the bundle as it is in force.
func (b burst) of(o *observation) bool {
	return b.hash != "" && b.hash == o.facts.Bundle.Hash && b.seenAt.Equal(o.facts.Bundle.SeenAt)
}

// injectorsOf counts the injector's pods, and those that were created when
// every reader saw the bundle. One that terminates may still answer.
func injectorsOf(o *observation) (all, fresh int) {
	since := o.facts.Bundle.PublishedAt.Add(o.mesh.EnvDelay)
	for i := range o.owners {
		if !o.owners[i].Injector {
			continue
		}
		for p := range o.owners[i].Pods() {
			if !p.Injector {
				continue
			}
			all++
			if p.CreatedAt.After(since) {
				fresh++
			}
		}
	}
	return all, fresh
}

// probe makes a burst of probes and remembers the outcome, unless one was made for
// the same bundle a moment ago. It reports whether it did.
func (f *fence) probe(ctx context.Context, name string, o *observation, now time.Time) bool {
	if last := f.last(name); last.of(o) && now.Sub(last.at) < probeEvery {
		return false
	}
	replicas, _ := injectorsOf(o)
	b := f.burst(ctx, o, probesPerReplica*max(replicas, 1), now)
	b.at, b.hash, b.seenAt = now, o.facts.Bundle.Hash, o.facts.Bundle.SeenAt
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bursts[name] = b
	return true
}

func (f *fence) forget(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.bursts, name)
}

func (f *fence) burst(ctx context.Context, o *observation, size int, now time.Time) burst {
	answers := make([]burst, size)
	var wait sync.WaitGroup
	for i := range answers {
		wait.Go(func() { answers[i] = f.one(ctx, o, now) })
	}
	wait.Wait()
	worst, stale := burst{outcome: rollout.AllFresh}, 0
	for _, a := range answers {
		switch a.outcome {
		case rollout.Refused:
			return a
		case rollout.SomeStale:
			worst = a
			stale++
		}
	}
	if stale > 0 {
		worst.message = fmt.Sprintf("%d of %d probes were answered with an older bundle", stale, size)
	}
	return worst
}

// one makes a single probe.
func (f *fence) one(ctx context.Context, o *observation, now time.Time) burst {
	pod := probePod(cmp.Or(o.probeNamespace, f.namespace))
	if err := f.client.Create(ctx, pod, client.DryRunAll); err != nil {
		return burst{outcome: rollout.Refused, message: fmt.Sprintf("a dry run of a pod in namespace %s was refused: %s", pod.Namespace, owner.Refusal(err))}
	}
	view := mesh.ViewOf(pod)
	if !o.mesh.Member(view) {
		return burst{outcome: rollout.Refused, message: "a dry run of a pod in namespace " + pod.Namespace + " came back without a proxy; is the injector running, and is that namespace not excluded from injection?"}
	}
	return judge(o.mesh.Trust(view, mesh.World{Now: now}), o.current, now)
}

func judge(t mesh.Trust, current bundle.Set, now time.Time) burst {
	switch class := mesh.Classify(t, current, now); {
	case class == mesh.ClassUnknown:
		return burst{outcome: rollout.Refused, message: "what a dry run's pod trusts cannot be told: " + t.Why}
	case class.Stale():
		return burst{outcome: rollout.SomeStale}
	default:
		return burst{outcome: rollout.AllFresh}
	}
}

// probePod is a small pod that asks to be injected and would otherwise be
// admitted anywhere.
func probePod(namespace string) *corev1.Pod {
	yes, no := true, false
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, GenerateName: "probe-",
			Annotations: map[string]string{"linkerd.io/inject": "enabled"},
		},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: &yes, // the injector refuses pods without a token
			Containers: []corev1.Container{{
				Name: "probe", Image: "registry.k8s.io/pause",
				SecurityContext: &corev1.SecurityContext{
					RunAsNonRoot: &yes, AllowPrivilegeEscalation: &no,
					Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
					SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
				},
			}},
		},
	}
}
