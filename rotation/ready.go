package rotation

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/inventory"
)

// warmth keeps the caches of every replica warm and tells when they are. The
// controllers would begin their watches too, but only with the lead: the
// replica that waits for it would have to read the whole cluster first, and
// until then nobody could tell whether it may.
type warmth struct {
	cache     cache.Cache
	inventory *inventory.Index
	// setMeshes tells the inventory of the meshes there are.
	setMeshes func(context.Context) error
	changed   chan struct{}

	mu sync.Mutex
	// waiting says what has not been read yet; empty once everything was.
	waiting string
}

var _ manager.LeaderElectionRunnable = (*warmth)(nil)

// cached are the kinds that are read from the cache of the manager.
func cached() []client.Object {
	return []client.Object{
		&v1alpha1.MeshTrust{}, &v1alpha1.AnchorRotation{}, &appsv1.Deployment{}, &appsv1.StatefulSet{}, &appsv1.DaemonSet{},
		&corev1.Namespace{}, &corev1.Node{}, &admissionregistrationv1.MutatingWebhookConfiguration{},
	}
}

// addWarmth adds the watches, and the readiness check "caches", which passes
// once everything was read, whoever leads.
func addWarmth(mgr manager.Manager, r *Reconciler) error {
	w := &warmth{
		cache: mgr.GetCache(), inventory: r.inventory, setMeshes: r.setMeshes,
		changed: make(chan struct{}, 1), waiting: "nothing has been read yet",
	}
	if err := mgr.Add(w); err != nil {
		return fmt.Errorf("adding the caches: %w", err)
	}
	if err := mgr.AddReadyzCheck("caches", w.check); err != nil {
		return fmt.Errorf("adding the readiness of the caches: %w", err)
	}
	return nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (w *warmth) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable: it begins the watches, and from then on
// tells the inventory of every change of the meshes.
func (w *warmth) Start(ctx context.Context) error {
	for _, kind := range cached() {
		if err := w.begin(ctx, kind); err != nil {
			return nil // the end was asked for
		}
	}
	for {
		if err := w.setMeshes(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		if err := w.await(ctx, "the meshed pods have not all been listed yet", w.inventory.Synced); err != nil {
			return nil
		}
		w.say("")
		select {
		case <-ctx.Done():
			return nil
		case <-w.changed:
		}
	}
}

// begin watches a kind and waits until all of it has been read. A kind that is
// not served yet, or may not be read yet, is waited for.
func (w *warmth) begin(ctx context.Context, kind client.Object) error {
	name := fmt.Sprintf("%T", kind)
	var informer cache.Informer
	err := poll(ctx, askEvery, func() bool {
		var err error
		informer, err = w.cache.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
		if err != nil {
			w.say(fmt.Sprintf("%s cannot be watched (are Reanchor's CRDs installed?): %v", name, err))
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	if _, ok := kind.(*v1alpha1.MeshTrust); ok {
		if _, err := informer.AddEventHandler(w.handler()); err != nil {
			return fmt.Errorf("watching MeshTrusts: %w", err)
		}
	}
	return w.await(ctx, name+" has not been listed yet (is it permitted?)", informer.HasSynced)
}

// await waits, and says for what.
func (w *warmth) await(ctx context.Context, what string, done func() bool) error {
	if done() {
		return nil
	}
	w.mu.Lock()
	if w.waiting != "" { // what was ready once stays so
		w.waiting = what
	}
	w.mu.Unlock()
	log.FromContext(ctx).V(1).Info("warming the caches", "waiting", what)
	return poll(ctx, cacheEvery, done)
}

const (
	// askEvery is how often it is asked whether a kind is served, of the API server.
	askEvery = 2 * time.Second
	// cacheEvery is how often a cache is looked at, which costs nothing.
	cacheEvery = 100 * time.Millisecond
)

func poll(ctx context.Context, every time.Duration, done func() bool) error {
	return wait.PollUntilContextCancel(ctx, every, true, func(context.Context) (bool, error) { return done(), nil })
}

func (w *warmth) say(waiting string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = waiting
}

// check is the readiness check.
func (w *warmth) check(*http.Request) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting != "" {
		return fmt.Errorf("not ready: %s", w.waiting)
	}
	return nil
}

// handler wakes Start when a MeshTrust changes.
func (w *warmth) handler() toolscache.ResourceEventHandler {
	wake := func() {
		select {
		case w.changed <- struct{}{}:
		default: // it is going to look anyway
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { wake() },
		UpdateFunc: func(any, any) { wake() },
		DeleteFunc: func(any) { wake() },
	}
}
