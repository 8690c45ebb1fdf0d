package owner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// Outcomes of a write that are not faults.
var (
	// ErrSuperseded says that a live read shows that the action is not wanted
	// any more; the next decision will see why.
	ErrSuperseded = errors.New("the object has changed, so that this write is no longer needed")
	// ErrRefused says that the write was refused: an eviction by a
	// PodDisruptionBudget, a change by an admission rule or for want of a
	// permission. What follows in the error says by what.
	ErrRefused = errors.New("it was refused")
)

// Writer carries out actions. It reads live before every write and acts only
// if the workload still calls for it.
type Writer struct {
	Client client.Client
	Reader Reader
	Policy rollout.Policy
	// Revisions holds, of a Deployment, the template hash of one of the pods
	// for which it is to be rolled.
	Revisions map[rollout.Key]string
	// InForce returns an error when the decision that the actions are of is void
	// by now. It is asked after the live read and before the write, which is
	// refused in turn if the object changed since that read: so whoever decides
	// next either sees this write or keeps it from happening.
	InForce func(context.Context) error
}

// Written is what a write left behind.
type Written struct {
	// UID is the object's.
	UID types.UID
	// Generation is the object's after the write: an older one in the cache
	// means that the cache lags. Zero for evictions.
	Generation int64
}

// Do carries out one action.
func (w Writer) Do(ctx context.Context, a rollout.Action) (Written, error) {
	live, err := w.live(ctx, a.Key)
	if err != nil {
		return Written{}, err
	}
	live.Spec.RunsToEnd = a.RunsToEnd // no pod is ever given another restartPolicy
	switch verb, hold := rollout.VerbFor(live.Spec, w.Policy); {
	case verb == "":
		return Written{}, fmt.Errorf("checking %s: %w: %s", a.Key, ErrSuperseded, hold.Message)
	case verb != a.Verb && (a.Verb != v1alpha1.VerbEvict || verb == v1alpha1.VerbAnnotate):
		return Written{}, fmt.Errorf("checking %s: %w: it is rolled by %s now", a.Key, ErrSuperseded, verb)
	}
	if err := w.confirm(ctx, live); err != nil {
		return Written{}, err
	}
	if err := w.InForce(ctx); err != nil {
		return Written{}, fmt.Errorf("checking the decision on %s: %w", a.Key, err)
	}
	return w.write(ctx, live, a)
}

func (w Writer) write(ctx context.Context, live Owner, a rollout.Action) (Written, error) {
	switch a.Verb {
	case v1alpha1.VerbEvict:
		return Written{}, w.evict(ctx, a)
	case v1alpha1.VerbRestartAt:
		return w.apply(ctx, live, specOf(map[string]any{"restartAt": a.RestartAt.UTC().Format(time.RFC3339)}))
	case v1alpha1.VerbAnnotate:
		return w.annotate(ctx, live, a)
	default:
		if live.RestartedFor == a.Mark {
			return Written{UID: live.UID, Generation: live.Generation}, nil
		}
		return w.apply(ctx, live, specOf(map[string]any{"template": map[string]any{"metadata": map[string]any{
			"annotations": map[string]any{v1alpha1.RestartedForAnnotation: a.Mark},
		}}}))
	}
}

func specOf(fields map[string]any) map[string]any { return map[string]any{"spec": fields} }

// live reads the workload and its namespace from the API server.
func (w Writer) live(ctx context.Context, key rollout.Key) (Owner, error) {
	var ns corev1.Namespace
	if err := w.Reader.Live.Get(ctx, client.ObjectKey{Name: key.Namespace}, &ns); err != nil {
		return Owner{}, fmt.Errorf("reading namespace %s: %w", key.Namespace, err)
	}
	r := w.Reader
	r.Cached = r.Live
	return r.Read(ctx, key, SurroundingsOf(ns.Annotations))
}

// confirm makes sure that the pods are the Deployment's own: so far that was
// read off the name of their ReplicaSet, which anybody could give to another.
func (w Writer) confirm(ctx context.Context, live Owner) error {
	key := live.Spec.Key
	revision, ok := w.Revisions[key]
	if key.Kind != kindDeployment || !ok {
		return nil
	}
	var rs appsv1.ReplicaSet
	err := w.Reader.Live.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: key.Name + "-" + revision}, &rs)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("reading the ReplicaSet of %s: %w", key, err)
	}
	if ref := metav1.GetControllerOf(&rs); ref == nil || ref.UID != live.UID {
		return fmt.Errorf("checking %s: %w: it does not own the stale pods' ReplicaSet", key, ErrSuperseded)
	}
	return nil
}

// apply writes one field by server-side apply. The object's UID
// and resourceVersion go with it: a write that rests on an older read than the
// API server's state is refused, so a controller that slept through a change
// of leaders cannot act on what it knew before.
func (w Writer) apply(ctx context.Context, live Owner, fields map[string]any) (Written, error) {
	key := live.Spec.Key
	u := &unstructured.Unstructured{Object: fields}
	u.SetAPIVersion(cmp.Or(live.APIVersion, appsv1.SchemeGroupVersion.String()))
	u.SetKind(key.Kind)
	u.SetNamespace(key.Namespace)
	u.SetName(key.Name)
	u.SetUID(live.UID)
	u.SetResourceVersion(live.ResourceVersion)
	err := w.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(v1alpha1.FieldManager), client.ForceOwnership)
	switch {
	case apierrors.IsConflict(err):
		return Written{}, fmt.Errorf("applying to %s: %w", key, ErrSuperseded)
	case refused(err):
		return Written{}, fmt.Errorf("applying to %s: %w: %s", key, ErrRefused, Refusal(err))
	case err != nil:
		return Written{}, fmt.Errorf("applying to %s: %w", key, Sealed(err))
	}
	return Written{UID: live.UID, Generation: u.GetGeneration()}, nil
}

// evictionAnswer is how long an eviction is waited for, with all meshes waiting. While
// a budget has changed and its status has not, the server says "in ten seconds", and
// a client that is told so (the controller's is not) sleeps for that long, ten times.
const evictionAnswer = 2 * time.Second

// evict asks for the eviction of one pod, which a PodDisruptionBudget may
// refuse. A pod that is gone, or has been replaced by another of its name, is
// left alone.
func (w Writer) evict(ctx context.Context, a rollout.Action) error {
	uid := types.UID(a.Pod.UID)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: a.Key.Namespace, Name: a.Pod.Name}}
	eviction := &policyv1.Eviction{DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}}
	limited, cancel := context.WithTimeout(ctx, evictionAnswer)
	defer cancel()
	err := w.Client.SubResource("eviction").Create(limited, pod, eviction)
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return fmt.Errorf("evicting pod %s/%s: %w", a.Key.Namespace, a.Pod.Name, ErrSuperseded)
	case apierrors.IsTooManyRequests(err):
		return fmt.Errorf("evicting pod %s/%s: %w: %s", a.Key.Namespace, a.Pod.Name, ErrRefused, refusedBy(err))
	case limited.Err() != nil && ctx.Err() == nil:
		return fmt.Errorf("evicting pod %s/%s: %w: the server, which gave no answer within %s, as while it processes a PodDisruptionBudget",
			a.Key.Namespace, a.Pod.Name, ErrRefused, evictionAnswer)
	case refused(err): // 500 is the answer for a pod of two budgets
		return fmt.Errorf("evicting pod %s/%s: %w: the server: %s", a.Key.Namespace, a.Pod.Name, ErrRefused, Refusal(err))
	case err != nil:
		return fmt.Errorf("evicting pod %s/%s: %w", a.Key.Namespace, a.Pod.Name, Sealed(err))
	}
	return nil
}
