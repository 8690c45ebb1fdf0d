package owner

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/rotation/rollout"
)

func TestRefusedByNamesTheBudget(t *testing.T) {
	refusal := func(kind metav1.CauseType, message string) error {
		err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: kind, Message: message})
		return err
	}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"the server's sentence is taken apart": {
			refusal(policyv1.DisruptionBudgetCause, "The disruption budget web needs 3 healthy pods and has 3 currently"),
			"PodDisruptionBudget web, which needs 3 healthy pods and has 3 currently",
		},
		"another sentence is kept": {
			refusal(policyv1.DisruptionBudgetCause, "The disruption budget web is still being processed by the server."),
			"The disruption budget web is still being processed by the server.",
		},
		"a cause of another type says nothing of a budget": {refusal("Other", "slow down"), "a PodDisruptionBudget"},
		"no cause":             {apierrors.NewTooManyRequests("slow down", 1), "a PodDisruptionBudget"},
		"no status of the API": {errors.New("refused"), "a PodDisruptionBudget"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := refusedBy(c.err); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// The server asks for ten seconds of patience while a budget is being
// processed; a reconcile has not got them.
func TestAnEvictionThatIsPutOffIsRefused(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", "10")
		w.WriteHeader(http.StatusTooManyRequests)
		json.NewEncoder(w).Encode(apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 10).ErrStatus)
	}))
	defer server.Close()
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	mapper := apimeta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Pod"), apimeta.RESTScopeNamespace)
	c, err := client.New(&rest.Config{Host: server.URL}, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err = Writer{Client: c}.evict(t.Context(), rollout.Action{
		Key: rollout.Key{Kind: "StatefulSet", Namespace: "ns", Name: "web"}, Pod: rollout.Pod{Name: "web-0", UID: "uid"},
	})
	if !errors.Is(err, ErrRefused) {
		t.Errorf("got %v, want %v", err, ErrRefused)
	}
	if took := time.Since(began); took > 2*evictionAnswer {
		t.Errorf("it took %s", took)
	}
}

// What others refuse is told of the one workload; it is no fault of the pass, in
// which all others would wait.
func TestARefusedChangeNamesWhatRefusedIt(t *testing.T) {
	deployments := schema.GroupResource{Group: "apps", Resource: "deployments"}
	for name, c := range map[string]struct {
		answer error
		says   string
	}{
		"an admission policy": {apierrors.NewForbidden(deployments, "web", errors.New("policy require-owner says no")), "policy require-owner says no"},
		"a rule of the kind":  {apierrors.NewInvalid(schema.GroupKind{Group: "apps", Kind: "Deployment"}, "web", nil), "is invalid"},
		"a rule that quotes what it refuses": {apierrors.NewInvalid(schema.GroupKind{Group: "apps", Kind: "Deployment"}, "web",
			field.ErrorList{field.Invalid(field.NewPath("spec"), "-----BEGIN CERTIFICATE-----\nMIIB", "no")}), "Invalid; the message is left out"},
		"a webhook that fails": {apierrors.NewInternalError(errors.New(`failed calling webhook "policy.example.com"`)),
			`failed calling webhook "policy.example.com"`},
	} {
		for verb, calls := range map[string]interceptor.Funcs{
			"applying": {Apply: func(context.Context, client.WithWatch, runtime.ApplyConfiguration, ...client.ApplyOption) error {
				return c.answer
			}},
			"evicting": {SubResourceCreate: func(context.Context, client.Client, string, client.Object, client.Object, ...client.SubResourceCreateOption) error {
				return c.answer
			}},
		} {
			w := Writer{Client: world(nil, calls)}
			key, err := rollout.Key{Kind: "Deployment", Namespace: "ns", Name: "web"}, error(nil)
			if verb == "applying" {
				_, err = w.apply(t.Context(), Owner{Spec: rollout.OwnerSpec{Key: key}}, specOf(nil))
			} else {
				err = w.evict(t.Context(), rollout.Action{Key: key, Pod: rollout.Pod{Name: "web-0"}})
			}
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), ErrRefused.Error()+": ") || !strings.Contains(err.Error(), c.says) || bundle.QuotesPEM(err.Error()) {
				t.Errorf("%s, refused by %s: %v", verb, name, err)
			}
		}
	}
}

// Pods that are meant to end are judged like those of a Job by the decision, so by
// the write, too: else the one would ask for ever what the other refuses.
func TestAPodThatRunsToItsEndIsJudgedTheSameWhenItIsWritten(t *testing.T) {
	evicted := 0
	c := world(nil, interceptor.Funcs{SubResourceCreate: func(context.Context, client.Client, string, client.Object, client.Object, ...client.SubResourceCreateOption) error {
		evicted++
		return nil
	}})
	for name, p := range map[string]rollout.Policy{"jobs may be evicted": {EvictJobs: true}, "bare pods may be": {EvictBarePods: true}} {
		w := Writer{Client: c, Reader: reader(c, nil), Policy: p, InForce: func(context.Context) error { return nil }}
		key := rollout.Key{Kind: "Pod", Namespace: database.Namespace, Name: "once"}
		for _, runsToEnd := range []bool{true, false} {
			want, _ := rollout.VerbFor(rollout.OwnerSpec{Key: key, Found: true, RunsToEnd: runsToEnd}, p)
			before := evicted
			_, err := w.Do(t.Context(), rollout.Action{Key: key, Verb: v1alpha1.VerbEvict, Pod: rollout.Pod{Name: "once", UID: "uid"}, RunsToEnd: runsToEnd})
			if done := evicted > before; done != (want == v1alpha1.VerbEvict) || done != (runsToEnd == p.EvictJobs) || (err == nil) != done {
				t.Errorf("%s, runs to its end %t: evicted %t (%v), the decision is %q", name, runsToEnd, done, err, want)
			}
		}
	}
}

// An admission webhook chooses the code of its answer, and the text.
func TestNoErrorOfAWriteQuotesACertificate(t *testing.T) {
	answer := &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusTeapot, Reason: "Policy", Message: "-----BEGIN CERTIFICATE-----\nMIIB",
	}}
	w := Writer{Client: world(nil, interceptor.Funcs{
		Apply: func(context.Context, client.WithWatch, runtime.ApplyConfiguration, ...client.ApplyOption) error {
			return answer
		},
		SubResourceCreate: func(context.Context, client.Client, string, client.Object, client.Object, ...client.SubResourceCreateOption) error {
			return answer
		},
	})}
	key := rollout.Key{Kind: "Deployment", Namespace: "ns", Name: "web"}
	_, applying := w.apply(t.Context(), Owner{Spec: rollout.OwnerSpec{Key: key}}, specOf(nil))
	evicting := w.evict(t.Context(), rollout.Action{Key: key, Pod: rollout.Pod{Name: "web-0"}})
	for verb, err := range map[string]error{"applying": applying, "evicting": evicting} {
		if err == nil || bundle.QuotesPEM(err.Error()) || apierrors.ReasonForError(err) != "Policy" || !strings.Contains(err.Error(), "web") {
			t.Errorf("%s: %v", verb, err)
		}
	}
}
