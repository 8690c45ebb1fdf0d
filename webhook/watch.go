package webhook

import (
	"context"
	"fmt"
	"maps"
	"sync/atomic"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// Watcher keeps the Snapshot up to date: it watches MeshTrusts, AnchorRotations
// and the metadata of namespaces, and builds a new snapshot when one changes.
type Watcher struct {
	config   *rest.Config
	scheme   *runtime.Scheme
	mapper   meta.RESTMapper
	cache    cache.Cache // nil before Open
	texts    *bundle.Cache
	metrics  *Metrics
	log      logr.Logger
	snapshot atomic.Pointer[Snapshot]
	// rotations says that AnchorRotations are watched.
	rotations atomic.Bool
	changed   chan struct{}
}

// NewWatcher returns a Watcher that has read nothing yet, and asked nobody.
func NewWatcher(config *rest.Config, m *Metrics, log logr.Logger) (*Watcher, error) {
	w := &Watcher{config: config, scheme: runtime.NewScheme(), texts: NewCache(), metrics: m, log: log, changed: make(chan struct{}, 1)}
	if err := v1alpha1.AddToScheme(w.scheme); err != nil {
		return nil, fmt.Errorf("building the scheme: %w", err)
	}
	asking := rest.CopyConfig(config)
	asking.Timeout = askTimeout
	httpClient, err := rest.HTTPClientFor(asking)
	if err != nil {
		return nil, fmt.Errorf("building the client: %w", err)
	}
	// It asks when it is used, and asks again for a kind that it did not find.
	if w.mapper, err = apiutil.NewDynamicRESTMapper(asking, httpClient); err != nil {
		return nil, fmt.Errorf("building the client: %w", err)
	}
	return w, nil
}

// Snapshot returns the present snapshot; nil until everything has been read once.
func (w *Watcher) Snapshot() *Snapshot { return w.snapshot.Load() }

// Open asks the API server for the kinds that are to be watched. After an error it
// may be called again.
func (w *Watcher) Open(ctx context.Context) error {
	opened, err := cache.New(w.config, cache.Options{
		Scheme: w.scheme, Mapper: w.mapper,
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject:         map[client.Object]cache.ByObject{namespaces(): {Transform: onlyOptOut}},
	})
	if err != nil {
		return fmt.Errorf("building the cache: %w", err)
	}
	for _, object := range []client.Object{&v1alpha1.MeshTrust{}, namespaces()} {
		err := w.watch(ctx, opened, object)
		if meta.IsNoMatchError(err) {
			return fmt.Errorf("install Reanchor's CRDs first: %w", err)
		}
		if err != nil {
			return err
		}
	}
	err = w.watch(ctx, opened, &v1alpha1.AnchorRotation{})
	if err != nil && !meta.IsNoMatchError(err) {
		return err
	}
	w.rotations.Store(err == nil)
	w.cache = opened
	return nil
}

// watch wakes the Watcher whenever an object of the kind changes. It waits for
// nothing: the caches start later.
func (w *Watcher) watch(ctx context.Context, in cache.Cache, object client.Object) error {
	informer, err := in.GetInformer(ctx, object, cache.BlockUntilSynced(false))
	if err == nil {
		_, err = informer.AddEventHandler(w.handler())
	}
	if err != nil {
		return fmt.Errorf("watching %T: %w", object, err)
	}
	return nil
}

// awaitRotations begins to watch AnchorRotations when there is such a kind. They can
// only add denials, so without it there are none, and the pods that are to be judged
// by the rest do not wait. A kind that may not be read is waited for all the same:
// rotations may be under way.
func (w *Watcher) awaitRotations(ctx context.Context) {
	if w.rotations.Load() {
		return
	}
	w.log.Info("There is no kind AnchorRotation, so no rotation is taken to be under way until there is: install Reanchor's CRDs")
	// The only error is the end of the context.
	_ = pauses().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		return w.watch(ctx, w.cache, &v1alpha1.AnchorRotation{}) == nil, nil
	})
	if w.cache.WaitForCacheSync(ctx) {
		w.rotations.Store(true)
		w.log.Info("There is a kind AnchorRotation now, and it is watched")
		w.wake()
	}
}

// Run watches what Open opened until the context ends.
func (w *Watcher) Run(ctx context.Context) error {
	if w.cache == nil {
		return nil // the context ended first
	}
	ended := make(chan error, 1)
	go func() { ended <- w.cache.Start(ctx) }()
	if w.cache.WaitForCacheSync(ctx) {
		go w.awaitRotations(ctx)
		if err := w.rebuildUntil(ctx); err != nil {
			return err
		}
	}
	return <-ended
}

// rebuildUntil builds a snapshot now and after every change.
func (w *Watcher) rebuildUntil(ctx context.Context) error {
	for {
		if err := w.rebuild(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.changed:
		}
	}
}

func (w *Watcher) rebuild(ctx context.Context) error {
	world, err := w.read(ctx)
	if err != nil {
		return err
	}
	snapshot := NewSnapshot(world, w.texts)
	w.snapshot.Store(snapshot)
	w.metrics.Snapshot(snapshot)
	return nil
}

// read lists from the cache. A failure is a defect of this program: nothing is
// asked of the API server.
func (w *Watcher) read(ctx context.Context) (World, error) {
	var world World
	var meshTrusts v1alpha1.MeshTrustList
	if err := w.cache.List(ctx, &meshTrusts, client.UnsafeDisableDeepCopy); err != nil {
		return world, fmt.Errorf("listing MeshTrusts: %w", err)
	}
	var rotations v1alpha1.AnchorRotationList
	if w.rotations.Load() {
		if err := w.cache.List(ctx, &rotations, client.UnsafeDisableDeepCopy); err != nil {
			return world, fmt.Errorf("listing AnchorRotations: %w", err)
		}
	}
	var all metav1.PartialObjectMetadataList
	all.SetGroupVersionKind(namespaces().GroupVersionKind())
	if err := w.cache.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return world, fmt.Errorf("listing namespaces: %w", err)
	}
	world.MeshTrusts, world.Rotations = meshTrusts.Items, rotations.Items
	for i := range all.Items {
		if v1alpha1.OptsOut(all.Items[i].Annotations[v1alpha1.OptOutAnnotation], v1alpha1.OptOutAdmission) {
			world.OptOuts = append(world.OptOuts, all.Items[i].Name)
		}
	}
	return world, nil
}

func (w *Watcher) handler() toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { w.wake() },
		UpdateFunc: func(any, any) { w.wake() },
		DeleteFunc: func(any) { w.wake() },
	}
}

func (w *Watcher) wake() {
	select {
	case w.changed <- struct{}{}:
	default: // a build is due anyway
	}
}

func namespaces() *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}}
}

// onlyOptOut keeps of a namespace its name and whether it opted out.
func onlyOptOut(object any) (any, error) {
	n, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return object, nil
	}
	maps.DeleteFunc(n.Annotations, func(key, _ string) bool { return key != v1alpha1.OptOutAnnotation })
	n.Labels, n.ManagedFields, n.OwnerReferences, n.Finalizers = nil, nil, nil, nil
	return n, nil
}
