package rotation

import (
	"context"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/inventory"
	"github.com/reanchor/reanchor/rotation/record"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// stage is a Reconciler of one MeshTrust, which it returns.
func stage(t *testing.T, funcs interceptor.Funcs) (*Reconciler, *v1alpha1.MeshTrust) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	mt := &v1alpha1.MeshTrust{ObjectMeta: metav1.ObjectMeta{Name: "linkerd"}, Spec: v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd}}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(mt).WithStatusSubresource(mt).WithInterceptorFuncs(funcs).Build()
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(mt), mt); err != nil {
		t.Fatal(err)
	}
	metrics, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return &Reconciler{
		client: c, live: c, inventory: inventory.New(nil), memory: newMemory(), fence: newFence(c, "probe"),
		reporter: newReporter(events.NewFakeRecorder(100), metrics), clock: clocktesting.NewFakePassiveClock(now),
	}, mt
}

// An API server whose CRDs are of an earlier version drops the fields that it
// does not know, and says nothing, unless it was asked to be strict.
func TestAStatusThatOldCRDsCannotHoldIsNotStored(t *testing.T) {
	writes := 0
	r, mt := stage(t, interceptor.Funcs{SubResourceUpdate: func(_ context.Context, _ client.Client, _ string, _ client.Object, opts ...client.SubResourceUpdateOption) error {
		writes++
		if (&client.SubResourceUpdateOptions{}).ApplyOptions(opts).FieldValidation == metav1.FieldValidationStrict {
			return apierrors.NewBadRequest(`MeshTrust in version "v1alpha1" cannot be handled: strict decoding error: unknown field "status.rollout.fence"`)
		}
		return nil
	}})
	before := mt.DeepCopy()
	mt.Status.Rollout.Fence = &v1alpha1.FenceStatus{BundleHash: "v1:a"}
	stored, err := r.store(t.Context(), before, mt, true)
	if stored || err == nil || !strings.Contains(err.Error(), "MeshTrust linkerd") || !strings.Contains(err.Error(), `manifests/crds of its own version is applied: unknown field "status.rollout.fence"`) {
		t.Errorf("stored: %v, error: %v", stored, err)
	}
	if writes != 1 {
		t.Errorf("%d writes of the status, want 1", writes)
	}
}

// The API refuses an event whose note is too long, and the client drops it.
func TestTheEventOfALongMessageIsWritten(t *testing.T) {
	recorder := events.NewFakeRecorder(100)
	r, mt := stage(t, interceptor.Funcs{})
	r.reporter = newReporter(recorder, r.reporter.metrics)
	before := mt.DeepCopy()
	setCondition(mt, condition(v1alpha1.ConditionBundleValid, false, v1alpha1.BundleInvalid, strings.Repeat("wrong, ", 200)), now)
	found := func(key rollout.Key) *corev1.ObjectReference { return referenceTo(key, types.UID("uid")) }
	r.reporter.decided(before, mt, rollout.Decision{Ended: []rollout.Ended{{
		Key: rollout.Key{Kind: "Deployment", Group: "apps", Namespace: "ns", Name: "web"}, Failed: true, Reason: v1alpha1.BundleInvalid, Message: strings.Repeat("wrong, ", 200),
	}}}, found)
	if len(recorder.Events) != 3 {
		t.Errorf("%d events, want those of the condition, and of the workload on both objects", len(recorder.Events))
	}
	for len(recorder.Events) > 0 {
		if note := strings.SplitN(<-recorder.Events, " ", 3)[2]; len(note) > record.MostText {
			t.Errorf("a note of %d bytes", len(note))
		}
	}
}

func TestAMeshTrustThatIsGoneIsForgotten(t *testing.T) {
	r, mt := stage(t, interceptor.Funcs{})
	r.fence.bursts[mt.Name] = burst{hash: "v1:a"}
	r.reporter.statusWritten(mt.Name, now)
	r.memory.wasRefused(mt.Name, rollout.Key{Name: "web"}, "a budget", now)
	r.ledOnce.Do(func() { r.ledSince = now.Add(-settleAfterLead) })
	if err := r.client.Delete(t.Context(), mt); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(mt)}); err != nil {
		t.Fatal(err)
	}
	if n := len(r.fence.bursts) + len(r.reporter.written) + len(r.memory.meshes); n > 0 {
		t.Errorf("remembered: %v, %v, %v", r.fence.bursts, r.reporter.written, r.memory.meshes)
	}
}
