package nudge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

const (
	// lookEvery is how often refusals are looked at while there are any.
	lookEvery = 2 * time.Second
	// most bounds the refusals that are remembered.
	most = 10_000
)

// Nudger watches refused creations and wakes their owners. The leader runs it.
type Nudger struct {
	// Events is a REST client of core/v1, which reads the events of refused
	// creations.
	Events cache.Getter
	// Client lists MeshTrusts from the cache and writes; Live reads owners.
	Client client.Client
	Live   client.Reader
	// Answers asks the webhook; nil says that it answered.
	Answers func(context.Context) error
	// Recorder writes the event of a wake.
	Recorder events.EventRecorder
	// Clock tells the time.
	Clock clock.WithTicker

	mu       sync.Mutex
	refusals map[Owner]Refusal
	// woken holds when each owner was woken last, and how long it is left alone
	// after that.
	woken          map[Owner]wake
	answeringSince time.Time
}

// Start watches and wakes until ctx ends.
func (n *Nudger) Start(ctx context.Context) error {
	n.refusals, n.woken = map[Owner]Refusal{}, map[Owner]wake{}
	informer := cache.NewSharedInformer(n.listWatch(), &corev1.Event{}, 0)
	if err := informer.SetTransform(compact); err != nil {
		return fmt.Errorf("preparing the watch of refused creations: %w", err)
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    n.note,
		UpdateFunc: func(_, obj any) { n.note(obj) },
	}); err != nil {
		return fmt.Errorf("preparing the watch of refused creations: %w", err)
	}
	go informer.RunWithContext(ctx)
	ticker := n.Clock.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
			if err := n.look(ctx); err != nil {
				log.FromContext(ctx).Error(err, "waking owners of refused pods")
			}
		}
	}
}

func (n *Nudger) listWatch() cache.ListerWatcher {
	return cache.NewFilteredListWatchFromClient(n.Events, "events", metav1.NamespaceAll, func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("reason", "FailedCreate").String()
	})
}

// compact keeps of an event what note reads.
func compact(obj any) (any, error) {
	e, ok := obj.(*corev1.Event)
	if !ok {
		return obj, nil
	}
	kept := &corev1.Event{InvolvedObject: e.InvolvedObject, Message: e.Message, LastTimestamp: e.LastTimestamp}
	kept.Namespace, kept.Name, kept.UID, kept.ResourceVersion = e.Namespace, e.Name, e.UID, e.ResourceVersion
	if _, _, ok := Parse(e.Message); !ok {
		kept.Message = ""
	}
	return kept, nil
}

// note remembers a refusal.
func (n *Nudger) note(obj any) {
	e, ok := obj.(*corev1.Event)
	if !ok {
		return
	}
	unanswered, mesh, ok := Parse(e.Message)
	if !ok {
		return
	}
	r := Refusal{
		Owner: Owner{e.InvolvedObject.Kind, e.InvolvedObject.Namespace, e.InvolvedObject.Name},
		At:    e.LastTimestamp.Time, Unanswered: unanswered, Mesh: mesh,
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if old, ok := n.refusals[r.Owner]; !ok && len(n.refusals) >= most || ok && old.At.After(r.At) {
		return
	}
	n.refusals[r.Owner] = r
	if unanswered && r.At.After(n.answeringSince) {
		n.answeringSince = time.Time{}
	}
}

// look wakes the owners whose refusal is over.
func (n *Nudger) look(ctx context.Context) error {
	refusals := n.pending()
	if len(refusals) == 0 {
		return nil
	}
	n.ask(ctx, refusals)
	meshes, suspended, err := n.meshes(ctx)
	if err != nil {
		return err
	}
	n.mu.Lock()
	facts := Facts{Refusals: refusals, Meshes: meshes, Suspended: suspended, AnsweringSince: n.answeringSince}
	n.mu.Unlock()
	var faults []error
	for _, a := range Next(facts, n.Clock.Now()) {
		if !n.due(a.Owner) {
			continue
		}
		if err := n.wakeInTime(ctx, a); err != nil {
			faults = append(faults, err)
			n.notWoken(a.Owner)
			continue
		}
		n.forget(a.Owner, refusals)
	}
	return errors.Join(faults...)
}

// wakeWithin bounds the write to one owner: what lies before the API server may keep
// a connection and never answer, and all other owners wait.
const wakeWithin = time.Minute

func (n *Nudger) wakeInTime(ctx context.Context, a Action) error {
	ctx, cancel := context.WithTimeout(ctx, wakeWithin)
	defer cancel()
	return n.wake(ctx, a)
}

// wake is when an owner was woken, and the pause until it may be again.
type wake struct {
	at            time.Time
	pause, before time.Duration
}

// Pauses between two wakes of one owner. They double, so that where the reason
// only seems to be gone (the webhook answers this controller and not the API
// server) the owner's own back-off is not defeated.
const (
	firstPause   = 10 * time.Second
	longestPause = 15 * time.Minute
)

// due reports whether an owner may be woken now, and counts it as woken if so.
func (n *Nudger) due(o Owner) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.Clock.Now()
	last, ok := n.woken[o]
	switch {
	case !ok || now.Sub(last.at) > forgetAfter:
		last.pause, last.before = firstPause, firstPause
	case now.Sub(last.at) < last.pause:
		return false
	default:
		last.pause, last.before = min(2*last.pause, longestPause), last.pause
	}
	last.at = now
	n.woken[o] = last
	return true
}

// notWoken gives an owner that could not be woken back the pause that it had: the next
// grew for a wake that did not come about.
func (n *Nudger) notWoken(o Owner) {
	n.mu.Lock()
	defer n.mu.Unlock()
	last := n.woken[o]
	last.pause = last.before
	n.woken[o] = last
}

func (n *Nudger) pending() []Refusal {
	n.mu.Lock()
	defer n.mu.Unlock()
	for o, last := range n.woken {
		if n.Clock.Since(last.at) > forgetAfter {
			delete(n.woken, o)
		}
	}
	out := make([]Refusal, 0, len(n.refusals))
	for _, r := range n.refusals {
		if n.Clock.Since(r.At) > forgetAfter {
			delete(n.refusals, r.Owner)
			continue
		}
		out = append(out, r)
	}
	return out
}

// forgetAfter is longer than the longest pause of an owner (1000 s).
const forgetAfter = 30 * time.Minute

// ask finds out whether the webhook answers, when that matters.
func (n *Nudger) ask(ctx context.Context, refusals []Refusal) {
	matters := false
	for _, r := range refusals {
		matters = matters || r.Unanswered
	}
	if !matters {
		return
	}
	err := n.Answers(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case err != nil:
		n.answeringSince = time.Time{}
	case n.answeringSince.IsZero():
		n.answeringSince = n.Clock.Now()
	}
}

// forget drops a refusal unless a newer one has come meanwhile.
func (n *Nudger) forget(o Owner, seen []Refusal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range seen {
		if r.Owner == o && n.refusals[o].At.Equal(r.At) {
			delete(n.refusals, o)
		}
	}
}

// meshes returns the meshes that are not suspended, and whether all are that there
// are.
func (n *Nudger) meshes(ctx context.Context) (active map[string]Mesh, suspended bool, err error) {
	var list v1alpha1.MeshTrustList
	if err := n.Client.List(ctx, &list); err != nil {
		return nil, false, fmt.Errorf("listing MeshTrusts: %w", err)
	}
	active = map[string]Mesh{}
	for i := range list.Items {
		mt := &list.Items[i]
		if mt.Spec.Suspend {
			continue
		}
		spec := mt.EffectiveSpec()
		active[mt.Name] = InForce(&spec, &mt.Status, apimeta.IsStatusConditionTrue(mt.Status.Conditions, v1alpha1.ConditionBundleValid))
	}
	return active, len(active) == 0 && len(list.Items) > 0, nil
}
