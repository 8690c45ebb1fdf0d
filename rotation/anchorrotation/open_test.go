package anchorrotation

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apifield "k8s.io/apimachinery/pkg/util/validation/field"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// scheduled is a mesh of an hourly schedule, at whose last time, noon, no run
// was opened so far. The name of the run tells it.
func scheduled(t *testing.T, funcs interceptor.Funcs) *calendar {
	t.Helper()
	r, w := stage(t, funcs)
	if err := r.Client.Delete(t.Context(), w.run); err != nil {
		t.Fatal(err)
	}
	none := int32(0)
	w.mt.Spec.Rotation.Schedule, w.mt.Spec.Rotation.HistoryLimit = "0 * * * *", &none
	w.mt.CreationTimestamp = metav1.NewTime(noon.Add(-time.Minute))
	if err := r.Client.Update(t.Context(), w.mt); err != nil {
		t.Fatal(err)
	}
	w.mt.Status.Bundle = &v1alpha1.BundleStatus{}
	if err := r.Client.Status().Update(t.Context(), w.mt); err != nil {
		t.Fatal(err)
	}
	clock := clocktesting.NewFakePassiveClock(noon.Add(time.Second))
	r.Clock, w.facts.Run = clock, nil
	return &calendar{r, w, clock}
}

const ofNoon = "linkerd-1795348800"

type calendar struct {
	*Reconciler
	w     *world
	clock *clocktesting.FakePassiveClock
}

// pass looks at the mesh once, as a controller that has just started does.
func (c *calendar) pass(t *testing.T) error {
	t.Helper()
	w := &world{mt: &v1alpha1.MeshTrust{}, facts: c.w.facts}
	if err := c.Live.Get(t.Context(), client.ObjectKey{Name: "linkerd"}, w.mt); err != nil {
		t.Fatal(err)
	}
	w.spec = w.mt.EffectiveSpec()
	var err error
	if w.runs, err = c.runsOf(t.Context(), "linkerd"); err != nil {
		t.Fatal(err)
	}
	if w.run = oldestActive(w.runs); w.run != nil {
		w.facts.Run = runOf(w.run, known(&w.facts))
	}
	_, err = c.proceed(t.Context(), w)
	return err
}

// passes looks at it some times.
func (c *calendar) passes(t *testing.T, n int) {
	t.Helper()
	for range n {
		if err := c.pass(t); err != nil {
			t.Fatal(err)
		}
	}
}

// want judges which runs there are, and whether noon is noted.
func (c *calendar) want(t *testing.T, noted bool, runs ...string) {
	t.Helper()
	var list v1alpha1.AnchorRotationList
	var mt v1alpha1.MeshTrust
	if err := errors.Join(c.Live.List(t.Context(), &list), c.Live.Get(t.Context(), client.ObjectKey{Name: "linkerd"}, &mt)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range list.Items {
		got = append(got, list.Items[i].Name)
	}
	if diff := cmp.Diff(runs, got); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
	if at := mt.Status.LastScheduleTime; (at != nil) != noted || noted && !at.Time.Equal(noon) {
		t.Errorf("noted as the last time is %v", at)
	}
}

// end ends the run, or deletes it, without the controller.
func (c *calendar) end(t *testing.T, deleted bool) {
	t.Helper()
	run := &v1alpha1.AnchorRotation{}
	if err := c.Live.Get(t.Context(), client.ObjectKey{Name: ofNoon}, run); err != nil {
		t.Fatal(err)
	}
	var err error
	if deleted {
		err = c.Client.Delete(t.Context(), run)
	} else {
		run.Status.Conditions = ended("", v1alpha1.ConditionComplete, run.Status).Status.Conditions
		err = c.Client.Status().Update(t.Context(), run)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestAScheduledRunWhoseCreationFailsIsNotLost(t *testing.T) {
	fails := true
	c := scheduled(t, interceptor.Funcs{Create: func(ctx context.Context, inner client.WithWatch, o client.Object, opts ...client.CreateOption) error {
		if fails {
			return errors.New("no")
		}
		return inner.Create(ctx, o, opts...)
	}})
	if err := c.pass(t); err == nil {
		t.Error("that the run was not created is no error")
	}
	c.want(t, false)
	fails = false
	c.passes(t, 1)
	c.want(t, false, ofNoon)
	c.passes(t, 1)
	c.want(t, true, ofNoon)
}

// A controller that stops right after it created a run has not noted its time.
// No other does anything before the run has ended, of which none is kept.
func TestATimeOfTheScheduleStartsOneRunWhereverTheControllerStops(t *testing.T) {
	c := scheduled(t, interceptor.Funcs{})
	c.passes(t, 1)
	c.want(t, false, ofNoon)
	c.end(t, false)
	c.passes(t, 1)
	c.want(t, true)
	c.passes(t, 2)
	c.want(t, true)
}

func TestARunIsNotDeletedBeforeItsTimeIsNoted(t *testing.T) {
	fails := true
	c := scheduled(t, interceptor.Funcs{SubResourcePatch: func(ctx context.Context, inner client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
		if fails {
			return errors.New("no")
		}
		return inner.SubResource(sub).Patch(ctx, o, p, opts...)
	}})
	c.passes(t, 1)
	c.end(t, false)
	if err := c.pass(t); err == nil {
		t.Error("that the time was not noted is no error")
	}
	c.want(t, false, ofNoon)
	fails = false
	c.passes(t, 2)
	c.want(t, true)
}

func TestAScheduledRunThatTheUserDeletesDoesNotComeBack(t *testing.T) {
	c := scheduled(t, interceptor.Funcs{})
	c.passes(t, 2)
	c.end(t, true)
	c.passes(t, 3)
	c.want(t, true)
}

// It would end the schedule.
func TestARunNamedAfterTheFutureIsNotNoted(t *testing.T) {
	c := scheduled(t, interceptor.Funcs{})
	future := &v1alpha1.AnchorRotation{
		ObjectMeta: metav1.ObjectMeta{Name: "linkerd-9999999999"},
		Spec:       v1alpha1.AnchorRotationSpec{MeshTrustRef: v1alpha1.ClusterObjectRef{Name: "linkerd"}},
	}
	if err := c.Client.Create(t.Context(), future); err != nil {
		t.Fatal(err)
	}
	c.passes(t, 2)
	c.want(t, false, future.Name)
}

func TestASuspendedMeshTrustIsNotWrittenTo(t *testing.T) {
	c := scheduled(t, interceptor.Funcs{})
	c.passes(t, 1)
	var mt v1alpha1.MeshTrust
	if err := c.Live.Get(t.Context(), client.ObjectKey{Name: "linkerd"}, &mt); err != nil {
		t.Fatal(err)
	}
	mt.Spec.Suspend = true
	if err := c.Client.Update(t.Context(), &mt); err != nil {
		t.Fatal(err)
	}
	c.end(t, false)
	c.passes(t, 2)
	c.want(t, false, ofNoon)
}

// oldCRDs answers to patches of a status as an API server does whose CRDs lack a
// field of it: it drops the field, unless it was asked to be strict.
func oldCRDs(field string) interceptor.Funcs {
	return interceptor.Funcs{SubResourcePatch: func(_ context.Context, _ client.Client, _ string, _ client.Object, _ client.Patch, opts ...client.SubResourcePatchOption) error {
		if (&client.SubResourcePatchOptions{}).ApplyOptions(opts).FieldValidation != metav1.FieldValidationStrict {
			return nil
		}
		return apierrors.NewInvalid(schema.GroupKind{}, "", apifield.ErrorList{
			apifield.Invalid(apifield.NewPath("patch"), `{"kind":"MeshTrust"}`, `strict decoding error: unknown field "status.`+field+`"`),
		})
	}}
}

func wantOldCRDs(t *testing.T, err error, field string) {
	t.Helper()
	if err == nil || !strings.HasSuffix(err.Error(), `manifests/crds of its own version is applied: unknown field "status.`+field+`"`) {
		t.Errorf("the error is %v", err)
	}
}

func TestARunIsNotDeletedWhoseTimeOldCRDsCannotHold(t *testing.T) {
	c := scheduled(t, oldCRDs("lastScheduleTime"))
	c.passes(t, 1)
	c.end(t, false)
	wantOldCRDs(t, c.pass(t), "lastScheduleTime")
	c.want(t, false, ofNoon)
}

func TestAMarkThatOldCRDsCannotHoldIsAnError(t *testing.T) {
	r, w := stage(t, oldCRDs("bundle.anchors[0].own"))
	w.mt.Status.Bundle = &v1alpha1.BundleStatus{Anchors: []v1alpha1.AnchorStatus{{Fingerprint: w.facts.Anchors[0].Issued.Fingerprint.String()}}}
	wantOldCRDs(t, r.markOwn(t.Context(), w), "bundle.anchors[0].own")
	if w.mt.Status.Bundle.Anchors[0].Own {
		t.Error("it is taken for marked")
	}
}
