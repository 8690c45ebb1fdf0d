package owner

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// Owner is what was read of a workload.
type Owner struct {
	Spec  rollout.OwnerSpec
	State rollout.Owner
	// RestartedFor is the mark on its template, or the value of Annotation.
	RestartedFor string
	// RestartAt is the time set on an Argo Rollout, or in Annotation.
	RestartAt time.Time
	// AskedAt is when Annotation got its value from Reanchor; zero when it did not.
	AskedAt time.Time
	// Annotation is the one that is configured for its kind; nil without one.
	Annotation *v1alpha1.RestartAnnotation
	// APIVersion is that of the object, where it is not apps/v1.
	APIVersion string
	// UID, ResourceVersion and Generation are the object's; empty when it was
	// not found, or has no object of its own to read.
	UID             types.UID
	ResourceVersion string
	Generation      int64
}

// Reader reads owners.
type Reader struct {
	// Cached answers for the kinds that every cluster has in numbers:
	// Deployments, StatefulSets and DaemonSets.
	Cached client.Reader
	// Live answers for all others, which are few.
	Live client.Reader
	// Mesh tells whether a template holds the bundle itself.
	Mesh *mesh.Mesh
	// Operators are the owner kinds whose restart is configured, Mapper finds
	// their version.
	Operators rollout.Operators
	Mapper    apimeta.RESTMapper
}

// Surroundings are what a workload inherits from its namespace.
type Surroundings struct {
	OptedOut, EvictOnly bool
}

// SurroundingsOf reads them from the namespace's annotations.
func SurroundingsOf(annotations map[string]string) Surroundings {
	return Surroundings{
		OptedOut:  v1alpha1.OptsOut(annotations[v1alpha1.OptOutAnnotation], v1alpha1.OptOutRollout),
		EvictOnly: annotations[v1alpha1.RolloutStrategyAnnotation] == v1alpha1.RolloutStrategyEvict,
	}
}

// Read returns the owner with the key. One that does not exist is no error:
// its Spec.Found is false.
func (r Reader) Read(ctx context.Context, key rollout.Key, s Surroundings) (Owner, error) {
	o := Owner{Spec: rollout.OwnerSpec{Key: key}}
	err := r.reading(key)(ctx, &o)
	switch {
	case apierrors.IsNotFound(err), apimeta.IsNoMatchError(err):
		// A kind that the cluster does not have, named by a label on a pod, must
		// not stop the rest.
		return Owner{Spec: rollout.OwnerSpec{Key: key}}, nil
	case err != nil:
		return Owner{}, fmt.Errorf("reading %s: %w", key, err)
	}
	o.Spec.OptedOut = o.Spec.OptedOut || s.OptedOut
	o.Spec.EvictOnly = o.Spec.EvictOnly || s.EvictOnly
	return o, nil
}

// reading returns how owners of a kind are read.
func (r Reader) reading(key rollout.Key) func(context.Context, *Owner) error {
	switch key.BuiltIn() {
	case kindDeployment:
		return r.deployment
	case kindStatefulSet:
		return r.statefulSet
	case kindDaemonSet:
		return r.daemonSet
	case kindReplicaSet:
		return r.replicaSet
	case kindReplicationController:
		return r.replicationController
	case kindRollout:
		return r.rollout
	case "Pod", "Node":
		return podsOnly
	case "":
		if kind := r.Operators.For(key); kind != nil {
			return r.operator(kind)
		}
	}
	return byPods
}

// podsOnly is for bare pods and nodes: nothing takes the place of a pod that is
// gone.
func podsOnly(_ context.Context, o *Owner) error {
	o.Spec.Found, o.State.Observed = true, true
	return nil
}

// byPods is for Jobs and kinds that are not known: something does, and how many
// there should be is told by how many there are. Without that an eviction would
// wait for no replacement.
func byPods(ctx context.Context, o *Owner) error {
	o.State.ByPods = true
	return podsOnly(ctx, o)
}

// The kinds whose pods can be rolled.
const (
	kindDeployment            = "Deployment"
	kindStatefulSet           = "StatefulSet"
	kindDaemonSet             = "DaemonSet"
	kindReplicaSet            = "ReplicaSet"
	kindReplicationController = "ReplicationController"
	kindRollout               = "Rollout"
)

// describe fills in what all kinds have in common.
func (r Reader) describe(o *Owner, object client.Object, template *corev1.PodTemplateSpec) {
	annotations := object.GetAnnotations()
	o.Spec.Found = true
	o.Spec.OptedOut = v1alpha1.OptsOut(annotations[v1alpha1.OptOutAnnotation], v1alpha1.OptOutRollout)
	switch annotations[v1alpha1.RolloutStrategyAnnotation] {
	case v1alpha1.RolloutStrategyEvict:
		o.Spec.EvictOnly = true
	}
	o.UID, o.ResourceVersion, o.Generation = object.GetUID(), object.GetResourceVersion(), object.GetGeneration()
	if template == nil {
		return
	}
	o.RestartedFor = template.Annotations[v1alpha1.RestartedForAnnotation]
	pod := mesh.ViewOf(&corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec})
	pod.Namespace = object.GetNamespace()
	o.Spec.ManuallyInjected = r.Mesh.Embeds(pod)
}

func desired(replicas *int32) int {
	if replicas == nil {
		return 1 // the API's default
	}
	return int(*replicas)
}

func (r Reader) deployment(ctx context.Context, o *Owner) error {
	var d appsv1.Deployment
	if err := r.Cached.Get(ctx, name(o), &d); err != nil {
		return err
	}
	r.describe(o, &d, &d.Spec.Template)
	o.Spec.Paused = d.Spec.Paused
	o.Spec.Desired = desired(d.Spec.Replicas)
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		o.Spec.Strategy = rollout.Recreate
	}
	o.State = rollout.Owner{
		Observed: d.Status.ObservedGeneration >= d.Generation, Desired: o.Spec.Desired,
		Updated: int(d.Status.UpdatedReplicas), Total: int(d.Status.Replicas), Available: int(d.Status.AvailableReplicas),
		// A paused Deployment replaces nothing, however its template differs.
		ByTemplate: !d.Spec.Paused,
	}
	return nil
}

func (r Reader) statefulSet(ctx context.Context, o *Owner) error {
	var s appsv1.StatefulSet
	if err := r.Cached.Get(ctx, name(o), &s); err != nil {
		return err
	}
	r.describe(o, &s, &s.Spec.Template)
	o.Spec.Desired = desired(s.Spec.Replicas)
	if s.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		o.Spec.Strategy = rollout.OnDelete
	}
	if u := s.Spec.UpdateStrategy.RollingUpdate; u != nil && u.Partition != nil {
		o.Spec.Partition = int(*u.Partition)
	}
	o.State = rollout.Owner{
		Observed: s.Status.ObservedGeneration >= s.Generation, Desired: o.Spec.Desired,
		Updated: int(s.Status.UpdatedReplicas), Total: int(s.Status.Replicas), Available: int(s.Status.ReadyReplicas),
		ByTemplate: o.Spec.Strategy == rollout.RollingUpdate, Partition: o.Spec.Partition,
	}
	if s.Spec.Ordinals != nil {
		o.State.FirstOrdinal = int(s.Spec.Ordinals.Start)
	}
	return nil
}

func (r Reader) daemonSet(ctx context.Context, o *Owner) error {
	var d appsv1.DaemonSet
	if err := r.Cached.Get(ctx, name(o), &d); err != nil {
		return err
	}
	r.describe(o, &d, &d.Spec.Template)
	o.Spec.Desired = int(d.Status.DesiredNumberScheduled)
	if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType {
		o.Spec.Strategy = rollout.OnDelete
	}
	o.State = rollout.Owner{
		Observed: d.Status.ObservedGeneration >= d.Generation, Desired: o.Spec.Desired,
		Updated: int(d.Status.UpdatedNumberScheduled), Total: int(d.Status.CurrentNumberScheduled), Available: int(d.Status.NumberAvailable),
		ByTemplate: o.Spec.Strategy == rollout.RollingUpdate,
	}
	return nil
}

func (r Reader) replicaSet(ctx context.Context, o *Owner) error {
	var s appsv1.ReplicaSet
	if err := r.Live.Get(ctx, name(o), &s); err != nil {
		return err
	}
	r.describe(o, &s, &s.Spec.Template)
	o.Spec.Desired = desired(s.Spec.Replicas)
	if ref := metav1.GetControllerOf(&s); ref != nil {
		gv, _ := schema.ParseGroupVersion(ref.APIVersion) // none is a group that no known kind has
		o.Spec.ControlledBy = rollout.Key{Group: gv.Group, Kind: ref.Kind, Namespace: s.Namespace, Name: ref.Name}
	}
	o.State = withoutRollout(s.Status.ObservedGeneration >= s.Generation, o.Spec.Desired, int(s.Status.Replicas), int(s.Status.AvailableReplicas))
	return nil
}

func (r Reader) replicationController(ctx context.Context, o *Owner) error {
	var c corev1.ReplicationController
	if err := r.Live.Get(ctx, name(o), &c); err != nil {
		return err
	}
	r.describe(o, &c, c.Spec.Template)
	o.Spec.Desired = desired(c.Spec.Replicas)
	o.State = withoutRollout(c.Status.ObservedGeneration >= c.Generation, o.Spec.Desired, int(c.Status.Replicas), int(c.Status.AvailableReplicas))
	return nil
}

// withoutRollout is the state of a kind that does not replace pods when its
// template changes.
func withoutRollout(observed bool, desired, total, available int) rollout.Owner {
	return rollout.Owner{Observed: observed, Desired: desired, Updated: total, Total: total, Available: available}
}

func name(o *Owner) client.ObjectKey {
	return client.ObjectKey{Namespace: o.Spec.Key.Namespace, Name: o.Spec.Key.Name}
}
