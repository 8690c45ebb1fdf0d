// Package published watches the few objects that a MeshTrust names: the trust
// bundle and the issuer.
//
// Each object has a watch of its own, limited by field selector to its name, so
// that the controller needs no more than "get, list, watch" on that one name.
// Of a Secret no value is kept but those that are certificates and nothing else; a
// private key is dropped while it is being decoded, before it reaches a store.
package published

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
)

// Ref names an object to watch. An empty Name means all of the namespace.
type Ref struct {
	Resource        schema.GroupVersionResource
	Namespace, Name string
}

// String returns the reference as people write it.
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Resource.Resource + " " + r.Name
	}
	return r.Resource.Resource + " " + r.Namespace + "/" + r.Name
}

// Watcher keeps a watch for every object that was asked for and tells when one
// of them changed.
type Watcher struct {
	client dynamic.Interface
	notify func()

	mu      sync.Mutex
	watches map[Ref]*watch
	run     context.Context
}

type watch struct {
	informer cache.SharedIndexInformer
	stop     context.CancelFunc
	mu       sync.Mutex
	err      error
	// used is when the object was asked for last.
	used time.Time
}

// NewWatcher returns a Watcher that calls notify, which must not block, after
// every change.
func NewWatcher(client dynamic.Interface, notify func()) *Watcher {
	return &Watcher{client: client, notify: notify, watches: map[Ref]*watch{}}
}

// Start lets watches begin and returns when ctx is done.
func (w *Watcher) Start(ctx context.Context) error {
	w.mu.Lock()
	w.run = ctx
	w.mu.Unlock()
	w.notify()
	<-ctx.Done()
	return nil
}

// ErrSyncing says that the watch has not delivered yet; a notification follows.
var ErrSyncing = errors.New("not read yet")

// errNotStarted says that the Watcher does not run yet.
var errNotStarted = fmt.Errorf("waiting for the watch to begin: %w", ErrSyncing)

// List returns the watched objects of ref as they were delivered last; none if
// there are none. It starts the watch at the first call. The objects must not
// be modified. While the watch fails, its error is returned: what was delivered
// before may be out of date.
func (w *Watcher) List(ref Ref, now time.Time) ([]*unstructured.Unstructured, error) {
	one, err := w.ensure(ref, now)
	if err != nil {
		return nil, err
	}
	if err := one.failure(); err != nil {
		return nil, fmt.Errorf("watching %s: %w", ref, err)
	}
	if !one.informer.HasSynced() {
		return nil, fmt.Errorf("watching %s: %w", ref, ErrSyncing)
	}
	var out []*unstructured.Unstructured
	for _, item := range one.informer.GetStore().List() {
		if u, ok := item.(*unstructured.Unstructured); ok {
			out = append(out, u)
		}
	}
	slices.SortFunc(out, func(a, b *unstructured.Unstructured) int {
		return a.GetCreationTimestamp().Compare(b.GetCreationTimestamp().Time)
	})
	return out, nil
}

// idle is how long a watch is kept after it was asked for the last time.
const idle = time.Hour

// ensure returns the watch of ref, started if need be, and stops those that
// nobody has asked for in a long time.
func (w *Watcher) ensure(ref Ref, now time.Time) (*watch, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.run == nil {
		return nil, errNotStarted
	}
	for other, one := range w.watches {
		if other != ref && now.Sub(one.used) > idle {
			one.stop()
			delete(w.watches, other)
		}
	}
	one, ok := w.watches[ref]
	if !ok {
		var err error
		if one, err = w.begin(ref); err != nil {
			return nil, err
		}
		w.watches[ref] = one
	}
	one.used = now
	return one, nil
}

func (w *Watcher) begin(ref Ref) (*watch, error) {
	one := &watch{}
	one.informer = cache.NewSharedIndexInformerWithOptions(w.source(ref, one), &unstructured.Unstructured{},
		cache.SharedIndexInformerOptions{ObjectDescription: ref.String()})
	if err := one.informer.SetTransform(withoutKeys); err != nil {
		return nil, fmt.Errorf("preparing the watch of %s: %w", ref, err)
	}
	if err := one.informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		one.fail(err)
		w.notify()
	}); err != nil {
		return nil, fmt.Errorf("preparing the watch of %s: %w", ref, err)
	}
	if _, err := one.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { w.notify() },
		UpdateFunc: func(any, any) { w.notify() },
		DeleteFunc: func(any) { w.notify() },
	}); err != nil {
		return nil, fmt.Errorf("preparing the watch of %s: %w", ref, err)
	}
	ctx, cancel := context.WithCancel(w.run)
	one.stop = cancel
	go one.informer.RunWithContext(ctx)
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), one.informer.HasSynced) {
			w.notify()
		}
	}()
	return one, nil
}

// source lists and watches what ref names. A watch that begins ends the fault that
// one notes. No event would do: where there is no object, none comes, and where only
// lists are permitted, one comes with every list.
func (w *Watcher) source(ref Ref, one *watch) cache.ListerWatcher {
	objects := func(resource schema.GroupVersionResource) dynamic.ResourceInterface {
		return w.client.Resource(resource).Namespace(ref.Namespace)
	}
	narrow := func(o *metav1.ListOptions) {
		if ref.Name != "" {
			o.FieldSelector = fields.OneTermEqualSelector("metadata.name", ref.Name).String()
		}
	}
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			narrow(&o)
			return served(ref.Resource, func(r schema.GroupVersionResource) (runtime.Object, error) { return objects(r).List(ctx, o) })
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
			narrow(&o)
			events, err := served(ref.Resource, func(r schema.GroupVersionResource) (apiwatch.Interface, error) { return objects(r).Watch(ctx, o) })
			if err == nil && one.heal() {
				w.notify()
			}
			return events, err
		},
	}, w.client)
}

// fail notes why the watch was refused. Only what a retry does not mend by itself
// counts: a watch that ended and is begun again loses nothing.
func (o *watch) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err) {
		o.err = err
	}
}

// heal notes that the watch was permitted, and reports whether it was refused
// before. A list does not count: where only that is permitted, what it brought
// grows old.
func (o *watch) heal() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	refused := o.err != nil
	o.err = nil
	return refused
}

func (o *watch) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}
