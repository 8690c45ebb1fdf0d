package admission

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
)

const anchorsEnv = "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"

// eventually polls until the condition says "", or fails with what it says.
func eventually(t *testing.T, within time.Duration, condition func() string) {
	t.Helper()
	end := time.Now().Add(within)
	for {
		why := condition()
		if why == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %s: %s", within, why)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// namespace creates a namespace that goes when the test ends, with the service
// account that pods need.
func namespace(t *testing.T, name string, labels map[string]string) string {
	t.Helper()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if err := shared.client.Create(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = shared.client.Delete(context.Background(), n) })
	waitServiceAccount(t, name)
	return name
}

func waitServiceAccount(t *testing.T, namespace string) {
	t.Helper()
	eventually(t, time.Minute, func() string {
		if _, err := shared.kube.CoreV1().ServiceAccounts(namespace).Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
			return err.Error()
		}
		return ""
	})
}

// fixture is the pod of a real review, to be created in another namespace.
func fixture(t *testing.T, name, namespace string) *corev1.Pod {
	t.Helper()
	text, err := os.ReadFile("../../mesh/testdata/review-" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var r struct{ Request struct{ Object corev1.Pod } }
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	pod := &r.Request.Object
	pod.ObjectMeta = metav1.ObjectMeta{
		GenerateName: "p-", Namespace: namespace, Labels: pod.Labels, Annotations: pod.Annotations,
	}
	withoutTokenVolume(&pod.Spec)
	return pod
}

// withoutTokenVolume removes what the API server added for the service account
// of the namespace where the fixture comes from; it adds its own.
func withoutTokenVolume(spec *corev1.PodSpec) {
	generated := func(name string) bool { return strings.HasPrefix(name, "kube-api-access-") }
	var volumes []corev1.Volume
	for _, v := range spec.Volumes {
		if !generated(v.Name) {
			volumes = append(volumes, v)
		}
	}
	spec.Volumes = volumes
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			var mounts []corev1.VolumeMount
			for _, m := range containers[i].VolumeMounts {
				if !generated(m.Name) {
					mounts = append(mounts, m)
				}
			}
			containers[i].VolumeMounts = mounts
		}
	}
	spec.ServiceAccountName, spec.DeprecatedServiceAccount = "", ""
}

// carrying is a real injected pod with another bundle, of the mesh whose control
// plane is in the given namespace.
func carrying(t *testing.T, namespace, controlPlane, text string) *corev1.Pod {
	t.Helper()
	pod := fixture(t, "deployment-pod-native-sidecar", namespace)
	pod.Labels["linkerd.io/control-plane-ns"] = controlPlane
	for i := range pod.Spec.InitContainers {
		for j := range pod.Spec.InitContainers[i].Env {
			if e := &pod.Spec.InitContainers[i].Env[j]; e.Name == anchorsEnv {
				e.Value = text
				return pod
			}
		}
	}
	t.Fatal("the fixture has no trust anchors")
	return nil
}

// anchorsOf is the bundle that a pod carries.
func anchorsOf(t *testing.T, pod *corev1.Pod) bundle.Set {
	t.Helper()
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			for _, e := range containers[i].Env {
				if e.Name == anchorsEnv {
					set, err := bundle.Parse([]byte(e.Value))
					if err != nil {
						t.Fatal(err)
					}
					return set
				}
			}
		}
	}
	t.Fatal("the pod has no trust anchors")
	return bundle.Set{}
}

// meshTrust creates a MeshTrust with a published bundle; it goes when the test
// ends.
func meshTrust(t *testing.T, mt *v1alpha1.MeshTrust, published bundle.Set) {
	t.Helper()
	t.Cleanup(func() { _ = shared.client.Delete(context.Background(), mt) })
	createMeshTrust(t, mt, published)
}

func createMeshTrust(t *testing.T, mt *v1alpha1.MeshTrust, published bundle.Set) {
	t.Helper()
	if err := shared.client.Create(t.Context(), mt); err != nil {
		t.Fatal(err)
	}
	now := metav1.Now()
	record := v1alpha1.BundleRecord{Hash: published.Hash(), PublishedAt: now, FirstSeen: now, LastSeen: now, FingerprintsTotal: int32(published.Len())}
	status := &v1alpha1.BundleStatus{Hash: published.Hash(), AnchorCount: int32(published.Len())}
	for _, a := range published.Anchors() {
		record.Fingerprints = append(record.Fingerprints, a.Fingerprint.String())
		status.Anchors = append(status.Anchors, v1alpha1.AnchorStatus{
			Fingerprint: a.Fingerprint.String(), Subject: a.Subject,
			NotBefore: &metav1.Time{Time: a.NotBefore}, NotAfter: &metav1.Time{Time: a.NotAfter},
		})
	}
	mt.Status.Bundle, mt.Status.History = status, []v1alpha1.BundleRecord{record}
	if err := shared.client.Status().Update(t.Context(), mt); err != nil {
		t.Fatal(err)
	}
}

// linkerd creates a MeshTrust of profile Linkerd whose control plane has a
// namespace of its own, so that meshes of several tests are apart, and waits
// until every replica knows it.
func linkerd(t *testing.T, name string, admission v1alpha1.AdmissionSpec, published bundle.Set) {
	t.Helper()
	meshTrust(t, &v1alpha1.MeshTrust{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd, ControlPlaneNamespace: name, Admission: admission},
	}, published)
	waitKnown(t, name)
}

// waitKnown waits until every replica has counters for the mesh.
func waitKnown(t *testing.T, name string) {
	t.Helper()
	eventually(t, time.Minute, func() string {
		for _, r := range shared.replicas {
			text, err := metricsText(r)
			if err != nil {
				return err.Error()
			}
			if !strings.Contains(text, `mesh="`+name+`"`) {
				return "replica " + r.webhook + " does not know MeshTrust " + name
			}
		}
		return ""
	})
}

// warnings collects what the API server warns of.
type warnings struct {
	mu   sync.Mutex
	text []string
}

func (w *warnings) HandleWarningHeader(_ int, _ string, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, text)
}

// create creates the pod for good and returns what came of it, with the
// warnings.
func create(t *testing.T, pod *corev1.Pod) (*corev1.Pod, []string, error) {
	t.Helper()
	w := &warnings{}
	config := shared.lab.Config()
	config.WarningHandler = w
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	created, err := kube.CoreV1().Pods(pod.Namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	return created, w.text, err
}

// stampOf returns the three annotations of a pod.
func stampOf(pod *corev1.Pod) map[string]string {
	stamp := map[string]string{}
	for _, key := range []string{v1alpha1.TrustBundleHashAnnotation, v1alpha1.TrustBundleNotAfterAnnotation, v1alpha1.StampedByAnnotation} {
		if v, ok := pod.Annotations[key]; ok {
			stamp[key] = v
		}
	}
	return stamp
}

// trueStamp is what the pod must carry.
func trueStamp(t *testing.T, pod *corev1.Pod, mesh string) map[string]string {
	t.Helper()
	set := anchorsOf(t, pod)
	end, ok := set.NotAfter()
	if !ok {
		t.Fatal("the fixture's anchors have no end")
	}
	return map[string]string{
		v1alpha1.TrustBundleHashAnnotation:     set.Hash(),
		v1alpha1.TrustBundleNotAfterAnnotation: end.UTC().Format(time.RFC3339),
		v1alpha1.StampedByAnnotation:           mesh,
	}
}

func root(t *testing.T, name string, from, to time.Duration) *bundletest.CA {
	t.Helper()
	return bundletest.NewRoot(t, name, bundletest.From(time.Now().Add(from), to-from))
}

// counted checks that a decision was counted once since before, and that its
// time was taken: once for each request that the webhook answered.
func counted(t *testing.T, before map[string]float64, what string) {
	t.Helper()
	after := requests(t)
	if after[what] != before[what]+1 {
		t.Errorf("%q counted %v times, want once: %v", what, after[what]-before[what], moved(before, after))
	}
	kind, _, _ := strings.Cut(what, " ")
	answered := 0.0
	for key, n := range after {
		if strings.HasPrefix(key, kind+" ") && key != kind+" duration" {
			answered += n - before[key]
		}
	}
	if took := after[kind+" duration"] - before[kind+" duration"]; took != answered || took < 1 {
		t.Errorf("the time of %v requests to %s was taken, of %v", took, kind, answered)
	}
}

// moved is what the counters have counted between two looks.
func moved(before, after map[string]float64) map[string]float64 {
	out := map[string]float64{}
	for key, n := range after {
		if n != before[key] {
			out[key] = n - before[key]
		}
	}
	return out
}

func requests(t *testing.T) map[string]float64 {
	t.Helper()
	sums, err := shared.requests()
	if err != nil {
		t.Fatal(err)
	}
	return sums
}
