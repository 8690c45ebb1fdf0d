package nudge

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestOwnersAreWokenWhenTheReasonIsGone(t *testing.T) {
	web := Owner{"ReplicaSet", "shop", "web-1"}
	denied := Refusal{Owner: web, At: now.Add(-time.Minute), Mesh: "linkerd"}
	unanswered := Refusal{Owner: web, At: now.Add(-time.Minute), Unanswered: true}
	good := Mesh{Hash: "v1:new", Usable: true, InForce: now.Add(-time.Second)}
	with := func(change func(*Mesh)) map[string]Mesh { m := good; change(&m); return map[string]Mesh{"linkerd": m} }
	for name, tc := range map[string]struct {
		facts Facts
		want  string
	}{
		"a denial ends when a newer bundle is in force": {
			Facts{Refusals: []Refusal{denied}, Meshes: with(func(*Mesh) {})}, "v1:new"},
		"not before the injectors serve it": {
			Facts{Refusals: []Refusal{denied}, Meshes: with(func(m *Mesh) { m.InForce = now.Add(time.Second) })}, ""},
		"not when it was refused under that very bundle": {
			Facts{Refusals: []Refusal{denied}, Meshes: with(func(m *Mesh) { m.InForce = denied.At.Add(-time.Second) })}, ""},
		"not while the bundle cannot be used": {
			Facts{Refusals: []Refusal{denied}, Meshes: with(func(m *Mesh) { m.Usable = false })}, ""},
		"another mesh's bundle is no reason": {
			Facts{Refusals: []Refusal{denied}, Meshes: map[string]Mesh{"istio": good}}, ""},
		"a webhook that answers again": {
			Facts{Refusals: []Refusal{unanswered}, AnsweringSince: now}, "webhook-answers.1795348800"},
		"a webhook that answers again while all is suspended": {
			Facts{Refusals: []Refusal{unanswered}, AnsweringSince: now, Suspended: true}, ""},
		"a webhook that does not": {
			Facts{Refusals: []Refusal{unanswered}, Meshes: with(func(*Mesh) {})}, ""},
		"a webhook that answered all the time": {
			Facts{Refusals: []Refusal{unanswered}, AnsweringSince: unanswered.At.Add(-time.Second)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var want []Action
			if tc.want != "" {
				want = []Action{{web, tc.want}}
			}
			if diff := cmp.Diff(want, Next(tc.facts, now)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMessagesOfRefusedCreations(t *testing.T) {
	for name, tc := range map[string]struct {
		message    string
		unanswered bool
		mesh       string
		ok         bool
	}{
		"a denial names its mesh":       {`Error creating: admission webhook "validate.reanchor.dev" denied the request: mesh "linkerd": the pod's only trust anchor expired`, false, "linkerd", true},
		"a webhook that did not answer": {`Error creating: Internal error occurred: failed calling webhook "validate.reanchor.dev": failed to call webhook: Post "https://x": connection refused`, true, "", true},
		"another webhook's denial":      {`Error creating: admission webhook "policy.example.com" denied the request: mesh "linkerd"`, false, "", false},
		"a quota":                       {`Error creating: pods "web" is forbidden: exceeded quota`, false, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			unanswered, mesh, ok := Parse(tc.message)
			if unanswered != tc.unanswered || mesh != tc.mesh || ok != tc.ok {
				t.Errorf("got %v %q %v, want %v %q %v", unanswered, mesh, ok, tc.unanswered, tc.mesh, tc.ok)
			}
		})
	}
}

func TestWhenABundleIsInForce(t *testing.T) {
	mt := &v1alpha1.MeshTrust{Spec: v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd}}
	spec := mt.EffectiveSpec()
	status := v1alpha1.MeshTrustStatus{History: []v1alpha1.BundleRecord{{Hash: "v1:new", FirstSeen: metav1.NewTime(now)}, {Hash: "v1:old"}}}
	if got := InForce(&spec, &status, true); !got.InForce.Equal(now.Add(150 * time.Second)) {
		t.Errorf("without a fence, when the injectors' files are surely fresh; got %s", got.InForce)
	}
	status.Rollout.Fence = &v1alpha1.FenceStatus{BundleHash: "v1:old", At: metav1.NewMicroTime(now)}
	if got := InForce(&spec, &status, true); !got.InForce.Equal(now.Add(150 * time.Second)) {
		t.Errorf("the fence of another bundle counted; got %s", got.InForce)
	}
	status.Rollout.Fence.BundleHash = "v1:new"
	if got := InForce(&spec, &status, true); !got.InForce.Equal(now) || got.Hash != "v1:new" {
		t.Errorf("with a fence, from then on; got %s %s", got.Hash, got.InForce)
	}
	if got := InForce(&spec, &v1alpha1.MeshTrustStatus{}, true); got.Usable {
		t.Error("a mesh without a bundle wakes nobody")
	}
}

func TestAnOwnerThatIsRefusedAgainAndAgainIsWokenEverMoreRarely(t *testing.T) {
	clock := clocktesting.NewFakeClock(now)
	n := &Nudger{Clock: clock, woken: map[Owner]wake{}}
	web, other := Owner{"ReplicaSet", "shop", "web-1"}, Owner{"ReplicaSet", "shop", "other-1"}
	woken := 0
	for range 3600 / 2 {
		if n.due(web) {
			woken++
		}
		clock.Step(2 * time.Second)
	}
	if woken < 5 || woken > 12 {
		t.Errorf("woken %d times within an hour, want a few times", woken)
	}
	if !n.due(other) || n.due(other) {
		t.Error("each owner has pauses of its own")
	}
	clock.Step(forgetAfter + time.Second)
	if !n.due(web) {
		t.Error("after a long rest an owner is woken at once")
	}
}

// Only a wake that came about makes the pause grow.
func TestAnOwnerThatCouldNotBeWokenIsTriedAgainSoon(t *testing.T) {
	clock := clocktesting.NewFakeClock(now)
	n := &Nudger{Clock: clock, woken: map[Owner]wake{}}
	web := Owner{"ReplicaSet", "shop", "web-1"}
	for i := range 10 {
		if !n.due(web) {
			t.Fatalf("after %d wakes that failed, one each %s, it is not tried again", i, firstPause)
		}
		n.notWoken(web)
		clock.Step(firstPause + time.Second)
	}
}

// The error of a look is logged.
func TestWhatIsLoggedOfARefusalQuotesNoCertificate(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	const certificate = "-----BEGIN CERTIFICATE-----\nMIIB"
	answer := apierrors.NewInvalid(schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}, "web-1",
		field.ErrorList{field.Invalid(field.NewPath("spec"), certificate, "no")})
	for name, calls := range map[string]interceptor.Funcs{
		"waking": {Apply: func(context.Context, client.WithWatch, runtime.ApplyConfiguration, ...client.ApplyOption) error {
			return answer
		}},
		"reading": {Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return answer
		}},
	} {
		t.Run(name, func(t *testing.T) {
			lacking := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1"}, Spec: appsv1.ReplicaSetSpec{Replicas: new(int32(1))}}
			c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(lacking).WithInterceptorFuncs(calls).Build()
			recorder := events.NewFakeRecorder(1)
			refusal := Refusal{Owner: Owner{"ReplicaSet", "shop", "web-1"}, At: now.Add(-time.Minute), Unanswered: true}
			clock := clocktesting.NewFakeClock(now)
			n := &Nudger{
				Client: c, Live: c, Clock: clock, Recorder: recorder,
				Answers:  func(context.Context) error { return nil },
				refusals: map[Owner]Refusal{refusal.Owner: refusal}, woken: map[Owner]wake{},
			}
			err := n.look(t.Context())
			if err == nil || bundle.QuotesPEM(err.Error()) || !strings.Contains(err.Error(), name+" ReplicaSet shop/web-1: Invalid; the message is left out") {
				t.Errorf("the error is %v", err)
			}
			if len(recorder.Events) > 0 || len(n.refusals) != 1 {
				t.Errorf("%d events tell of a wake that was not, and %d refusals are remembered", len(recorder.Events), len(n.refusals))
			}
			for range 3 {
				clock.Step(firstPause)
				if n.look(t.Context()) == nil {
					t.Error("an owner that could not be woken is not tried again after the first pause")
				}
			}
		})
	}
}

// A refusal for want of an answer names no mesh. While every mesh is suspended it
// is of a suspended one, and nothing is written.
func TestNobodyIsWokenWhileEveryMeshIsSuspended(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	mesh := func(name string, suspended bool) client.Object {
		return &v1alpha1.MeshTrust{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd, Suspend: suspended}}
	}
	for name, tc := range map[string]struct {
		meshes []client.Object
		woken  int
	}{
		"all are suspended":      {[]client.Object{mesh("a", true), mesh("b", true)}, 0},
		"one is not":             {[]client.Object{mesh("a", true), mesh("b", false)}, 1},
		"there is none any more": {nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			lacking := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1"}, Spec: appsv1.ReplicaSetSpec{Replicas: new(int32(1))}}
			woken := 0
			c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(lacking).WithObjects(tc.meshes...).WithInterceptorFuncs(interceptor.Funcs{
				Apply: func(context.Context, client.WithWatch, runtime.ApplyConfiguration, ...client.ApplyOption) error {
					woken++
					return nil
				},
			}).Build()
			refusal := Refusal{Owner: Owner{"ReplicaSet", "shop", "web-1"}, At: now.Add(-time.Minute), Unanswered: true}
			n := &Nudger{
				Client: c, Live: c, Clock: clocktesting.NewFakeClock(now), Recorder: events.NewFakeRecorder(1),
				Answers:  func(context.Context) error { return nil },
				refusals: map[Owner]Refusal{refusal.Owner: refusal}, woken: map[Owner]wake{},
			}
			if err := n.look(t.Context()); err != nil {
				t.Fatal(err)
			}
			if woken != tc.woken {
				t.Errorf("%d were woken, want %d", woken, tc.woken)
			}
		})
	}
}
