package anchorrotation

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/inventory"
	"github.com/reanchor/reanchor/rotation/issuance"
	"github.com/reanchor/reanchor/rotation/published"
)

// Options say how the controller runs.
type Options struct {
	// Namespace is the controller's own.
	Namespace string
	Inventory *inventory.Index
	Metrics   *Metrics
	Clock     clock.PassiveClock
	// Controller are the options of the controller, but for how many meshes it works
	// on at once.
	Controller controller.Options
}

// concurrent is how many meshes are worked on at once: a look is a dozen reads,
// and one slow mesh must not keep the others waiting.
const concurrent = 4

// Setup adds the controller to the manager.
func Setup(mgr manager.Manager, o Options) error {
	pods, err := inventory.NewClient(mgr.GetConfig())
	if err != nil {
		return fmt.Errorf("making the client of the gates: %w", err)
	}
	objects, err := dynamic.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("making the client of Certificates: %w", err)
	}
	wake := make(chan event.GenericEvent, 1)
	watcher := published.NewWatcher(objects, func() {
		select {
		case wake <- event.GenericEvent{Object: &v1alpha1.MeshTrust{}}:
		default: // one is on its way and will find this change too
		}
	})
	if err := mgr.Add(manager.RunnableFunc(watcher.Start)); err != nil {
		return fmt.Errorf("adding the watch of Certificates: %w", err)
	}
	r := &Reconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(),
		Store:     &issuance.Store{Live: mgr.GetAPIReader(), Client: mgr.GetClient(), Namespace: o.Namespace, Clock: o.Clock},
		Inventory: o.Inventory, PodClient: pods, Certificates: watcher,
		ServerTime: serverTime(mgr.GetConfig(), mgr.GetHTTPClient()),
		Reporter:   NewReporter(mgr.GetEventRecorder("reanchor"), o.Metrics), Clock: o.Clock,
	}
	o.Controller.MaxConcurrentReconciles = concurrent
	err = builder.ControllerManagedBy(mgr).Named("anchorrotation").
		Watches(&v1alpha1.AnchorRotation{}, handler.EnqueueRequestsFromMapFunc(meshOf)).
		Watches(&v1alpha1.MeshTrust{}, &handler.EnqueueRequestForObject{}).
		WatchesRawSource(o.Inventory.Source()).
		WatchesRawSource(source.Channel(wake, r.everyMesh())).
		WithOptions(o.Controller).
		Complete(r)
	if err != nil {
		return fmt.Errorf("adding the AnchorRotation controller: %w", err)
	}
	return nil
}

// meshOf asks for the mesh that a run belongs to.
func meshOf(_ context.Context, o client.Object) []reconcile.Request {
	run, ok := o.(*v1alpha1.AnchorRotation)
	if !ok {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: run.Spec.MeshTrustRef.Name}}}
}

// everyMesh asks for all meshes with a rotation: whose a Certificate is, the
// look itself finds out.
func (r *Reconciler) everyMesh() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	return handler.Funcs{GenericFunc: func(ctx context.Context, _ event.GenericEvent, q queue) {
		var list v1alpha1.MeshTrustList
		if err := r.Client.List(ctx, &list); err != nil {
			return // there is another look in time
		}
		for i := range list.Items {
			if list.Items[i].Spec.Rotation != nil {
				q.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Name: list.Items[i].Name}}, 200*time.Millisecond)
			}
		}
	}}
}

// serverTime reads the API server's clock off the date of an answer, which is
// cut to the second.
func serverTime(config *rest.Config, httpClient *http.Client) func(context.Context) (time.Time, error) {
	base, _, err := rest.DefaultServerUrlFor(config)
	return func(ctx context.Context) (time.Time, error) {
		if err != nil {
			return time.Time{}, fmt.Errorf("reading the API server's address: %w", err)
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base.String(), "/")+"/version", nil)
		if err != nil {
			return time.Time{}, fmt.Errorf("preparing the request: %w", err)
		}
		answer, err := httpClient.Do(request)
		if err != nil {
			return time.Time{}, fmt.Errorf("reading its version: %w", err)
		}
		defer func() { _ = answer.Body.Close() }()
		if answer.StatusCode != http.StatusOK { // it may be the word, and the clock, of what lies before it
			return time.Time{}, fmt.Errorf("reading its version: it answers %s", answer.Status)
		}
		return http.ParseTime(answer.Header.Get("Date"))
	}
}
