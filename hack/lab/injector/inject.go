package injector

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const (
	injectAnnotation        = "linkerd.io/inject"
	nativeSidecarAnnotation = "config.linkerd.io/proxy-enable-native-sidecar"
	proxyContainer          = "linkerd-proxy"
	anchorsVariable         = "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"
	namespaceVariable       = "_l5d_ns"
	version                 = "edge-26.8.3"
	serviceAccountPath      = "/var/run/secrets/kubernetes.io/serviceaccount"
)

// added is what Linkerd edge-26.8.3 adds to a pod, taken from the pods that it
// injected on a real cluster: the containers, without the trust anchors and
// without the mount of the pod's own service account, and the volumes.
//
//go:embed linkerd.json
var added []byte

type addition struct {
	Init    corev1.Container `json:"init"`
	Proxy   corev1.Container `json:"proxy"`
	Volumes []corev1.Volume  `json:"volumes"`
}

// operation is one of a JSON patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// wanted tells whether a pod is to be injected: its own annotation decides, else
// its namespace's. Pods that have the proxy already and pods in the host's
// network are left alone.
func wanted(pod *corev1.Pod, namespace map[string]string) bool {
	switch annotation(pod, namespace, injectAnnotation) {
	case "enabled", "ingress":
	default:
		return false
	}
	isProxy := func(c corev1.Container) bool { return c.Name == proxyContainer }
	return !pod.Spec.HostNetwork &&
		!slices.ContainsFunc(pod.Spec.InitContainers, isProxy) && !slices.ContainsFunc(pod.Spec.Containers, isProxy)
}

func annotation(pod *corev1.Pod, namespace map[string]string, key string) string {
	if value, ok := pod.Annotations[key]; ok {
		return value
	}
	return namespace[key]
}

// target is where a pod is injected: its namespace with its annotations, and
// the control plane that the proxy is to belong to.
type target struct {
	namespace    string
	annotations  map[string]string
	controlPlane string
}

// inject makes the patch that adds the proxy to a pod, with the trust anchors as
// a literal: the file's text trimmed, and a new line.
func inject(pod *corev1.Pod, in target, anchors string) ([]operation, error) {
	var add addition
	if err := json.Unmarshal(added, &add); err != nil {
		return nil, fmt.Errorf("reading what is to be added: %w", err)
	}
	for i := range add.Proxy.Env {
		switch add.Proxy.Env[i].Name {
		case anchorsVariable:
			add.Proxy.Env[i].Value = strings.TrimSpace(anchors) + "\n"
		case namespaceVariable:
			add.Proxy.Env[i].Value = in.controlPlane
		}
	}
	if mount, ok := serviceAccountMount(pod); ok {
		add.Init.VolumeMounts = append(add.Init.VolumeMounts, mount)
		add.Proxy.VolumeMounts = append(add.Proxy.VolumeMounts, mount)
	}
	patch := []operation{
		{"add", "/metadata/annotations", merged(pod.Annotations, annotations(anchors))},
		{"add", "/metadata/labels", merged(pod.Labels, labels(pod, in))},
		{"add", "/spec/volumes", append(slices.Clone(pod.Spec.Volumes), add.Volumes...)},
	}
	if annotation(pod, in.annotations, nativeSidecarAnnotation) == "false" {
		return append(patch, classic(pod, add)...), nil
	}
	// In front, so that the pod's own init containers have the network.
	return append(patch, operation{"add", "/spec/initContainers",
		append([]corev1.Container{add.Init, add.Proxy}, pod.Spec.InitContainers...)}), nil
}

// classic makes the proxy an ordinary container, the first one, which holds the
// others back until it is up.
func classic(pod *corev1.Pod, add addition) []operation {
	proxy := add.Proxy
	proxy.RestartPolicy, proxy.StartupProbe = nil, nil
	proxy.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{
		Command: []string{"/usr/lib/linkerd/linkerd-await", "--timeout=2m", "--port=4191"},
	}}}
	return []operation{
		{"add", "/spec/initContainers", append(slices.Clone(pod.Spec.InitContainers), add.Init)},
		{"add", "/spec/containers", append([]corev1.Container{proxy}, pod.Spec.Containers...)},
	}
}

func merged(old, add map[string]string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, old)
	maps.Copy(all, add)
	return all
}

func annotations(anchors string) map[string]string {
	hash := sha256.Sum256([]byte(anchors))
	return map[string]string{
		injectAnnotation:               "enabled",
		"linkerd.io/created-by":        "linkerd/proxy-injector dev-undefined",
		"linkerd.io/proxy-version":     version,
		"linkerd.io/trust-root-sha256": hex.EncodeToString(hash[:]),
	}
}

func labels(pod *corev1.Pod, in target) map[string]string {
	l := map[string]string{"linkerd.io/control-plane-ns": in.controlPlane, "linkerd.io/workload-ns": in.namespace}
	if len(pod.OwnerReferences) == 0 {
		return l
	}
	kind, name := strings.ToLower(pod.OwnerReferences[0].Kind), pod.OwnerReferences[0].Name
	if hash := pod.Labels["pod-template-hash"]; kind == "replicaset" && hash != "" {
		kind, name = "deployment", strings.TrimSuffix(name, "-"+hash)
	}
	l["linkerd.io/proxy-"+kind] = name
	return l
}

// serviceAccountMount is how the pod's own containers see its service account;
// the API server has added it before any webhook is called.
func serviceAccountMount(pod *corev1.Pod) (corev1.VolumeMount, bool) {
	for _, c := range pod.Spec.Containers {
		for _, m := range c.VolumeMounts {
			if m.MountPath == serviceAccountPath {
				return m, true
			}
		}
	}
	return corev1.VolumeMount{}, false
}
