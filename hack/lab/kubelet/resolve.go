package kubelet

import (
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// resolve gives a container what its spec asks for.
func resolve(pod *corev1.Pod, c *corev1.Container, env, file lookup) Resolved {
	var r Resolved
	var fromEnv, fromFiles []string
	r.Env, fromEnv = environment(c, env)
	r.Files, fromFiles = files(pod, c, file, func(corev1.VolumeMount) bool { return true })
	r.Missing = append(fromEnv, fromFiles...)
	return r
}

// environment is envFrom and then env, of which later ones win.
func environment(c *corev1.Container, look lookup) (env map[string]string, missing []string) {
	env = map[string]string{}
	for _, from := range c.EnvFrom {
		source := sourceOfEnvFrom(from)
		data, ok := look(source.kind, source.name)
		if !ok && !source.optional {
			missing = append(missing, source.String())
		}
		for key, value := range data {
			env[from.Prefix+key] = string(value)
		}
	}
	for _, v := range c.Env {
		if v.ValueFrom == nil {
			env[v.Name] = v.Value
			continue
		}
		source, key, ok := sourceOfEnv(v.ValueFrom)
		if !ok {
			continue // a field of the pod
		}
		data, _ := look(source.kind, source.name)
		value, ok := data[key]
		switch {
		case ok:
			env[v.Name] = string(value)
		case !source.optional:
			missing = append(missing, source.String()+" key "+key)
		}
	}
	return env, missing
}

// source is one reference to a ConfigMap or a Secret.
type source struct {
	kind     kind
	name     string
	optional bool
	items    []corev1.KeyToPath // none means every key under its own name
}

func (s source) String() string { return fmt.Sprintf("%s %s", s.kind, s.name) }

func isTrue(b *bool) bool { return b != nil && *b }

func sourceOfEnvFrom(from corev1.EnvFromSource) source {
	if s := from.SecretRef; s != nil {
		return source{kind: secret, name: s.Name, optional: isTrue(s.Optional)}
	}
	if s := from.ConfigMapRef; s != nil {
		return source{kind: configMap, name: s.Name, optional: isTrue(s.Optional)}
	}
	return source{optional: true}
}

func sourceOfEnv(from *corev1.EnvVarSource) (s source, key string, ok bool) {
	if r := from.ConfigMapKeyRef; r != nil {
		return source{kind: configMap, name: r.Name, optional: isTrue(r.Optional)}, r.Key, true
	}
	if r := from.SecretKeyRef; r != nil {
		return source{kind: secret, name: r.Name, optional: isTrue(r.Optional)}, r.Key, true
	}
	return source{}, "", false
}

func sourcesOfVolume(v corev1.Volume) []source {
	switch {
	case v.ConfigMap != nil:
		return []source{{configMap, v.ConfigMap.Name, isTrue(v.ConfigMap.Optional), v.ConfigMap.Items}}
	case v.Secret != nil:
		return []source{{secret, v.Secret.SecretName, isTrue(v.Secret.Optional), v.Secret.Items}}
	case v.Projected != nil:
		var sources []source
		for _, p := range v.Projected.Sources {
			if p.ConfigMap != nil {
				sources = append(sources, source{configMap, p.ConfigMap.Name, isTrue(p.ConfigMap.Optional), p.ConfigMap.Items})
			}
			if p.Secret != nil {
				sources = append(sources, source{secret, p.Secret.Name, isTrue(p.Secret.Optional), p.Secret.Items})
			}
		}
		return sources
	}
	return nil
}

// fixed tells whether the kubelet never changes the mount's files: a subPath is
// bound to the file that was there at the start.
func fixed(m corev1.VolumeMount) bool { return m.SubPath != "" || m.SubPathExpr != "" }

// files are the contents below the mounts that want accepts, by absolute path.
func files(pod *corev1.Pod, c *corev1.Container, look lookup, want func(corev1.VolumeMount) bool) (found map[string][]byte, missing []string) {
	found = map[string][]byte{}
	volumes := map[string]corev1.Volume{}
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = v
	}
	for _, m := range c.VolumeMounts {
		if !want(m) {
			continue
		}
		for _, s := range sourcesOfVolume(volumes[m.Name]) {
			contents, absent := s.files(look)
			missing = append(missing, absent...)
			for name, data := range contents {
				if target, ok := place(m, name); ok {
					found[target] = data
				}
			}
		}
	}
	return found, missing
}

// files of one source by their path in the volume.
func (s source) files(look lookup) (found map[string][]byte, missing []string) {
	data, ok := look(s.kind, s.name)
	if !ok && !s.optional {
		return nil, []string{s.String()}
	}
	if len(s.items) == 0 {
		return data, nil
	}
	found = map[string][]byte{}
	for _, item := range s.items {
		value, ok := data[item.Key]
		if !ok && !s.optional {
			missing = append(missing, s.String()+" key "+item.Key)
			continue
		}
		if ok {
			found[item.Path] = value
		}
	}
	return found, missing
}

// place is where a volume's file is in the container; false when the mount does
// not show it.
func place(m corev1.VolumeMount, name string) (string, bool) {
	if m.SubPath == "" || m.SubPath == name {
		return path.Join(m.MountPath, strings.TrimPrefix(name, m.SubPath)), true
	}
	below, ok := strings.CutPrefix(name, strings.TrimSuffix(m.SubPath, "/")+"/")
	return path.Join(m.MountPath, below), ok
}
