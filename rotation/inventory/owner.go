package inventory

import (
	"cmp"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	texts "github.com/reanchor/reanchor/rotation/record"
)

// Kinds of a Key that stand for the lack of a controller.
const (
	// KindPod is the kind of a bare pod, which is its own owner.
	KindPod = "Pod"
	// KindNode is the kind of the owner of mirror pods: the kubelet that runs
	// them from files.
	KindNode = "Node"
)

// rolloutsGroup is the API group of Argo Rollouts, and rolloutsHashLabel its
// counterpart of the label pod-template-hash.
const (
	rolloutsGroup     = "argoproj.io"
	rolloutsHashLabel = "rollouts-pod-template-hash"
)

// Key identifies the workload that owns a pod, by the pod's own word: its
// controller reference. A Deployment or Rollout is derived from the name of its
// ReplicaSet and the hash label of the pod, since ReplicaSets are not cached;
// whoever is about to write to it confirms that by reading the ReplicaSet, whose
// name is Name, "-" and the pod's Revision.
//
// A bare pod has the kind KindPod and its own name, a mirror pod KindNode. Any
// kind may occur.
type Key struct{ Group, Kind, Namespace, Name string }

// String returns the form in which people see the key.
func (k Key) String() string { return k.Kind + " " + k.Namespace + "/" + k.Name }

// Compare orders keys by namespace, then kind, name and group.
func (k Key) Compare(o Key) int {
	if c := strings.Compare(k.Namespace, o.Namespace); c != 0 {
		return c // not by cmp.Or, which would compare everything
	}
	return cmp.Or(cmp.Compare(k.Kind, o.Kind), cmp.Compare(k.Name, o.Name), cmp.Compare(k.Group, o.Group))
}

// ownerOf returns the workload that owns the pod. Only the reference that is
// marked as controller counts, as for "kubectl drain".
func ownerOf(pod *corev1.Pod) Key {
	key := Key{Kind: KindPod, Namespace: pod.Namespace, Name: pod.Name}
	ref := metav1.GetControllerOfNoCopy(pod)
	switch {
	case ref == nil && mirror(pod):
		key.Kind, key.Name = KindNode, pod.Spec.NodeName
	case ref == nil:
	default:
		key.Group, key.Kind, key.Name = groupOf(ref.APIVersion), ref.Kind, ref.Name
		if group, kind, name := ownerOfReplicaSet(pod, ref.Name); key.Kind == "ReplicaSet" && key.Group == "apps" && name != "" {
			key.Group, key.Kind, key.Name = group, kind, name
		}
	}
	key.Group, key.Kind, key.Name = texts.ClipTo(key.Group, maxName), texts.ClipTo(key.Kind, maxKind), texts.ClipTo(key.Name, maxName)
	return key
}

// Most bytes of what the status names a workload by; no object has longer ones. But
// the API server takes owner references of any length, and whoever may create a pod
// may write one: a status that named it would be refused as a whole. What was cut
// ends as no name of an object can.
const (
	maxKind = 63
	maxName = 253
)

// ownerOfReplicaSet derives the owner of a ReplicaSet: its controller names it
// after itself and the hash of the template, which it also writes on the pods.
// The name is empty for a ReplicaSet that is not named so, which stands for
// itself.
func ownerOfReplicaSet(pod *corev1.Pod, replicaSet string) (group, kind, name string) {
	group, kind = rolloutsGroup, "Rollout"
	hash := pod.Labels[rolloutsHashLabel]
	if hash == "" {
		group, kind, hash = "apps", "Deployment", pod.Labels["pod-template-hash"]
	}
	if hash == "" {
		return "", "", ""
	}
	name, ok := strings.CutSuffix(replicaSet, "-"+hash)
	if !ok {
		return "", "", ""
	}
	return group, kind, name
}

// groupOf returns the group of an apiVersion; one that cannot be parsed is kept
// as it is, so that it is told apart from every known group.
func groupOf(apiVersion string) string {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return apiVersion
	}
	return gv.Group
}

// revisionOf returns the template revision that the owner's controller wrote
// on the pod, or "".
func revisionOf(pod *corev1.Pod) string {
	return cmp.Or(pod.Labels[rolloutsHashLabel], pod.Labels["pod-template-hash"], pod.Labels["controller-revision-hash"])
}

// ordinalOf returns the ordinal of a StatefulSet's pod, or -1.
func ordinalOf(pod *corev1.Pod, owner Key) int32 {
	if owner.Kind != "StatefulSet" {
		return -1
	}
	number, ok := strings.CutPrefix(pod.Name, owner.Name+"-")
	if !ok {
		return -1
	}
	ordinal, err := strconv.ParseInt(number, 10, 32)
	if err != nil || ordinal < 0 {
		return -1
	}
	return int32(ordinal)
}

// mirror reports whether the pod is the API server's image of a pod that a
// kubelet runs from a file.
func mirror(pod *corev1.Pod) bool {
	_, ok := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return ok
}
