package owner

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/rollout"
)

var database = rollout.Key{Group: "example.com", Kind: "Database", Namespace: "shop", Name: "orders"}

// operators has one entry for Database, with defaults filled in.
func operators(a *v1alpha1.RestartAnnotation) rollout.Operators {
	mt := &v1alpha1.MeshTrust{Spec: v1alpha1.MeshTrustSpec{Rollout: v1alpha1.RolloutSpec{
		Operators: []v1alpha1.OperatorKind{{Group: database.Group, Kind: database.Kind, Annotation: a, Evict: a == nil}},
	}}}
	return mt.EffectiveSpec().Rollout.Operators
}

// world has the namespace, a Database with the annotations, and a mapper that
// knows the kind in a version of its own.
func world(annotations map[string]string, calls interceptor.Funcs) client.WithWatch {
	scheme := runtime.NewScheme()
	_ = corev1.AddToScheme(scheme)
	kind := schema.GroupVersionKind{Group: database.Group, Version: "v1beta7", Kind: database.Kind}
	mapper := apimeta.NewDefaultRESTMapper([]schema.GroupVersion{kind.GroupVersion()})
	mapper.Add(kind, apimeta.RESTScopeNamespace)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Namespace"), apimeta.RESTScopeRoot)
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind)
	u.SetNamespace(database.Namespace)
	u.SetName(database.Name)
	u.SetUID("uid")
	u.SetAnnotations(annotations)
	return fake.NewClientBuilder().WithScheme(scheme).WithRESTMapper(mapper).WithInterceptorFuncs(calls).
		WithObjects(u, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: database.Namespace}}).Build()
}

func reader(c client.Client, o rollout.Operators) Reader {
	return Reader{Cached: c, Live: c, Mesh: &mesh.Mesh{}, Operators: o, Mapper: c.RESTMapper()}
}

func TestACustomResourceTellsWhichRestartWasAskedFor(t *testing.T) {
	const key = "example.com/restart"
	at := time.Date(2030, 1, 1, 11, 0, 1, 0, time.UTC)
	for name, c := range map[string]struct {
		annotation *v1alpha1.RestartAnnotation
		found      map[string]string
		want       Owner
	}{
		"none": {&v1alpha1.RestartAnnotation{Key: key}, nil, Owner{State: rollout.Owner{Observed: true, ByPods: true}}},
		"a token": {&v1alpha1.RestartAnnotation{Key: key}, map[string]string{key: "v1:ab"},
			Owner{RestartedFor: "v1:ab", State: rollout.Owner{Observed: true, ByPods: true}}},
		"a time": {&v1alpha1.RestartAnnotation{Key: key, Value: v1alpha1.RestartTimestamp}, map[string]string{key: "2030-01-01T11:00:01Z"},
			Owner{RestartedFor: "2030-01-01T11:00:01Z", RestartAt: at, State: rollout.Owner{Observed: true, ByPods: true}}},
		"a text that is there is not finished": {&v1alpha1.RestartAnnotation{Key: key, Text: "true"}, map[string]string{key: "true"},
			Owner{RestartedFor: "true", State: rollout.Owner{ByPods: true}}},
		"another text asks for nothing": {&v1alpha1.RestartAnnotation{Key: key, Text: "true"}, map[string]string{key: "false"},
			Owner{RestartedFor: "false", State: rollout.Owner{Observed: true, ByPods: true}}},
		"an annotation elsewhere in it is not that of its own": {&v1alpha1.RestartAnnotation{Key: key, Path: "spec.podAnnotations"},
			map[string]string{key: "v1:ab"}, Owner{State: rollout.Owner{Observed: true, ByPods: true}}},
		"the eviction of its pods needs none": {nil, map[string]string{key: "v1:ab"}, Owner{State: rollout.Owner{Observed: true, ByPods: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			o := operators(c.annotation)
			got, err := reader(world(c.found, interceptor.Funcs{}), o).Read(t.Context(), database, Surroundings{})
			if err != nil {
				t.Fatal(err)
			}
			want := c.want
			want.Spec = rollout.OwnerSpec{Key: database, Found: true}
			want.Annotation, want.APIVersion, want.UID, want.ResourceVersion = o[0].Annotation, "example.com/v1beta7", "uid", got.ResourceVersion
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestACustomResourceSaysHowItIsTreated(t *testing.T) {
	failing := func(err error) interceptor.Funcs {
		return interceptor.Funcs{Get: func(ctx context.Context, c client.WithWatch, k client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if o.GetObjectKind().GroupVersionKind().Kind == database.Kind {
				return err
			}
			return c.Get(ctx, k, o, opts...)
		}}
	}
	gr := schema.GroupResource{Group: database.Group, Resource: "databases"}
	for name, c := range map[string]struct {
		annotations map[string]string
		calls       interceptor.Funcs
		operators   rollout.Operators
		verb        v1alpha1.Verb
		reason      v1alpha1.Reason
		says        string
	}{
		"as its kind is configured": {operators: operators(&v1alpha1.RestartAnnotation{Key: "a"}), verb: v1alpha1.VerbAnnotate},
		"opted out":                 {annotations: map[string]string{v1alpha1.OptOutAnnotation: "rollout"}, operators: operators(nil), reason: v1alpha1.OptedOut, says: "reanchor.dev/opt-out"},
		"by eviction, if it says so": {annotations: map[string]string{v1alpha1.RolloutStrategyAnnotation: "Evict"},
			operators: operators(&v1alpha1.RestartAnnotation{Key: "a"}), verb: v1alpha1.VerbEvict},
		"not at all without a permission": {calls: failing(apierrors.NewForbidden(gr, "orders", errors.New("no"))), operators: operators(nil),
			reason: v1alpha1.UnknownOwner, says: "allow it to get and patch databases.example.com"},
		"not at all while it cannot be converted": {calls: failing(apierrors.NewInternalError(errors.New("conversion webhook"))), operators: operators(nil),
			reason: v1alpha1.UnknownOwner, says: "see whether its operator runs"},
		"not at all when it has gone": {calls: failing(apierrors.NewNotFound(gr, "orders")), operators: operators(nil),
			reason: v1alpha1.UnknownOwner, says: "does not exist"},
		"not at all without an entry": {reason: v1alpha1.UnknownOwner, says: "spec.rollout.operators"},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := reader(world(c.annotations, c.calls), c.operators).Read(t.Context(), database, Surroundings{})
			if err != nil {
				t.Fatal(err)
			}
			verb, hold := rollout.VerbFor(o.Spec, rollout.Policy{Operators: c.operators})
			if verb != c.verb || hold.Reason != c.reason || !strings.Contains(hold.Message, c.says) {
				t.Errorf("got %q, %q: %s", verb, hold.Reason, hold.Message)
			}
		})
	}
	t.Run("a fault of the moment stops the reading", func(t *testing.T) {
		c := world(nil, failing(apierrors.NewServiceUnavailable("later")))
		if _, err := reader(c, operators(nil)).Read(t.Context(), database, Surroundings{}); err == nil {
			t.Error("no error")
		}
	})
}

// The pods of a cluster-scoped owner may be in many namespaces, of which each
// would be rolled by itself.
func TestAClusterScopedOwnerIsLeftAlone(t *testing.T) {
	c := world(nil, interceptor.Funcs{})
	kind := schema.GroupVersionKind{Group: database.Group, Version: "v1beta7", Kind: database.Kind}
	mapper := apimeta.NewDefaultRESTMapper([]schema.GroupVersion{kind.GroupVersion()})
	mapper.Add(kind, apimeta.RESTScopeRoot)
	r := reader(c, operators(nil))
	r.Mapper = mapper
	o, err := r.Read(t.Context(), database, Surroundings{})
	if err != nil {
		t.Fatal(err)
	}
	if verb, hold := rollout.VerbFor(o.Spec, rollout.Policy{Operators: r.Operators}); verb != "" || !strings.Contains(hold.Message, "cluster-scoped") {
		t.Errorf("got %q, %s", verb, hold.Message)
	}
}

// A template injected by hand is left alone here as in a Deployment.
func TestTheTemplateOfACustomResourceIsLookedAt(t *testing.T) {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"template": map[string]any{
		"metadata": map[string]any{"labels": map[string]any{"app": "x"}},
		"spec":     map[string]any{"containers": []any{map[string]any{"name": "linkerd-proxy"}}},
	}}}}
	for path, there := range map[string]bool{
		"spec.template.metadata.annotations": true, "spec.podAnnotations": false, "metadata.annotations": false, "spec.other.metadata.annotations": false,
	} {
		template := templateAround(u, &v1alpha1.RestartAnnotation{Path: path})
		if (template != nil) != there {
			t.Errorf("%s: template %v", path, template)
		}
		if there && (len(template.Spec.Containers) != 1 || template.Labels["app"] != "x") {
			t.Errorf("%s: %+v", path, template)
		}
	}
}

func TestAnnotatingACustomResource(t *testing.T) {
	type patch struct{ body, manager string }
	for name, c := range map[string]struct {
		annotation v1alpha1.RestartAnnotation
		answer     error
		want       string
		outcome    error
		says       string
	}{
		"its own annotations": {annotation: v1alpha1.RestartAnnotation{Key: "example.com/restart"},
			want: `{"apiVersion":"example.com/v1beta7","kind":"Database","metadata":{"annotations":{"example.com/restart":"v1:ab"},"name":"orders","namespace":"shop","resourceVersion":"999","uid":"uid"}}`},
		"those of its template": {annotation: v1alpha1.RestartAnnotation{Key: "restart", Path: "spec.template.metadata.annotations"},
			want: `{"apiVersion":"example.com/v1beta7","kind":"Database","metadata":{"name":"orders","namespace":"shop","resourceVersion":"999","uid":"uid"},"spec":{"template":{"metadata":{"annotations":{"restart":"v1:ab"}}}}}`},
		"without a permission": {annotation: v1alpha1.RestartAnnotation{Key: "a"},
			answer:  apierrors.NewForbidden(schema.GroupResource{Group: "example.com", Resource: "databases"}, "orders", errors.New("no patch")),
			outcome: ErrRefused, says: `databases.example.com "orders" is forbidden: no patch`},
		"against the operator's own rules": {annotation: v1alpha1.RestartAnnotation{Key: "a"},
			answer:  apierrors.NewInvalid(schema.GroupKind{Group: "example.com", Kind: "Database"}, "orders", nil),
			outcome: ErrRefused, says: `Database.example.com "orders" is invalid`},
		"somebody was quicker": {annotation: v1alpha1.RestartAnnotation{Key: "a"},
			answer:  apierrors.NewConflict(schema.GroupResource{}, "orders", nil),
			outcome: ErrSuperseded},
	} {
		t.Run(name, func(t *testing.T) {
			var sent patch
			calls := interceptor.Funcs{Apply: func(_ context.Context, _ client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
				var options client.ApplyOptions
				options.ApplyOptions(opts)
				body, err := o.(interface{ MarshalJSON() ([]byte, error) }).MarshalJSON()
				if err != nil {
					return err
				}
				sent = patch{strings.TrimSpace(string(body)), options.FieldManager}
				return c.answer
			}}
			cl := world(nil, calls)
			ops := operators(&c.annotation)
			w := Writer{Client: cl, Reader: reader(cl, ops), Policy: rollout.Policy{Operators: ops}, InForce: func(context.Context) error { return nil }}
			_, err := w.Do(t.Context(), rollout.Action{Key: database, Verb: v1alpha1.VerbAnnotate, Attempt: 1, Value: "v1:ab"})
			if !errors.Is(err, c.outcome) || c.outcome != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %v: %s", err, c.outcome, c.says)
			}
			if c.want != "" && (sent.body != c.want || sent.manager != v1alpha1.FieldManager) {
				t.Errorf("by %s:\n%s\nwant\n%s", sent.manager, sent.body, c.want)
			}
		})
	}
}

// What was decided under one policy is not carried out under another (I5).
func TestPodsAreNotEvictedOnceAnOperatorRestartsThem(t *testing.T) {
	cl := world(nil, interceptor.Funcs{})
	ops := operators(&v1alpha1.RestartAnnotation{Key: "a"})
	w := Writer{Client: cl, Reader: reader(cl, ops), Policy: rollout.Policy{Operators: ops}, InForce: func(context.Context) error { return nil }}
	_, err := w.Do(t.Context(), rollout.Action{Key: database, Verb: v1alpha1.VerbEvict, Pod: rollout.Pod{Name: "orders-0"}})
	if !errors.Is(err, ErrSuperseded) {
		t.Errorf("got %v, want %v", err, ErrSuperseded)
	}
}

func TestARefusalIsCut(t *testing.T) {
	long := &apierrors.StatusError{ErrStatus: metav1.Status{Code: http.StatusForbidden, Message: strings.Repeat("é", 1000)}}
	if got := Refusal(long); len(got) > 410 || !strings.HasSuffix(got, "é...") {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}
