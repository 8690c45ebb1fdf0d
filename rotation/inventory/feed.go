package inventory

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// settle is how long the first change of a mesh waits for more of them: a roll
// changes many pods within a moment, and one look at the end is enough.
const settle = 200 * time.Millisecond

// SyncWithin is the CacheSyncTimeout of every controller that has the Source: for
// ever. To list all pods of a large cluster takes minutes, and an API server may be
// down for hours. With the default of two minutes the process would end, and begin
// from nothing.
const SyncWithin = 10 * 365 * 24 * time.Hour

// feed wakes one controller.
type feed struct {
	index *Index

	mu    sync.Mutex
	names map[string]struct{}
	wake  chan struct{}
}

// Source returns a source for a controller whose requests name MeshTrusts. It
// requests the mesh whenever its pods changed in a way that a question about
// them can show, at most once each 200 ms, and when it becomes synced. Several
// may be used.
func (x *Index) Source() source.TypedSyncingSource[reconcile.Request] {
	return &feed{index: x, names: map[string]struct{}{}, wake: make(chan struct{}, 1)}
}

// Start implements source.TypedSource.
func (f *feed) Start(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	f.index.addFeed(f)
	go func() {
		defer f.index.removeFeed(f)
		for {
			select {
			case <-ctx.Done():
				return
			case <-f.wake:
			}
			for _, name := range f.take() {
				// Of several delayed additions of one request the earliest counts.
				queue.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}, settle)
			}
		}
	}()
	return nil
}

// WaitForSync implements source.TypedSyncingSource: it waits until every mesh
// that SetMeshes named so far is synced.
func (f *feed) WaitForSync(ctx context.Context) error {
	if !cache.WaitForCacheSync(ctx.Done(), f.index.Synced) {
		return fmt.Errorf("waiting for the inventory of pods: %w", context.Cause(ctx))
	}
	return nil
}

// String names the source in the controller's logs.
func (f *feed) String() string { return "inventory of meshed pods" }

func (f *feed) add(name string) {
	f.mu.Lock()
	f.names[name] = struct{}{}
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default: // it will find the name when it wakes
	}
}

func (f *feed) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := make([]string, 0, len(f.names))
	for name := range f.names {
		names = append(names, name)
	}
	clear(f.names)
	return names
}
