package inventory

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/mesh"
)

const anchorsVariable = "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func linkerd() mesh.Mesh {
	return mesh.Mesh{
		Name: "linkerd", Profile: mesh.Linkerd, Namespace: "linkerd",
		Bundle: mesh.Reference{
			Object: mesh.Object{Kind: mesh.ConfigMap, Name: "linkerd-identity-trust-roots"}, Key: "ca-bundle.crt",
		},
		EnvDelay: 10 * time.Second, FileDelay: 150 * time.Second, ClockSkew: 30 * time.Second,
	}
}

func erlang() mesh.Mesh {
	return mesh.Mesh{
		Name: "erlang", Profile: mesh.Generic, Namespace: "erlang",
		Bundle:   mesh.Reference{Object: mesh.Object{Kind: mesh.Secret, Name: "erlang-ca"}, Key: "ca.crt"},
		EnvDelay: 10 * time.Second, FileDelay: 150 * time.Second, ClockSkew: 30 * time.Second,
	}
}

// realPod is a pod that Linkerd injected and a cluster ran.
func realPod(tb testing.TB) *corev1.Pod { return podFile(tb, "pod-deployment-native-sidecar.json") }

func podFile(tb testing.TB, name string) *corev1.Pod {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "mesh", "testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(text, pod); err != nil {
		tb.Fatal(err)
	}
	return pod
}

// setAnchors writes the bundle into the proxy's variable.
func setAnchors(pod *corev1.Pod, bundle string) {
	for i := range pod.Spec.InitContainers {
		env := pod.Spec.InitContainers[i].Env
		for k := range env {
			if env[k].Name == anchorsVariable {
				env[k] = corev1.EnvVar{Name: anchorsVariable, Value: bundle}
			}
		}
	}
}

// meshedPod is a small pod of the mesh linkerd that carries the bundle.
func meshedPod(namespace, name, bundle string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, UID: types.UID("uid-of-" + name), CreationTimestamp: metav1.NewTime(now.Add(-time.Hour)),
			Labels: map[string]string{mesh.LinkerdControlPlaneLabel: "linkerd"},
		},
		Spec: corev1.PodSpec{
			NodeName: "node-1", RestartPolicy: corev1.RestartPolicyAlways,
			InitContainers: []corev1.Container{{
				Name: "linkerd-proxy", RestartPolicy: new(corev1.ContainerRestartPolicyAlways),
				Env: []corev1.EnvVar{{Name: anchorsVariable, Value: bundle}},
			}},
		},
		Status: corev1.PodStatus{
			Phase:      corev1.PodRunning,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
}

// erlangPod is a pod of the mesh erlang whose container started at the time.
func erlangPod(name string, created, started time.Time) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "erlang", Name: name, UID: types.UID("uid-of-" + name), CreationTimestamp: metav1.NewTime(created),
			Labels: map[string]string{mesh.MeshLabel: "erlang"},
		},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "node", VolumeMounts: []corev1.VolumeMount{{Name: "ca"}}}},
			Volumes: []corev1.Volume{{Name: "ca", VolumeSource: corev1.VolumeSource{
				Secret: &corev1.SecretVolumeSource{SecretName: "erlang-ca"}}}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	if !started.IsZero() {
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: "node", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(started)}}}}
	}
	return pod
}

func ownedBy(pod *corev1.Pod, apiVersion, kind, name string) *corev1.Pod {
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: name, Controller: new(true)}}
	return pod
}

func labelled(pod *corev1.Pod, key, value string) *corev1.Pod {
	pod.Labels[key] = value
	return pod
}

// anchors are two roots that are valid for a year, and one that has expired.
type anchors struct{ old, next, gone *bundletest.CA }

func newAnchors(tb testing.TB) anchors {
	year := bundletest.From(now.Add(-24*time.Hour), 365*24*time.Hour)
	return anchors{
		old: bundletest.NewRoot(tb, "old", year), next: bundletest.NewRoot(tb, "next", year),
		gone: bundletest.NewRoot(tb, "gone", bundletest.From(now.Add(-48*time.Hour), 24*time.Hour)),
	}
}

func setOf(cas ...*bundletest.CA) bundle.Set {
	var s bundle.Set
	for _, ca := range cas {
		s = s.Union(bundle.Of(ca.Cert))
	}
	return s
}

// synthetic returns the i-th of many real pods: ten to a Deployment, fifty
// Deployments to a namespace, each created at another time.
func synthetic(base *corev1.Pod, i int) *corev1.Pod {
	pod := base.DeepCopy()
	deployment := fmt.Sprintf("checkout-service-%d", i/10%50)
	replicaSet := fmt.Sprintf("%s-%s", deployment, pod.Labels["pod-template-hash"])
	pod.Namespace = fmt.Sprintf("team-%d", i/500)
	pod.Name = fmt.Sprintf("%s-x%04d", replicaSet, i%10000)
	pod.UID = types.UID(fmt.Sprintf("02fbdb50-0020-4525-911a-%012x", i))
	pod.Spec.NodeName = fmt.Sprintf("ip-10-0-%d-%d.ec2.internal", i%40/10, i%10)
	pod.CreationTimestamp = metav1.NewTime(now.Add(-time.Duration(i) * time.Second))
	pod.OwnerReferences[0].Name = replicaSet
	return pod
}
