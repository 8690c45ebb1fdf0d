package rotation

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// unstarted is a manager that keeps what is added to it, and whose clients are
// another's.
type unstarted struct {
	manager.Manager
	client client.Client
	added  []manager.Runnable
}

func (m *unstarted) Add(r manager.Runnable) error { m.added = append(m.added, r); return nil }
func (m *unstarted) GetClient() client.Client     { return m.client }
func (m *unstarted) GetAPIReader() client.Reader  { return m.client }
func (m *unstarted) controllers() (out []reconcile.Reconciler) {
	for _, r := range m.added {
		if c, ok := r.(reconcile.Reconciler); ok {
			out = append(out, c)
		}
	}
	return out
}

// setUp adds the controllers to a manager that is never started, and whose clients
// answer as calls do.
func setUp(t *testing.T, calls interceptor.Funcs) *unstarted {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	skip := true // both tests of this package name the same controllers
	inner, err := ctrl.NewManager(&rest.Config{Host: "https://127.0.0.1:1"}, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: &skip},
	})
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	mgr := &unstarted{Manager: inner, client: interceptor.NewClient(fake.NewClientBuilder().WithScheme(scheme).Build(), calls)}
	if err := Setup(mgr, Options{Namespace: "reanchor-system", ProbeNamespace: "probe", Metrics: metrics, Zones: time.LoadLocation, Clock: clock.RealClock{}}); err != nil {
		t.Fatal(err)
	}
	return mgr
}

// An API server that keeps a connection and never answers must not hold a worker
// for ever.
func TestEveryReconcileEndsInTime(t *testing.T) {
	var ends []time.Duration
	unanswered := func(ctx context.Context) error {
		if end, ok := ctx.Deadline(); ok {
			ends = append(ends, time.Until(end))
		}
		return errors.New("no answer")
	}
	all := setUp(t, interceptor.Funcs{
		Get: func(ctx context.Context, _ client.WithWatch, _ client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
			return unanswered(ctx)
		},
		List: func(ctx context.Context, _ client.WithWatch, _ client.ObjectList, _ ...client.ListOption) error {
			return unanswered(ctx)
		},
	}).controllers()
	for _, c := range all {
		if _, err := c.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKey{Name: "linkerd"}}); err == nil {
			t.Error("it does not ask the API server")
		}
	}
	if len(all) != 3 || len(ends) != len(all) {
		t.Fatalf("%d controllers, of which %d end", len(all), len(ends))
	}
	for _, end := range ends {
		if end > 10*time.Minute {
			t.Errorf("one ends after %s", end)
		}
	}
}

// A controller that gave up waiting for the first list of a large cluster would end
// the process, and with it the list.
func TestNoControllerGivesUpTheFirstList(t *testing.T) {
	controllers := 0
	for _, r := range setUp(t, interceptor.Funcs{}).added {
		value := reflect.Indirect(reflect.ValueOf(r))
		if value.Kind() != reflect.Struct {
			continue
		}
		if within := value.FieldByName("CacheSyncTimeout"); within.IsValid() {
			controllers++
			triesAgainInTime(t, value.FieldByName("RateLimiter").Interface().(workqueue.TypedRateLimiter[reconcile.Request]))
			if within.Interface().(time.Duration) < 365*24*time.Hour {
				t.Errorf("a controller waits for %s", within)
			}
		}
	}
	if controllers != 3 {
		t.Errorf("%d controllers, want MeshTrusts, AnchorRotations and opt-outs", controllers)
	}
}

// triesAgainInTime fails when a reconcile that has failed often is not tried again
// within lookEvery.
func triesAgainInTime(t *testing.T, limiter workqueue.TypedRateLimiter[reconcile.Request]) {
	t.Helper()
	for range 50 {
		if wait := limiter.When(reconcile.Request{}); wait > lookEvery {
			t.Fatalf("after errors a controller waits for %s", wait)
		}
	}
}
