package kubelet

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// world is what the lookup of a test knows.
func world(kind kind, name string) (content, bool) {
	data, ok := map[ref]content{
		{configMap, "", "roots"}: {"ca-bundle.crt": []byte("A"), "other": []byte("O")},
		{secret, "", "keys"}:     {"ca.crt": []byte("B"), "tls.crt": []byte("C")},
	}[ref{kind, "", name}]
	return data, ok
}

func configMapKey(name, key string, optional bool) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key, Optional: &optional,
	}}
}

func secretKey(name, key string) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key,
	}}
}

func TestEnvironment(t *testing.T) {
	cases := map[string]struct {
		container corev1.Container
		want      map[string]string
		missing   []string
	}{
		"a literal is taken as it is": {
			container: corev1.Container{Env: []corev1.EnvVar{{Name: "X", Value: "$(Y)"}}},
			want:      map[string]string{"X": "$(Y)"},
		},
		"references are resolved": {
			container: corev1.Container{Env: []corev1.EnvVar{
				{Name: "X", ValueFrom: configMapKey("roots", "ca-bundle.crt", false)},
				{Name: "Y", ValueFrom: secretKey("keys", "ca.crt")},
			}},
			want: map[string]string{"X": "A", "Y": "B"},
		},
		"fields of the pod are left out": {
			container: corev1.Container{Env: []corev1.EnvVar{
				{Name: "X", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
			}},
			want: map[string]string{},
		},
		"what is not there and not optional is missing": {
			container: corev1.Container{Env: []corev1.EnvVar{
				{Name: "W", ValueFrom: configMapKey("roots", "none", true)},
				{Name: "X", ValueFrom: configMapKey("roots", "none", false)},
				{Name: "Y", ValueFrom: secretKey("none", "ca.crt")},
			}},
			want:    map[string]string{},
			missing: []string{"ConfigMap roots key none", "Secret none key ca.crt"},
		},
		"env wins over envFrom": {
			container: corev1.Container{
				EnvFrom: []corev1.EnvFromSource{
					{Prefix: "P_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "roots"}}},
					{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "absent"}}},
				},
				Env: []corev1.EnvVar{{Name: "P_other", Value: "mine"}},
			},
			want:    map[string]string{"P_ca-bundle.crt": "A", "P_other": "mine"},
			missing: []string{"Secret absent"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, missing := environment(&c.container, world)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("env (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.missing, missing); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Volumes: []corev1.Volume{
		{Name: "roots", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "roots"}}}},
		{Name: "keys", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: "keys", Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "pki/ca.pem"}}}}},
		{Name: "both", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "roots"},
				Items: []corev1.KeyToPath{{Key: "other", Path: "o"}, {Key: "none", Path: "n"}}}},
			{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "absent"}}},
		}}}},
		{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}}}
	cases := map[string]struct {
		mounts  []corev1.VolumeMount
		want    map[string]string
		missing []string
	}{
		"every key is a file": {
			mounts: []corev1.VolumeMount{{Name: "roots", MountPath: "/roots/"}, {Name: "scratch", MountPath: "/tmp"}},
			want:   map[string]string{"/roots/ca-bundle.crt": "A", "/roots/other": "O"},
		},
		"items choose keys and paths": {
			mounts: []corev1.VolumeMount{{Name: "keys", MountPath: "/keys"}},
			want:   map[string]string{"/keys/pki/ca.pem": "B"},
		},
		"a subPath of a file is that file": {
			mounts: []corev1.VolumeMount{{Name: "roots", MountPath: "/etc/ca.crt", SubPath: "ca-bundle.crt"}},
			want:   map[string]string{"/etc/ca.crt": "A"},
		},
		"a subPath of a folder is what is below it": {
			mounts: []corev1.VolumeMount{{Name: "keys", MountPath: "/etc/pki", SubPath: "pki"}},
			want:   map[string]string{"/etc/pki/ca.pem": "B"},
		},
		"a projected volume joins its sources": {
			mounts:  []corev1.VolumeMount{{Name: "both", MountPath: "/all"}},
			want:    map[string]string{"/all/o": "O"},
			missing: []string{"ConfigMap roots key none", "Secret absent"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			found, missing := files(pod, &corev1.Container{VolumeMounts: c.mounts}, world, func(corev1.VolumeMount) bool { return true })
			got := map[string]string{}
			for path, data := range found {
				got[path] = string(data)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.missing, missing); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
		})
	}
}
