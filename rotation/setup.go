package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/anchorrotation"
	"github.com/reanchor/reanchor/rotation/inventory"
	"github.com/reanchor/reanchor/rotation/nudge"
	"github.com/reanchor/reanchor/rotation/owner"
	"github.com/reanchor/reanchor/rotation/published"
)

// Options say how the controller runs.
type Options struct {
	// ProbeNamespace is where the injector fence makes its dry runs.
	ProbeNamespace string
	// Namespace is the controller's own.
	Namespace string
	// Metrics are the controller's metrics, registered.
	Metrics *Metrics
	// Zones finds time zones; usually time.LoadLocation.
	Zones Zones
	// ValidatingWebhook is the name of the validating webhook's configuration,
	// by which it is asked whether it answers.
	ValidatingWebhook string
	// Clock tells the time.
	Clock clock.WithTicker
	// NoFence rolls without waiting for the injectors. Only tests set it, to
	// show what the fence is for: no flag leads here.
	NoFence bool
}

// CacheOptions returns how the manager's cache keeps what the controller reads:
// workloads stripped to what decisions need, and nothing else in numbers.
func CacheOptions() cache.Options {
	strip := cache.ByObject{Transform: owner.Strip}
	return cache.Options{ByObject: map[client.Object]cache.ByObject{
		&appsv1.Deployment{}:  strip,
		&appsv1.StatefulSet{}: strip,
		&appsv1.DaemonSet{}:   strip,
		&corev1.Node{}:        {Transform: stripNode},
	}}
}

// stripNode keeps a node's name, whether it is cordoned, and its conditions.
func stripNode(obj any) (any, error) {
	n, ok := obj.(*corev1.Node)
	if !ok {
		return obj, nil
	}
	kept := &corev1.Node{TypeMeta: n.TypeMeta}
	kept.Name, kept.UID, kept.ResourceVersion = n.Name, n.UID, n.ResourceVersion
	kept.Spec.Unschedulable = n.Spec.Unschedulable
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			kept.Status.Conditions = []corev1.NodeCondition{{Type: c.Type, Status: c.Status}}
		}
	}
	return kept, nil
}

// reconcileWithin bounds one reconcile. An API server ends a request after a minute;
// but what lies before it may keep a connection and never answer, and one reconcile
// would wait without end, with all that come after it. What was decided is stored
// before it is done, so that one which is cut off is taken up where it was. It is
// long, since gates list all pods of a cluster, and a look reads what is not cached
// one by one. (A timeout of the client itself would end every watch.)
const reconcileWithin = 10 * time.Minute

// bounded are the options of one controller, which must not share them: a reconcile
// ends, the first list is waited for, and after errors there is another try within
// lookEvery. By default that is a thousand seconds, long after what caused them is over.
func bounded() controller.Options {
	return controller.Options{
		ReconciliationTimeout: reconcileWithin, CacheSyncTimeout: inventory.SyncWithin,
		RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](5*time.Millisecond, lookEvery),
	}
}

// Setup adds the controllers to the manager.
func Setup(mgr manager.Manager, o Options) error {
	wake := make(chan event.GenericEvent, 1)
	r, err := newReconciler(mgr, o, wake)
	if err != nil {
		return err
	}
	if err := errors.Join(mgr.Add(r.inventory), mgr.Add(manager.RunnableFunc(r.published.Start))); err != nil {
		return fmt.Errorf("adding the watches: %w", err)
	}
	if err := addWarmth(mgr, r); err != nil {
		return err
	}
	all := r.everyMesh()
	err = builder.ControllerManagedBy(mgr).Named("meshtrust").
		For(&v1alpha1.MeshTrust{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		Watches(&appsv1.Deployment{}, all).
		Watches(&appsv1.StatefulSet{}, all).
		Watches(&appsv1.DaemonSet{}, all).
		Watches(&v1alpha1.AnchorRotation{}, all).
		Watches(&corev1.Namespace{}, all).
		Watches(&corev1.Node{}, all, builder.WithPredicates(predicate.ResourceVersionChangedPredicate{}, nodeChanged())).
		WatchesRawSource(r.inventory.Source()).
		WatchesRawSource(source.Channel(wake, all)).
		WithOptions(bounded()).
		Complete(r)
	if err != nil {
		return fmt.Errorf("adding the MeshTrust controller: %w", err)
	}
	if err := addNudger(mgr, o); err != nil {
		return err
	}
	err = anchorrotation.Setup(mgr, anchorrotation.Options{
		Namespace: o.Namespace, Inventory: r.inventory, Metrics: o.Metrics.rotations, Clock: o.Clock, Controller: bounded(),
	})
	if err != nil {
		return err
	}
	err = builder.ControllerManagedBy(mgr).Named("opt-out").For(&corev1.Namespace{}).WithOptions(bounded()).Complete(&OptOutReconciler{Client: mgr.GetClient()})
	if err != nil {
		return fmt.Errorf("adding the opt-out controller: %w", err)
	}
	return nil
}

// addNudger adds what wakes owners whose pods were refused.
func addNudger(mgr manager.Manager, o Options) error {
	clients, err := corev1client.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("making the client of events: %w", err)
	}
	asker := nudge.Asker{Reader: mgr.GetAPIReader(), Name: o.ValidatingWebhook}
	err = mgr.Add(&nudge.Nudger{
		Events: clients.RESTClient(), Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Answers: asker.Answers,
		Recorder: mgr.GetEventRecorder("reanchor"), Clock: o.Clock,
	})
	if err != nil {
		return fmt.Errorf("adding the nudger: %w", err)
	}
	return nil
}

func newReconciler(mgr manager.Manager, o Options, wake chan<- event.GenericEvent) (*Reconciler, error) {
	pods, err := inventory.NewClient(mgr.GetConfig())
	if err != nil {
		return nil, fmt.Errorf("making the client of the inventory: %w", err)
	}
	objects, err := dynamic.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("making the client of the published objects: %w", err)
	}
	notify := func() {
		select {
		case wake <- event.GenericEvent{Object: &v1alpha1.MeshTrust{}}:
		default: // one is on its way and will find this change too
		}
	}
	return &Reconciler{
		client: mgr.GetClient(), live: mgr.GetAPIReader(),
		published: published.NewWatcher(objects, notify), inventory: inventory.New(pods),
		fence: newFence(mgr.GetClient(), o.ProbeNamespace), memory: newMemory(), zones: o.Zones, noFence: o.NoFence,
		reporter: newReporter(mgr.GetEventRecorder("reanchor"), o.Metrics), clock: o.Clock,
	}, nil
}

// soon is how long a change waits for more of its kind: a roll changes many
// objects within a moment, and one look at the end is enough.
const soon = 200 * time.Millisecond

// everyMesh asks for all meshes, whatever changed: there are few, and which of
// them a workload belongs to is only known from its pods.
func (r *Reconciler) everyMesh() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	enqueue := func(ctx context.Context, q queue) {
		all, err := r.list(ctx)
		if err != nil {
			return // the cache is not there yet; it will send all objects
		}
		for i := range all {
			// Of several delayed additions of one request the earliest counts.
			q.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Name: all[i].Name}}, soon)
		}
	}
	return handler.Funcs{
		CreateFunc:  func(ctx context.Context, _ event.CreateEvent, q queue) { enqueue(ctx, q) },
		UpdateFunc:  func(ctx context.Context, _ event.UpdateEvent, q queue) { enqueue(ctx, q) },
		DeleteFunc:  func(ctx context.Context, _ event.DeleteEvent, q queue) { enqueue(ctx, q) },
		GenericFunc: func(ctx context.Context, _ event.GenericEvent, q queue) { enqueue(ctx, q) },
	}
}

// nodeChanged lets through what stripNode kept: a node's heartbeats change
// nothing else.
func nodeChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*corev1.Node)
		after, ok2 := e.ObjectNew.(*corev1.Node)
		return !ok1 || !ok2 || before.Spec.Unschedulable != after.Spec.Unschedulable ||
			len(before.Status.Conditions) != len(after.Status.Conditions) ||
			len(after.Status.Conditions) > 0 && before.Status.Conditions[0].Status != after.Status.Conditions[0].Status
	}}
}
