package anchorrotation

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kubefake "k8s.io/client-go/kubernetes/fake"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/rotation/issuance"
	"github.com/reanchor/reanchor/rotation/lifecycle"
	"github.com/reanchor/reanchor/rotation/record"
)

// stage is a world in which one write is due: the archive.
func stage(t *testing.T, funcs interceptor.Funcs) (*Reconciler, *world) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	mt := &v1alpha1.MeshTrust{
		ObjectMeta: metav1.ObjectMeta{Name: "linkerd", UID: "mt", Generation: 1},
		Spec:       v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd, Rotation: &v1alpha1.RotationSpec{}},
	}
	run := &v1alpha1.AnchorRotation{
		ObjectMeta: metav1.ObjectMeta{Name: "r", UID: "run"},
		Spec:       v1alpha1.AnchorRotationSpec{MeshTrustRef: v1alpha1.ClusterObjectRef{Name: "linkerd"}},
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(mt, run).WithStatusSubresource(mt, run).WithInterceptorFuncs(funcs).Build()
	metrics, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	clock := clocktesting.NewFakePassiveClock(noon)
	r := &Reconciler{
		Client: c, Live: c, Store: &issuance.Store{Live: c, Client: c, Clock: clock},
		Reporter: NewReporter(events.NewFakeRecorder(100), metrics), Clock: clock,
	}
	w := &world{mt: mt, run: run, spec: mt.EffectiveSpec()}
	for _, o := range []client.Object{mt, run} {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			t.Fatal(err)
		}
	}
	anchor := root(t, "anchor")
	w.facts = lifecycle.Facts{
		Mesh: "linkerd", Policy: policyOf(&w.spec), Anchors: []lifecycle.Certificate{{Issued: &anchor, SecretName: "a"}}, Run: runOf(run, known(&w.facts)),
	}
	return r, w
}

func archived(t *testing.T, r *Reconciler) bool {
	t.Helper()
	var list corev1.ConfigMapList
	if err := r.Live.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	return len(list.Items) > 0
}

func TestADecisionIsStoredAndCarriedOut(t *testing.T) {
	r, w := stage(t, interceptor.Funcs{})
	if _, err := r.step(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if !archived(t, r) || len(w.run.Status.Steps) != 1 {
		t.Errorf("archived %v, steps %v", archived(t, r), w.run.Status.Steps)
	}
}

// A crash, or a conflict, before the state is stored leaves nothing behind.
func TestNothingIsDoneThatIsNotStored(t *testing.T) {
	broken := interceptor.Funcs{SubResourceUpdate: func(context.Context, client.Client, string, client.Object, ...client.SubResourceUpdateOption) error {
		return errors.New("no")
	}}
	r, w := stage(t, broken)
	if _, err := r.step(t.Context(), w); err == nil {
		t.Error("that the state was not stored is no error")
	}
	if archived(t, r) {
		t.Error("it was acted on a state that is not stored")
	}
}

// An API server whose CRDs are of an earlier version drops the fields that it
// does not know, and says nothing, unless it was asked to be strict.
func TestNothingIsDoneThatOldCRDsCannotHold(t *testing.T) {
	writes := 0
	drops := interceptor.Funcs{SubResourceUpdate: func(ctx context.Context, inner client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
		writes++
		if (&client.SubResourceUpdateOptions{}).ApplyOptions(opts).FieldValidation == metav1.FieldValidationStrict {
			return apierrors.NewBadRequest(`AnchorRotation in version "v1alpha1" cannot be handled: strict decoding error: unknown field "status.steps"`)
		}
		stored := o.DeepCopyObject().(*v1alpha1.AnchorRotation)
		stored.Status.Steps = nil
		err := inner.SubResource(sub).Update(ctx, stored)
		o.SetResourceVersion(stored.ResourceVersion)
		return err
	}}
	r, w := stage(t, drops)
	_, err := r.step(t.Context(), w)
	if err == nil || !strings.Contains(err.Error(), "AnchorRotation r") || !strings.Contains(err.Error(), `manifests/crds of its own version is applied: unknown field "status.steps"`) {
		t.Errorf("the error is %v", err)
	}
	if archived(t, r) || writes != 1 {
		t.Errorf("acted: %v, after %d writes of the status", archived(t, r), writes)
	}
}

func TestADecisionIsVoidOnceSomebodyWrote(t *testing.T) {
	for name, change := range map[string]func(*Reconciler, *world) error{
		"the MeshTrust, such as suspend": func(r *Reconciler, w *world) error {
			mt := w.mt.DeepCopy()
			mt.Generation++ // the API server does it
			return r.Client.Update(context.Background(), mt)
		},
		"the run, such as abort": func(r *Reconciler, w *world) error {
			run := w.run.DeepCopy()
			run.Spec.Abort = true
			return r.Client.Update(context.Background(), run)
		},
	} {
		r, w := stage(t, interceptor.Funcs{})
		d := lifecycle.Next(w.facts, noon)
		if len(d.Actions) == 0 {
			t.Fatal("nothing to do")
		}
		if err := r.store(t.Context(), w, d, noon); err != nil {
			t.Fatal(err)
		}
		if err := change(r, w); err != nil {
			t.Fatal(err)
		}
		if err := r.act(t.Context(), w, d); !apierrors.IsConflict(err) {
			t.Errorf("%s: got %v, want a conflict", name, err)
		}
		if archived(t, r) {
			t.Errorf("%s: it was acted all the same", name)
		}
	}
}

// stageTwo is a world in which two writes are due: the archive and the carrier.
func stageTwo(t *testing.T, funcs interceptor.Funcs) (*Reconciler, *world) {
	t.Helper()
	r, w := stage(t, funcs)
	earlier := bundle.FromAnchors(root(t, "earlier"))
	w.facts.Earlier = []lifecycle.Earlier{{SignedBy: earlier, LeavesUntil: noon.Add(time.Hour)}}
	return r, w
}

// A user who suspends between two writes of one decision stops the second.
func TestSuspendStopsBetweenTwoWrites(t *testing.T) {
	for name, c := range map[string]struct {
		suspend func(context.Context, client.Client, *world) error
		want    []string
	}{
		"nobody suspends": {
			func(context.Context, client.Client, *world) error { return nil }, []string{"ConfigMap", "Secret"},
		},
		"spec.suspend of the MeshTrust": {
			func(ctx context.Context, c client.Client, w *world) error {
				mt := w.mt.DeepCopy()
				mt.Spec.Suspend = true
				mt.Generation++ // the API server does it
				return c.Update(ctx, mt)
			}, []string{"ConfigMap"},
		},
		"spec.suspend of the AnchorRotation": {
			func(ctx context.Context, c client.Client, w *world) error {
				run := w.run.DeepCopy()
				run.Spec.Suspend = true
				return c.Update(ctx, run)
			}, []string{"ConfigMap"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var r *Reconciler
			var w *world
			var wrote []string
			r, w = stageTwo(t, interceptor.Funcs{Apply: func(ctx context.Context, inner client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
				if err := inner.Apply(ctx, o, opts...); err != nil {
					return err
				}
				wrote = append(wrote, kindOf(t, o))
				if len(wrote) > 1 {
					return nil
				}
				return c.suspend(ctx, inner, w)
			}})
			if _, err := r.step(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, wrote); diff != "" {
				t.Errorf("written (-want +got):\n%s", diff)
			}
		})
	}
}

// A leader that slept while another opened a run would release what that relies on.
func TestWithoutARunNothingIsDoneOnceOneHasBegun(t *testing.T) {
	for name, c := range map[string]struct {
		seen, there bool
	}{
		"there is none":                      {false, false},
		"there is the one that was seen end": {true, true},
		"one was deleted since":              {true, false},
		"one has begun since":                {false, true},
	} {
		t.Run(name, func(t *testing.T) {
			r, w := stage(t, interceptor.Funcs{})
			if c.seen {
				w.runs = []v1alpha1.AnchorRotation{*w.run.DeepCopy()}
			}
			if !c.there {
				if err := r.Client.Delete(t.Context(), w.run); err != nil {
					t.Fatal(err)
				}
			}
			w.run, w.facts.Run = nil, nil
			if _, err := r.step(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			if got, want := archived(t, r), c.seen || !c.there; got != want {
				t.Errorf("written: %t, want %t", got, want)
			}
		})
	}
}

func kindOf(t *testing.T, o runtime.ApplyConfiguration) string {
	t.Helper()
	var kind metav1.TypeMeta
	text, err := json.Marshal(o)
	if err == nil {
		err = json.Unmarshal(text, &kind)
	}
	if err != nil {
		t.Fatal(err)
	}
	return kind.Kind
}

// What a run has stored survives whatever it is told.
func TestARunThatIsToldToWaitForgetsNothing(t *testing.T) {
	r, w := stage(t, interceptor.Funcs{})
	if _, err := r.step(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	before := w.run.Status.DeepCopy()
	if err := r.say(t.Context(), w.run, v1alpha1.PermissionMissing, "rights"); err != nil {
		t.Fatal(err)
	}
	if len(w.run.Status.Steps) != len(before.Steps) || w.run.Status.Steps[0].Phase != before.Steps[0].Phase {
		t.Errorf("steps %v, want %v", w.run.Status.Steps, before.Steps)
	}
	if c := w.run.Status.Conditions; len(c) == 0 {
		t.Error("nothing was said")
	}
}

func TestAMeshIsLookedAtInAPace(t *testing.T) {
	var p pacer
	if wait := p.wait("a", noon); wait != 0 {
		t.Errorf("the first look waits %s", wait)
	}
	if wait := p.wait("a", noon.Add(pace/4)); wait != pace*3/4 {
		t.Errorf("the second look waits %s", wait)
	}
	if p.wait("b", noon.Add(pace/4)) != 0 || p.wait("a", noon.Add(pace)) != 0 || p.wait("a", noon.Add(-time.Hour)) != 0 {
		t.Error("another mesh, a look in time, or a clock that was set back, waits")
	}
}

// blocked is the reason for which a run is Blocked, as its status has it.
func blocked(t *testing.T, r *Reconciler, name string) string {
	t.Helper()
	var run v1alpha1.AnchorRotation
	if err := r.Live.Get(t.Context(), client.ObjectKey{Name: name}, &run); err != nil {
		t.Fatal(err)
	}
	if c := apimeta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionBlocked); c != nil && c.Status == metav1.ConditionTrue {
		return c.Reason
	}
	return ""
}

// shownBlocked is what the metrics show of the mesh.
func shownBlocked(r *Reconciler) v1alpha1.Reason { return r.Reporter.metrics.meshes["linkerd"].blocked }

func TestARunOfAMeshThatIsLeftAloneIsShownAsBlocked(t *testing.T) {
	r, w := stage(t, interceptor.Funcs{})
	w.refused = "MeshTrust linkerd is left alone"
	if _, err := r.refuse(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if got := blocked(t, r, "r"); got != string(v1alpha1.InvalidSpec) || shownBlocked(r) != v1alpha1.InvalidSpec {
		t.Errorf("status %q, metrics %q", got, shownBlocked(r))
	}
}

// A controller that has just started waits for its pods without a word; what
// lasts is said.
func TestARunThatNothingCanBeDecidedOnIsSaidToBeBlockedAfterAWhile(t *testing.T) {
	r, w := stage(t, interceptor.Funcs{})
	clock := clocktesting.NewFakePassiveClock(noon)
	r.Clock = clock
	w.pending = "the pods are being read"
	await := func(at time.Duration, want v1alpha1.Reason) {
		t.Helper()
		clock.SetTime(noon.Add(at))
		if _, err := r.await(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		if got := blocked(t, r, "r"); got != string(want) || shownBlocked(r) != want {
			t.Errorf("after %s: status %q, metrics %q, want %q", at, got, shownBlocked(r), want)
		}
	}
	await(0, "")
	await(patience-time.Second, "")
	r.pacer.ready("linkerd")
	await(patience+time.Second, "")
	await(3*patience, v1alpha1.NotObserved)
}

// The MeshTrust's status lists an issuer whose leaves only the run shows ended.
func TestAnEndedRunStaysUntilWhatItShowsIsOnRecord(t *testing.T) {
	r, w := stage(t, interceptor.Funcs{})
	at := metav1.NewTime(noon)
	w.run.Finalizers = []string{v1alpha1.RotationFinalizer}
	if err := r.Client.Update(t.Context(), w.run); err != nil {
		t.Fatal(err)
	}
	w.run.Status = ended("", v1alpha1.ConditionFailed, v1alpha1.AnchorRotationStatus{IssuerInUseAt: &at, AbortedFrom: v1alpha1.PhaseDrainLeaves}).Status
	w.runs, w.run = []v1alpha1.AnchorRotation{*w.run}, nil
	earlier := metav1.NewTime(noon.Add(-time.Minute))
	w.mt.Status.Issuer = &v1alpha1.IssuerStatus{Earlier: []v1alpha1.EarlierIssuer{{Fingerprint: "x", ReplacedAt: &earlier}}}
	held := func() int {
		t.Helper()
		if err := r.tidy(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		return len(w.runs[0].Finalizers)
	}
	if held() == 0 {
		t.Error("it may go, and its anchor would count as needed again")
	}
	w.mt.Status.Issuer.Earlier = nil
	if held() > 0 {
		t.Error("it is held although its word is on record")
	}
}

func TestARunWhoseMeshTrustIsGoneSaysWhatItLeavesBehind(t *testing.T) {
	r, w := stage(t, interceptor.Funcs{})
	recorder := events.NewFakeRecorder(100)
	r.Reporter.events = record.NewEvents(recorder)
	w.run.Finalizers = []string{v1alpha1.RotationFinalizer}
	if err := r.Client.Update(t.Context(), w.run); err != nil {
		t.Fatal(err)
	}
	w.run.Status.FromAnchor = &v1alpha1.RotationCertificate{SecretName: "a"}
	if err := r.Client.Status().Update(t.Context(), w.run); err != nil {
		t.Fatal(err)
	}
	w.mt, w.runs = nil, []v1alpha1.AnchorRotation{*w.run}
	if err := r.orphaned(t.Context(), w, "linkerd"); err != nil {
		t.Fatal(err)
	}
	if got := blocked(t, r, "r"); got != string(v1alpha1.InvalidSpec) || shownBlocked(r) != v1alpha1.InvalidSpec {
		t.Errorf("status %q, metrics %q", got, shownBlocked(r))
	}
	if c := apimeta.FindStatusCondition(w.runs[0].Status.Conditions, v1alpha1.ConditionBlocked); !strings.HasSuffix(c.Message, leftMidway) {
		t.Errorf("it does not say what is held back: %s", c.Message)
	}
	for len(recorder.Events) > 0 {
		<-recorder.Events
	}
	if err := r.Client.Delete(t.Context(), &w.runs[0]); err != nil {
		t.Fatal(err)
	}
	if err := r.Live.Get(t.Context(), client.ObjectKey{Name: "r"}, &w.runs[0]); err != nil {
		t.Fatal(err)
	}
	if err := r.orphaned(t.Context(), w, "linkerd"); err != nil {
		t.Fatal(err)
	}
	if len(recorder.Events) != 1 || !strings.Contains(<-recorder.Events, leftMidway) {
		t.Error("it goes without a word")
	}
	if err := r.Live.Get(t.Context(), client.ObjectKey{Name: "r"}, &v1alpha1.AnchorRotation{}); !apierrors.IsNotFound(err) || len(r.Reporter.metrics.meshes) > 0 {
		t.Errorf("it is still there: %v, %v", err, r.Reporter.metrics.meshes)
	}
}

// The API refuses an event whose note is too long, and the client drops it.
func TestTheEventOfALongReasonIsWritten(t *testing.T) {
	recorder := events.NewFakeRecorder(100)
	r, w := stage(t, interceptor.Funcs{})
	r.Reporter = NewReporter(recorder, r.Reporter.metrics)
	if err := r.say(t.Context(), w.run, v1alpha1.PermissionMissing, strings.Repeat("right, ", 200)); err != nil {
		t.Fatal(err)
	}
	r.Reporter.failed(w, v1alpha1.PermissionMissing, lifecycle.Action{Verb: lifecycle.WriteArchive}, errors.New(strings.Repeat("right, ", 200)))
	if len(recorder.Events) != 3 {
		t.Errorf("%d events, want those of two conditions and of the failure", len(recorder.Events))
	}
	for len(recorder.Events) > 0 {
		if note := strings.SplitN(<-recorder.Events, " ", 3)[2]; len(note) > record.MostText {
			t.Errorf("a note of %d bytes", len(note))
		}
	}
}

// The condition says what to do, the log has the YAML: once, and anew whenever
// other rights are missing.
func TestMissingRightsAreLoggedWholeAndOnce(t *testing.T) {
	denied, asked := "patch", 0
	r, w := stage(t, interceptor.Funcs{Create: func(_ context.Context, _ client.WithWatch, o client.Object, _ ...client.CreateOption) error {
		asked++
		review := o.(*authorizationv1.SelfSubjectAccessReview)
		review.Status.Allowed = review.Spec.ResourceAttributes.Verb != denied
		return nil
	}})
	var logged []string
	ctx := log.IntoContext(t.Context(), funcr.New(func(_, args string) { logged = append(logged, args) }, funcr.Options{}))
	look := func(want int) {
		t.Helper()
		advice, err := r.missing(ctx, w.mt)
		if err != nil || (advice == "") != (denied == "") {
			t.Fatalf("advice %q, error %v", advice, err)
		}
		if len(logged) != want {
			t.Errorf("%d lines in the log, want %d", len(logged), want)
		}
		// What is missing is not asked for again at once; that nothing is, is.
		before := asked
		if _, err := r.missing(ctx, w.mt); err != nil || (asked > before) != (denied == "") {
			t.Errorf("asked %d times at once (%v)", asked-before, err)
		}
		r.Clock.(*clocktesting.FakePassiveClock).SetTime(r.Clock.Now().Add(answerHolds))
	}
	look(1)
	look(1)
	if !strings.Contains(logged[0], "kind: RoleBinding") {
		t.Errorf("logged: %s", logged[0])
	}
	denied = "get"
	look(2)
	look(2)
	denied = ""
	look(2)
	denied = "get"
	look(3)
}

func TestAMeshThatIsGoneIsForgotten(t *testing.T) {
	r, w := stage(t, interceptor.Funcs{})
	if _, err := r.step(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	r.Reporter.lacks("linkerd", "rights")
	if len(r.Reporter.written) != 1 {
		t.Errorf("written %v", r.Reporter.written)
	}
	w.mt, w.run, w.runs = nil, nil, nil
	if err := r.orphaned(t.Context(), w, "linkerd"); err != nil {
		t.Fatal(err)
	}
	if len(r.Reporter.written)+len(r.Reporter.lacking) > 0 {
		t.Errorf("remembered: %v, %v", r.Reporter.written, r.Reporter.lacking)
	}
}

// A run that has ended holds nothing up, whatever keeps it from being written to.
func TestARunThatHasEndedHoldsNothingUp(t *testing.T) {
	refused := func(name string) interceptor.Funcs {
		return interceptor.Funcs{Patch: func(ctx context.Context, inner client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if o.GetName() == name {
				return errors.New("a policy says no")
			}
			return inner.Patch(ctx, o, p, opts...)
		}}
	}
	for name, mayStep := range map[string]bool{"ended": true, "r": false} {
		r, w := stage(t, refused(name))
		ended := v1alpha1.AnchorRotation{ObjectMeta: metav1.ObjectMeta{Name: "ended", Finalizers: []string{v1alpha1.RotationFinalizer}}}
		ended.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionComplete, Status: metav1.ConditionTrue}}
		w.runs = []v1alpha1.AnchorRotation{ended, *w.run}
		w.run = &w.runs[1]
		if err := r.tidy(t.Context(), w); (err == nil) != mayStep {
			t.Errorf("where %s cannot be written to, tidying gives %v", name, err)
		}
		var stored v1alpha1.AnchorRotation
		if err := r.Live.Get(t.Context(), client.ObjectKeyFromObject(w.run), &stored); err != nil {
			t.Fatal(err)
		}
		if claimed := slices.Contains(stored.Finalizers, v1alpha1.RotationFinalizer); claimed != mayStep {
			t.Errorf("where %s cannot be written to, the run in force is claimed: %t", name, claimed)
		}
	}
}

// Whether a kind is served takes a discovery of the whole API.
func TestAKindThatIsNotServedIsLookedForNowAndThen(t *testing.T) {
	r, w := stage(t, interceptor.Funcs{})
	mapper := &countingMapper{RESTMapper: apimeta.NewDefaultRESTMapper(nil)}
	r.Client = fake.NewClientBuilder().WithScheme(r.Client.Scheme()).WithRESTMapper(mapper).Build()
	kinds := len(externalKinds())
	for _, step := range []struct {
		says  string
		after time.Duration
		live  bool
		want  int
	}{
		{"at first", 0, false, kinds}, {"at once again", 0, false, kinds}, {"for a gate", 0, true, 2 * kinds},
		{"after a moment", answerHolds, false, 3 * kinds},
	} {
		r.Clock.(*clocktesting.FakePassiveClock).SetTime(r.Clock.Now().Add(step.after))
		if out, err := r.external(t.Context(), &w.spec, step.live); err != nil || len(out) > 0 {
			t.Fatalf("%s: %v, %v", step.says, out, err)
		}
		if mapper.asked != step.want {
			t.Errorf("%s: asked %d times by then, want %d", step.says, mapper.asked, step.want)
		}
	}
}

type countingMapper struct {
	apimeta.RESTMapper
	asked int
}

func (m *countingMapper) RESTMapping(gk schema.GroupKind, versions ...string) (*apimeta.RESTMapping, error) {
	m.asked++
	return m.RESTMapper.RESTMapping(gk, versions...)
}

// While pods roll, the status of the MeshTrust is written all the time. What a look
// wants to note there waits, and the run does not.
func TestARunGoesOnWhereItsNotesAreOvertaken(t *testing.T) {
	overtaken := 0
	r, w := stage(t, interceptor.Funcs{SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
		if o.GetName() == "linkerd" {
			overtaken++
			return superseded("meshtrusts", "linkerd")
		}
		return c.SubResource(sub).Patch(ctx, o, patch, opts...)
	}})
	w.mt.Status.Bundle = &v1alpha1.BundleStatus{Anchors: []v1alpha1.AnchorStatus{{Fingerprint: w.facts.Anchors[0].Issued.Fingerprint.String()}}}
	w.runs = []v1alpha1.AnchorRotation{*w.run}
	w.run = &w.runs[0]
	if _, err := r.proceed(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if overtaken == 0 || !archived(t, r) {
		t.Errorf("overtaken %d times, archived %v", overtaken, archived(t, r))
	}
}

// What the MeshTrust's status records goes into a look; and in one for a gate the
// signing service comes after the pods of the whole cluster, whose list takes long.
func TestALookTakesInTheRecordAndTheSigningServiceLast(t *testing.T) {
	var read []string
	r, w := stage(t, interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
		if _, ok := list.(*appsv1.DeploymentList); ok {
			read = append(read, "identity")
		}
		return c.List(ctx, list, opts...)
	}})
	pods := kubefake.NewClientset()
	pods.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		read = append(read, "pods")
		return false, nil, nil
	})
	r.PodClient = pods.CoreV1()
	own := w.facts.Anchors[0].Issued.Fingerprint
	w.mt.Status.Bundle = &v1alpha1.BundleStatus{Anchors: []v1alpha1.AnchorStatus{{Fingerprint: own.String(), Own: true}}}
	w.mt.Status.Issuer = &v1alpha1.IssuerStatus{VerifiedBy: []string{own.String()}}
	w.run, w.facts = nil, lifecycle.Facts{Read: lifecycle.Read{Live: true}}
	if err := r.observe(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"pods", "identity"}, slices.Compact(read)); diff != "" {
		t.Errorf("what is read in which order (-want +got):\n%s", diff)
	}
	if issuer := w.facts.Roller.Issuer; !w.facts.Marked.Contains(own) || issuer == nil || !issuer.VerifiedBy.Contains(own) {
		t.Errorf("marked as own %v, the issuer on record %+v", w.facts.Marked, issuer)
	}
}
