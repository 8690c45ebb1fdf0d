package rotation

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// A controller that gave up waiting for the first list of a large cluster would end
// the process, and with it the list.
func TestNoControllerGivesUpTheFirstList(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	skip := true
	inner, err := ctrl.NewManager(&rest.Config{Host: "https://127.0.0.1:1"}, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: &skip},
	})
	if err != nil {
		t.Fatal(err)
	}
	mgr := &unstarted{Manager: inner, client: inner.GetClient()}
	metrics, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := Setup(mgr, Options{Namespace: "reanchor-system", ProbeNamespace: "probe", Metrics: metrics, Zones: time.LoadLocation, Clock: clock.RealClock{}}); err != nil {
		t.Fatal(err)
	}
	controllers := 0
	for _, r := range mgr.added {
		value := reflect.Indirect(reflect.ValueOf(r))
		if value.Kind() != reflect.Struct {
			continue
		}
		if within := value.FieldByName("CacheSyncTimeout"); within.IsValid() {
			controllers++
			if within.Interface().(time.Duration) < 365*24*time.Hour {
				t.Errorf("a controller waits for %s", within)
			}
		}
	}
	if controllers != 3 {
		t.Errorf("%d controllers, want MeshTrusts, AnchorRotations and opt-outs", controllers)
	}
}
