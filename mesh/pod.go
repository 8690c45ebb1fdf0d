package mesh

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Pod is what a profile needs to know of a pod: nothing of it is large, so an
// admission request can be scanned straight into it and an index of a hundred
// thousand pods never keeps whole objects.
type Pod struct {
	Namespace string
	// Labels may be any subset of the pod's labels that holds those for which
	// RelevantLabel is true.
	Labels map[string]string
	// CreatedAt is the API server's creation time; zero in an admission request.
	CreatedAt  time.Time
	Containers []Container
	Volumes    []Volume
}

// ContainerKind tells the lists of a pod's containers apart.
type ContainerKind uint8

const (
	// Regular is a container of spec.containers.
	Regular ContainerKind = iota
	// Init is an init container that runs to its end before the others start.
	Init
	// Sidecar is a native sidecar: an init container with restartPolicy Always,
	// which runs as long as the pod does.
	Sidecar
)

// Container is one container of a Pod.
type Container struct {
	Name   string
	Kind   ContainerKind
	Env    []EnvVar
	Mounts []Mount
	// EnvFrom lists the objects whose keys all become variables.
	EnvFrom []Object
	// StartedAt is when the running process started, by the node's clock; zero
	// when the container is not running.
	StartedAt time.Time
}

// EnvVar is one environment variable: a literal, or a reference.
type EnvVar struct {
	Name  string
	Value string
	// From is where the value comes from; nil for a literal.
	From *Reference
}

// Reference names one key of an object in the pod's own namespace. Kind is
// OtherSource for a source that is neither a ConfigMap nor a Secret.
type Reference struct {
	Object
	Key string
}

// ObjectKind tells what a reference points to.
type ObjectKind uint8

const (
	// OtherSource is anything that cannot hold a bundle (fieldRef, ...) or that
	// this version does not know.
	OtherSource ObjectKind = iota
	// ConfigMap is a core/v1 ConfigMap.
	ConfigMap
	// Secret is a core/v1 Secret.
	Secret
	// ClusterTrustBundle is a certificates.k8s.io ClusterTrustBundle.
	ClusterTrustBundle
)

// Object names a ConfigMap, a Secret or a ClusterTrustBundle.
type Object struct {
	Kind ObjectKind
	Name string
}

// Mount is a volume mounted in a container.
type Mount struct {
	Volume string
}

// Volume is a volume and the objects it shows as files.
type Volume struct {
	Name    string
	Objects []Object
}

// ViewOf returns the view of a whole pod. Strings are shared with the pod, not
// copied.
func ViewOf(pod *corev1.Pod) *Pod {
	v := &Pod{
		Namespace:  pod.Namespace,
		Labels:     pod.Labels,
		CreatedAt:  pod.CreationTimestamp.Time,
		Containers: make([]Container, 0, len(pod.Spec.InitContainers)+len(pod.Spec.Containers)),
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		kind := Init
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			kind = Sidecar
		}
		v.Containers = append(v.Containers, viewContainer(c, kind, pod.Status.InitContainerStatuses))
	}
	for i := range pod.Spec.Containers {
		v.Containers = append(v.Containers, viewContainer(&pod.Spec.Containers[i], Regular, pod.Status.ContainerStatuses))
	}
	for i := range pod.Spec.Volumes {
		if objects := volumeObjects(&pod.Spec.Volumes[i]); len(objects) > 0 {
			v.Volumes = append(v.Volumes, Volume{Name: pod.Spec.Volumes[i].Name, Objects: objects})
		}
	}
	return v
}

func viewContainer(c *corev1.Container, kind ContainerKind, statuses []corev1.ContainerStatus) Container {
	v := Container{Name: c.Name, Kind: kind, Env: make([]EnvVar, 0, len(c.Env))}
	for i := range c.Env {
		v.Env = append(v.Env, viewEnv(&c.Env[i]))
	}
	for i := range c.EnvFrom {
		if ref := c.EnvFrom[i].ConfigMapRef; ref != nil {
			v.EnvFrom = append(v.EnvFrom, Object{ConfigMap, ref.Name})
		}
		if ref := c.EnvFrom[i].SecretRef; ref != nil {
			v.EnvFrom = append(v.EnvFrom, Object{Secret, ref.Name})
		}
	}
	for i := range c.VolumeMounts {
		v.Mounts = append(v.Mounts, Mount{Volume: c.VolumeMounts[i].Name})
	}
	for i := range statuses {
		if running := statuses[i].State.Running; statuses[i].Name == c.Name && running != nil {
			v.StartedAt = running.StartedAt.Time
		}
	}
	return v
}

func viewEnv(e *corev1.EnvVar) EnvVar {
	v := EnvVar{Name: e.Name, Value: e.Value}
	switch from := e.ValueFrom; {
	case from == nil:
	case from.ConfigMapKeyRef != nil:
		v.From = &Reference{Object{ConfigMap, from.ConfigMapKeyRef.Name}, from.ConfigMapKeyRef.Key}
	case from.SecretKeyRef != nil:
		v.From = &Reference{Object{Secret, from.SecretKeyRef.Name}, from.SecretKeyRef.Key}
	default:
		v.From = &Reference{}
	}
	return v
}

func volumeObjects(v *corev1.Volume) []Object {
	switch {
	case v.ConfigMap != nil:
		return []Object{{ConfigMap, v.ConfigMap.Name}}
	case v.Secret != nil:
		return []Object{{Secret, v.Secret.SecretName}}
	case v.Projected == nil:
		return nil
	}
	var objects []Object
	for _, source := range v.Projected.Sources {
		switch {
		case source.ConfigMap != nil:
			objects = append(objects, Object{ConfigMap, source.ConfigMap.Name})
		case source.Secret != nil:
			objects = append(objects, Object{Secret, source.Secret.Name})
		case source.ClusterTrustBundle != nil && source.ClusterTrustBundle.Name != nil:
			objects = append(objects, Object{ClusterTrustBundle, *source.ClusterTrustBundle.Name})
		}
	}
	return objects
}
