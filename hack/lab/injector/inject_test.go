package injector

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
)

func decode[T any](t *testing.T, data []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func testdata(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// before takes from a pod what Linkerd's injector has added to it.
func before(pod *corev1.Pod) *corev1.Pod {
	p := pod.DeepCopy()
	linkerd := func(name string) bool { return strings.HasPrefix(name, "linkerd-") }
	container := func(c corev1.Container) bool { return linkerd(c.Name) }
	p.Spec.InitContainers = slices.DeleteFunc(p.Spec.InitContainers, container)
	p.Spec.Containers = slices.DeleteFunc(p.Spec.Containers, container)
	p.Spec.Volumes = slices.DeleteFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return linkerd(v.Name) })
	for _, keys := range []map[string]string{p.Labels, p.Annotations} {
		for key := range keys {
			if strings.HasPrefix(key, "linkerd.io/") {
				delete(keys, key)
			}
		}
	}
	return p
}

// A real injector's pods are the truth: take off what it added, inject again,
// and the same pod must come out.
func TestInjectionEqualsLinkerds(t *testing.T) {
	bundle := decode[corev1.ConfigMap](t, testdata(t, "configmap-trust-roots.json")).Data["ca-bundle.crt"]
	enabled := map[string]string{injectAnnotation: "enabled"}
	for _, name := range []string{
		"review-bare-pod.json",
		"review-deployment-pod-native-sidecar.json",
		"review-job-pod.json",
		"review-statefulset-pod-classic-sidecar.json",
	} {
		t.Run(name, func(t *testing.T) {
			review := decode[admissionv1.AdmissionReview](t, testdata(t, name))
			after := decode[corev1.Pod](t, review.Request.Object.Raw)
			after.ManagedFields = nil // raw JSON, of which only the white space would differ
			pod := before(&after)
			if !wanted(pod, enabled) {
				t.Fatal("it would not be injected")
			}
			if wanted(&after, enabled) {
				t.Error("it would be injected twice")
			}
			patch, err := inject(pod, target{review.Request.Namespace, enabled, DefaultControlPlane}, bundle)
			if err != nil {
				t.Fatal(err)
			}
			got := decode[corev1.Pod](t, apply(t, encode(t, pod), patch))
			if diff := cmp.Diff(after, got); diff != "" {
				t.Errorf("the injected pod (-Linkerd's +ours):\n%s", diff)
			}
		})
	}
}

func apply(t *testing.T, object []byte, operations []operation) []byte {
	t.Helper()
	patch, err := jsonpatch.DecodePatch(encode(t, operations))
	if err != nil {
		t.Fatal(err)
	}
	patched, err := patch.Apply(object)
	if err != nil {
		t.Fatal(err)
	}
	return patched
}

func TestWanted(t *testing.T) {
	proxy := corev1.PodSpec{Containers: []corev1.Container{{Name: "linkerd-proxy"}}}
	cases := map[string]struct {
		pod       map[string]string
		namespace map[string]string
		spec      corev1.PodSpec
		want      bool
	}{
		"nothing asks for it":                        {},
		"the pod asks for it":                        {pod: map[string]string{injectAnnotation: "enabled"}, want: true},
		"the namespace asks for it":                  {namespace: map[string]string{injectAnnotation: "enabled"}, want: true},
		"the pod refuses what the namespace asks":    {pod: map[string]string{injectAnnotation: "disabled"}, namespace: map[string]string{injectAnnotation: "enabled"}},
		"a pod that has the proxy is left alone":     {pod: map[string]string{injectAnnotation: "enabled"}, spec: proxy},
		"a pod in the host's network is left alone":  {pod: map[string]string{injectAnnotation: "enabled"}, spec: corev1.PodSpec{HostNetwork: true}},
		"a pod that serves as ingress is wanted too": {pod: map[string]string{injectAnnotation: "ingress"}, want: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: c.spec}
			pod.Annotations = c.pod
			if got := wanted(pod, c.namespace); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
