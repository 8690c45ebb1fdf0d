package inventory

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTheOwnerIsWhatThePodSays(t *testing.T) {
	pod := func(name string) *corev1.Pod { return meshedPod("shop", name, "") }
	key := func(group, kind, name string) Key { return Key{group, kind, "shop", name} }
	mirrored := func(p *corev1.Pod) *corev1.Pod {
		p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "hash"}
		return p
	}
	for name, tc := range map[string]struct {
		pod      *corev1.Pod
		want     Key
		revision string
		ordinal  int32
	}{
		"a Deployment is derived from its ReplicaSet's name and the pod's hash": {
			labelled(ownedBy(pod("web-5d4-x"), "apps/v1", "ReplicaSet", "web-5d4"), "pod-template-hash", "5d4"),
			key("apps", "Deployment", "web"), "5d4", -1},
		"a Deployment's name may hold dashes": {
			labelled(ownedBy(pod("a-b-5d4-x"), "apps/v1", "ReplicaSet", "a-b-5d4"), "pod-template-hash", "5d4"),
			key("apps", "Deployment", "a-b"), "5d4", -1},
		"a ReplicaSet without the hash in its name stands for itself": {
			labelled(ownedBy(pod("web-x"), "apps/v1", "ReplicaSet", "web"), "pod-template-hash", "5d4"),
			key("apps", "ReplicaSet", "web"), "5d4", -1},
		"a ReplicaSet whose pods have no hash stands for itself": {
			ownedBy(pod("web-5d4-x"), "apps/v1", "ReplicaSet", "web-5d4"), key("apps", "ReplicaSet", "web-5d4"), "", -1},
		"a ReplicaSet named just by a dash and the hash owns itself": {
			labelled(ownedBy(pod("x"), "apps/v1", "ReplicaSet", "-5d4"), "pod-template-hash", "5d4"),
			key("apps", "ReplicaSet", "-5d4"), "5d4", -1},
		"a ReplicaSet of another API group is another kind": {
			labelled(ownedBy(pod("web-5d4-x"), "example.com/v1", "ReplicaSet", "web-5d4"), "pod-template-hash", "5d4"),
			key("example.com", "ReplicaSet", "web-5d4"), "5d4", -1},
		"an Argo Rollout is derived by its own hash label": {
			labelled(ownedBy(pod("web-77-x"), "apps/v1", "ReplicaSet", "web-77"), "rollouts-pod-template-hash", "77"),
			key("argoproj.io", "Rollout", "web"), "77", -1},
		"a StatefulSet and the pod's ordinal": {
			labelled(ownedBy(pod("db-12"), "apps/v1", "StatefulSet", "db"), "controller-revision-hash", "db-6f"),
			key("apps", "StatefulSet", "db"), "db-6f", 12},
		"a StatefulSet's pod of another name has no ordinal": {
			ownedBy(pod("other-1"), "apps/v1", "StatefulSet", "db"), key("apps", "StatefulSet", "db"), "", -1},
		"a number behind a name that is no StatefulSet's is no ordinal": {
			ownedBy(pod("db-3"), "apps/v1", "DaemonSet", "db"), key("apps", "DaemonSet", "db"), "", -1},
		"a Job": {ownedBy(pod("j-x"), "batch/v1", "Job", "j"), key("batch", "Job", "j"), "", -1},
		"a ReplicationController has no group": {
			ownedBy(pod("rc-x"), "v1", "ReplicationController", "rc"), key("", "ReplicationController", "rc"), "", -1},
		"an unknown kind is kept with its group": {
			ownedBy(pod("kafka-0"), "core.strimzi.io/v1beta2", "StrimziPodSet", "kafka"), key("core.strimzi.io", "StrimziPodSet", "kafka"), "", -1},
		"an apiVersion that cannot be parsed is told apart from every known group": {
			ownedBy(pod("x"), "a/b/c", "Deployment", "x"), key("a/b/c", "Deployment", "x"), "", -1},
		"what no object is called is cut to what a status takes": {
			ownedBy(pod("x"), strings.Repeat("g", 254)+"/v1", strings.Repeat("k", 64), strings.Repeat("é", 127)),
			key(strings.Repeat("g", 250)+"...", strings.Repeat("k", 60)+"...", strings.Repeat("é", 125)+"..."), "", -1},
		"the longest names are kept": {
			ownedBy(pod("x"), strings.Repeat("g", 253)+"/v1", strings.Repeat("k", 63), strings.Repeat("n", 253)),
			key(strings.Repeat("g", 253), strings.Repeat("k", 63), strings.Repeat("n", 253)), "", -1},
		"so is what a ReplicaSet's name leads to": {
			labelled(ownedBy(pod("x"), "apps/v1", "ReplicaSet", strings.Repeat("n", 300)+"-5d4"), "pod-template-hash", "5d4"),
			key("apps", "Deployment", strings.Repeat("n", 250)+"..."), "5d4", -1},
		"a bare pod owns itself":               {pod("mock-grpc-4000"), key("", KindPod, "mock-grpc-4000"), "", -1},
		"a mirror pod belongs to its node":     {mirrored(ownedBy(pod("etcd-n1"), "v1", "Node", "n1")), key("", KindNode, "n1"), "", -1},
		"a mirror pod without owner also does": {mirrored(pod("etcd-n1")), key("", KindNode, "node-1"), "", -1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ownerOf(tc.pod); got != tc.want {
				t.Errorf("owner %+v, want %+v", got, tc.want)
			}
			if got := revisionOf(tc.pod); got != tc.revision {
				t.Errorf("revision %q, want %q", got, tc.revision)
			}
			if got := ordinalOf(tc.pod, tc.want); got != tc.ordinal {
				t.Errorf("ordinal %d, want %d", got, tc.ordinal)
			}
		})
	}
	guarded := pod("x")
	guarded.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "d"}}
	if got := ownerOf(guarded); got.Kind != KindPod {
		t.Errorf("an owner that is not its controller would not replace it, so the pod is bare; got %v", got)
	}
}
