package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/hack/lab/injector"
	"github.com/reanchor/reanchor/rotation"
)

// lagging is an injector of three replicas that see a new bundle late, each on
// its own, as the kubelets of three nodes refresh their files.
func lagging() injector.Options {
	return injector.Options{
		Replicas: 3, Lags: []time.Duration{3 * time.Second, 20 * time.Second, 40 * time.Second}, ConnectionPerRequest: true,
	}
}

const fileDelay = 45 * time.Second

// fenced is a spec in which a mounted file may be as late as fileDelay.
func fenced() *v1alpha1.MeshTrustSpec {
	spec := quick()
	spec.Bundle.Propagation.File = &metav1.Duration{Duration: fileDelay}
	return spec
}

// Nothing is rolled before the last of three injectors serves the new bundle,
// so that no workload needs a second attempt.
func TestNoWorkloadIsRolledTwiceBecauseAnInjectorLags(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{injector: lagging(), spec: fenced()})
	ns := m.namespace("apps")
	const apps = 6
	for i := range apps {
		deployment(t, ns, fmt.Sprint("app-", i), 1, nil)
	}
	ready(t, ns, apps)
	m.awaitConverged(time.Minute, m.root)

	next := bundletest.NewRoot(t, "root.linkerd.cluster.local", lifetime())
	m.publish(m.root, next)
	m.await(time.Minute, v1alpha1.ConditionConverged, metav1.ConditionFalse, v1alpha1.WaitingForInjector)
	mt := m.awaitConverged(3*time.Minute, m.root, next)
	rolledOnce(t, ns, apps, setOf(m.root, next))
	if len(mt.Status.Rollout.Attempts) != 0 {
		t.Errorf("second attempts: %+v", mt.Status.Rollout.Attempts)
	}
	for replica := range 3 {
		if m.injector.Served(replica) == 0 {
			t.Errorf("injector replica %d was never asked", replica)
		}
	}
}

// The control plane is rolled first, and with it the injectors: their new pods
// prove by their creation that they serve the bundle, long before the delay of
// a mounted file has passed.
func TestRollingTheInjectorsLiftsTheFence(t *testing.T) {
	t.Parallel()
	o, spec := lagging(), fenced()
	o.PodSelector = componentLabel + "=" + injectorComponent
	const late = fileDelay + 30*time.Second // it takes a busy machine long to roll the injectors, too
	spec.Bundle.Propagation.File.Duration = late
	m := newMesh(t, meshOptions{injector: o, spec: spec})
	m.component(injectorComponent, 3)
	m.component(identityComponent, 1)
	ready(t, m.name, 4)
	eventually(t, time.Minute, func() error { return m.serves(m.root) })
	ns := m.namespace("apps")
	for i := range 3 {
		deployment(t, ns, fmt.Sprint("app-", i), 1, nil)
	}
	ready(t, ns, 3)
	m.awaitConverged(time.Minute, m.root)

	next := bundletest.NewRoot(t, "root.linkerd.cluster.local", lifetime())
	history := m.record(m.name)
	published := time.Now()
	m.publish(m.root, next)
	mt := m.awaitConverged(2*late, m.root, next)
	rolledOnce(t, ns, 3, setOf(m.root, next))
	for name, n := range revisions(t, m.name) {
		if n != 2 {
			t.Errorf("%s has %d revisions, want the first and one roll", name, n)
		}
	}
	control, data := creations(pods(t, m.name)), creations(pods(t, ns))
	delay := quick().Bundle.Propagation.Environment.Duration
	if control.first.Before(published.Add(delay).Truncate(time.Second)) {
		t.Errorf("a pod of the control plane was created at %s, too early to read the bundle written at %s", control.first, published)
	}
	_, last := history.created(m.name)
	if first, _ := history.created(ns); last == 0 || first < last {
		t.Errorf("the first new pod of the data plane came at version %d, that of the control plane's last at %d", first, last)
	}
	if data.last.After(published.Add(late)) {
		t.Errorf("the data plane waited until %s, as if the injectors had not been rolled", data.last)
	}
	if f := mt.Status.Rollout.Fence; f == nil || f.At.Time.Before(control.last) {
		t.Errorf("want the fence after the last injector pod of %s, got %+v", control.last, f)
	}
}

// The same world as in the first scenario with the fence switched off: the
// first workload comes back stale. Not parallel, so that this is the only mesh
// while a controller of the test's own runs in the place of the program.
func TestWithoutTheFenceWorkloadsAreRolledTwice(t *testing.T) {
	m := newMesh(t, meshOptions{injector: lagging(), spec: fenced()})
	ns := m.namespace("apps")
	const apps = 3
	for i := range apps {
		deployment(t, ns, fmt.Sprint("app-", i), 1, nil)
	}
	ready(t, ns, apps)
	withoutFence(t)
	m.awaitConverged(time.Minute, m.root)
	next := bundletest.NewRoot(t, "root.linkerd.cluster.local", lifetime())
	m.publish(m.root, next)
	eventually(t, 2*time.Minute, func() error {
		have := revisions(t, ns)
		for _, n := range have {
			if n > 2 {
				return nil
			}
		}
		return fmt.Errorf("no workload was rolled again: %v", have)
	})
}

// withoutFence stops the program and runs the controller without its fence in
// this process until the test ends.
func withoutFence(t *testing.T) {
	t.Helper()
	env.leader.Stop()
	ctrl.SetLogger(logr.Discard())
	config, err := env.lab.ConfigFor(t.Context(), "reanchor-system", "reanchor-controller")
	if err != nil {
		t.Fatal(err)
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: env.scheme, Cache: rotation.CacheOptions(), Metrics: metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := rotation.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := rotation.Setup(mgr, rotation.Options{
		ProbeNamespace: "reanchor-probe", Metrics: metrics, Zones: time.LoadLocation, Clock: clock.RealClock{},
		ValidatingWebhook: "reanchor-validate", NoFence: true,
	}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		restartLeader(t)
	})
}

// restartLeader runs the program again after it was stopped.
func restartLeader(t *testing.T) {
	t.Helper()
	log := env.leader.Log
	dir := filepath.Dir(log)
	var err error
	if env.leader, err = startController(dir, "controller", filepath.Join(dir, "reanchor-controller.kubeconfig")); err != nil {
		t.Fatal(err)
	}
}
