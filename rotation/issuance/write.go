package issuance

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// object is one to write, as it was when it was decided on; without a
// version it must not exist.
type object struct {
	kind
	namespace, name string
	uid             types.UID
	version         string
}

func (o object) String() string { return describe(o.kind, o.namespace, o.name) }

// moved is the Conflict that says that the world is another.
func (o object) moved(why string) error {
	return apierrors.NewConflict(o.groupResource(), o.name, fmt.Errorf("%s %s; decide again", o, why))
}

// seen makes sure that the object is the one that the action was decided on, and
// fills in what a write needs of it.
func (o object) seen(m metav1.Object, w *writing) (object, error) {
	switch {
	case w.UID != "" && m.GetUID() != types.UID(w.UID):
		return o, o.moved("was replaced by another of its name")
	case w.ResourceVersion != "" && m.GetResourceVersion() != w.ResourceVersion:
		return o, o.moved("has changed since it was read")
	}
	o.uid, o.version = m.GetUID(), m.GetResourceVersion()
	return o, nil
}

// current reads an object to write, whole.
func (w *writing) current(ctx context.Context, k kind, namespace, name string) (object, *unstructured.Unstructured, error) {
	o := object{kind: k, namespace: namespace, name: name}
	u, err := w.get(ctx, k, namespace, name)
	if err != nil {
		return o, nil, err
	}
	if u == nil {
		return o, nil, o.moved("does not exist")
	}
	o, err = o.seen(u, w)
	return o, u, err
}

// located reads the metadata of an object to write.
func (w *writing) located(ctx context.Context, k kind, namespace, name string) (object, error) {
	o := object{kind: k, namespace: namespace, name: name}
	m, err := w.getMetadata(ctx, k, namespace, name)
	if err != nil {
		return o, err
	}
	if m == nil {
		return o, o.moved("does not exist")
	}
	o.GroupVersionKind = m.GroupVersionKind() // of the version that is served
	return o.seen(m, w)
}

// unchanged makes sure that another object has the version that the action was
// decided on.
func (w *writing) unchanged(ctx context.Context, o object) error {
	m, err := w.getMetadata(ctx, o.kind, o.namespace, o.name)
	switch {
	case err != nil:
		return err
	case m == nil || m.ResourceVersion != o.version:
		return o.moved("has changed since it was read")
	default:
		return nil
	}
}

// neverVersion is a resourceVersion that no object has. A server-side apply with
// it creates an object, and fails with a Conflict on one that is there; unlike a
// plain create, RBAC can allow it for one name alone.
const neverVersion = "1"

// apply server-side applies content, which it completes, to an object, by force.
func (w *writing) apply(ctx context.Context, o object, content map[string]any, manager string) error {
	u := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{}}}
	maps.Copy(u.Object, content)
	u.SetGroupVersionKind(o.GroupVersionKind)
	u.SetNamespace(o.namespace)
	u.SetName(o.name)
	u.SetUID(o.uid)
	u.SetResourceVersion(o.version)
	if o.version == "" {
		u.SetResourceVersion(neverVersion)
	}
	err := w.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(manager), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("applying to %s: %w", o, err)
	}
	return nil
}

// patch merges content into an object that must have its version.
func (w *writing) patch(ctx context.Context, o object, content map[string]any) error {
	u, patch, err := o.mergePatch(content)
	if err != nil {
		return err
	}
	return o.patched(w.Client.Patch(ctx, u, patch, client.FieldOwner(v1alpha1.FieldManager)))
}

// patchStatus merges content into an object's status.
func (w *writing) patchStatus(ctx context.Context, o object, content map[string]any) error {
	u, patch, err := o.mergePatch(content)
	if err != nil {
		return err
	}
	return o.patched(w.Client.Status().Patch(ctx, u, patch, client.FieldOwner(v1alpha1.FieldManager)))
}

// mergePatch completes content to a merge patch.
func (o object) mergePatch(content map[string]any) (*unstructured.Unstructured, client.Patch, error) {
	merged := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{}}}
	maps.Copy(merged.Object, content)
	merged.SetResourceVersion(o.version)
	body, err := json.Marshal(merged.Object)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding a patch of %s: %w", o, err)
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(o.GroupVersionKind)
	u.SetNamespace(o.namespace)
	u.SetName(o.name)
	return u, client.RawPatch(types.MergePatchType, body), nil
}

func (o object) patched(err error) error {
	switch {
	case apierrors.IsNotFound(err):
		return o.moved("does not exist any more")
	case err != nil:
		return fmt.Errorf("patching %s: %w", o, err)
	default:
		return nil
	}
}

// delete deletes an object that must be the very one.
func (w *writing) delete(ctx context.Context, o object) error {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(o.GroupVersionKind)
	m.Namespace, m.Name = o.namespace, o.name
	err := w.Client.Delete(ctx, m, client.Preconditions{UID: &o.uid, ResourceVersion: &o.version})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting %s: %w", o, err)
	}
	return nil
}
