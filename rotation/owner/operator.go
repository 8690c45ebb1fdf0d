package owner

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// operator returns how a custom resource is read whose restart is configured.
// Of a rollout it tells nothing: that is judged by its pods.
func (r Reader) operator(kind *v1alpha1.OperatorKind) func(context.Context, *Owner) error {
	return func(ctx context.Context, o *Owner) error {
		mapping, err := r.Mapper.RESTMapping(schema.GroupKind{Group: kind.Group, Kind: kind.Kind})
		if err != nil {
			return err
		}
		if mapping.Scope.Name() != apimeta.RESTScopeNameNamespace {
			o.unreadable("its kind is cluster-scoped, so that one restart would reach pods in other namespaces too; restart it by hand")
			return nil
		}
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(mapping.GroupVersionKind)
		if err := r.get(ctx, o, u, mapping.Resource.Resource); err != nil || o.Spec.Unreadable != "" {
			return err
		}
		r.describe(o, u, templateAround(u, kind.Annotation))
		o.APIVersion = u.GetAPIVersion()
		o.State = rollout.Owner{Observed: true, ByPods: true}
		readAnnotation(o, u, kind.Annotation)
		return nil
	}
}

// get reads an owner of a kind that others have defined. Where that is refused, the
// owner says so.
func (r Reader) get(ctx context.Context, o *Owner, u *unstructured.Unstructured, resource string) error {
	err := r.Live.Get(ctx, name(o), u)
	switch {
	case apierrors.IsForbidden(err):
		o.unreadable(fmt.Sprintf("the controller may not read it; allow it to get and patch %s.%s (docs/install.md)", resource, o.Spec.Key.Group))
		return nil
	case apierrors.IsInternalError(err):
		// Its conversion webhook does not answer, as when its operator is down.
		o.unreadable("the API server cannot read it; see whether its operator runs")
		return nil
	default:
		return err
	}
}

// unreadable says why the pods of an owner are left alone; others go on.
func (o *Owner) unreadable(why string) {
	o.Spec.Found, o.Spec.Unreadable, o.State.Observed = true, why, true
}

// readAnnotation reads off the annotation which restart was asked for last. A
// text that is there is one that the operator has not finished yet.
func readAnnotation(o *Owner, u *unstructured.Unstructured, a *v1alpha1.RestartAnnotation) {
	o.Annotation = a
	if a == nil {
		return
	}
	o.RestartedFor, _, _ = unstructured.NestedString(u.Object, append(annotationsPath(a), a.Key)...)
	if o.RestartedFor == "" {
		return
	}
	o.AskedAt = appliedAt(u)
	switch {
	case a.Text != "":
		o.State.Observed = o.RestartedFor != a.Text
	case a.Value == v1alpha1.RestartTimestamp:
		o.RestartAt, _ = time.Parse(time.RFC3339, o.RestartedFor)
	}
}

// appliedAt is when the API server last took a change of the fields that are
// applied to the object; zero when there are none.
func appliedAt(u *unstructured.Unstructured) time.Time {
	for _, m := range u.GetManagedFields() {
		if m.Manager == v1alpha1.FieldManager && m.Operation == metav1.ManagedFieldsOperationApply && m.Time != nil {
			return m.Time.Time
		}
	}
	return time.Time{}
}

// annotationsPath are the names of the fields that lead to the annotations.
func annotationsPath(a *v1alpha1.RestartAnnotation) []string { return strings.Split(a.Path, ".") }

// templateAround returns the pod template whose annotations are meant, nil for
// annotations of anything else.
func templateAround(u *unstructured.Unstructured, a *v1alpha1.RestartAnnotation) *corev1.PodTemplateSpec {
	if a == nil {
		return nil
	}
	path, ok := strings.CutSuffix(a.Path, "."+v1alpha1.AnnotationsPath)
	if !ok {
		return nil
	}
	return templateAt(u, strings.Split(path, ".")...)
}

// templateAt returns a pod template, nil where the fields are none.
func templateAt(u *unstructured.Unstructured, path ...string) *corev1.PodTemplateSpec {
	fields, ok, _ := unstructured.NestedMap(u.Object, path...)
	template := &corev1.PodTemplateSpec{}
	if !ok || runtime.DefaultUnstructuredConverter.FromUnstructured(fields, template) != nil {
		return nil
	}
	return template
}

// annotate asks the operator for a restart.
func (w Writer) annotate(ctx context.Context, live Owner, a rollout.Action) (Written, error) {
	if live.Annotation == nil {
		return Written{}, fmt.Errorf("annotating %s: %w: it has no annotation for that", a.Key, ErrSuperseded)
	}
	var fields any = map[string]any{live.Annotation.Key: a.Value}
	for _, name := range slices.Backward(annotationsPath(live.Annotation)) {
		fields = map[string]any{name: fields}
	}
	return w.apply(ctx, live, fields.(map[string]any))
}
