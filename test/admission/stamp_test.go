package admission

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// realMeshOnce makes one MeshTrust for the pods of the fixtures, whose control
// plane is in namespace linkerd. It stays: of two for the same pods the older
// would decide for as long as the webhook has not seen that it is gone.
var realMeshOnce sync.Once

const realMeshName = "real"

func realMesh(t *testing.T) {
	t.Helper()
	realMeshOnce.Do(func() {
		createMeshTrust(t, &v1alpha1.MeshTrust{
			ObjectMeta: metav1.ObjectMeta{Name: realMeshName}, Spec: v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd},
		}, anchorsOf(t, fixture(t, "bare-pod", "x")))
		waitKnown(t, realMeshName)
	})
}

// template is the fixture's pod as a template, with labels to select it by.
func template(t *testing.T, fixtureName, app string) (corev1.PodTemplateSpec, *metav1.LabelSelector) {
	t.Helper()
	pod := fixture(t, fixtureName, "")
	for _, key := range []string{"pod-template-hash", "controller-revision-hash", "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index",
		"batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name"} {
		delete(pod.Labels, key)
	}
	pod.Labels["app"] = app
	pod.Spec.Hostname, pod.Spec.Subdomain = "", ""
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels, Annotations: pod.Annotations}, Spec: pod.Spec},
		&metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}

func TestPodsOfEveryOwnerGetTheTrueStamp(t *testing.T) {
	realMesh(t)
	ns := namespace(t, "owners", nil)
	deployment, selector := template(t, "deployment-pod-native-sidecar", "deployment")
	statefulSet, setSelector := template(t, "statefulset-pod-classic-sidecar", "statefulset")
	job, _ := template(t, "job-pod", "job")
	bare, _ := template(t, "bare-pod", "bare")
	meta := metav1.ObjectMeta{Name: "w", Namespace: ns}
	one := int32(1)
	for app, object := range map[string]client.Object{
		"deployment":  &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: &one, Selector: selector, Template: deployment}},
		"statefulset": &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Replicas: &one, Selector: setSelector, Template: statefulSet}},
		"job":         &batchv1.Job{ObjectMeta: meta, Spec: batchv1.JobSpec{Template: job}},
		"bare":        &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "bare", Namespace: ns, Labels: bare.Labels, Annotations: bare.Annotations}, Spec: bare.Spec},
	} {
		t.Run(app, func(t *testing.T) {
			if err := shared.client.Create(t.Context(), object); err != nil {
				t.Fatal(err)
			}
			var pods corev1.PodList
			eventually(t, time.Minute, func() string {
				if err := shared.client.List(t.Context(), &pods, client.InNamespace(ns), client.MatchingLabels{"app": app}); err != nil {
					return err.Error()
				}
				if len(pods.Items) == 0 {
					return "there is no pod"
				}
				return ""
			})
			pod := &pods.Items[0]
			if diff := cmp.Diff(trueStamp(t, pod, realMeshName), stampOf(pod)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAnUnmeshedPodNeverReachesTheWebhook(t *testing.T) {
	realMesh(t)
	ns := namespace(t, "unmeshed", nil)
	before := requests(t)
	keptAway, failed := matchConditions(t)
	pods := []*corev1.Pod{fixture(t, "unmeshed-pod", ns), fixture(t, "unmeshed-pod", ns), plain(ns), plain(ns)}
	for _, unmeshed := range pods {
		pod, _, err := create(t, unmeshed)
		if err != nil {
			t.Fatalf("a pod with labels %v and annotations %v: %v", unmeshed.Labels, unmeshed.Annotations, err)
		}
		if stamp := stampOf(pod); len(stamp) > 0 {
			t.Errorf("it was stamped: %v", stamp)
		}
	}
	if after := requests(t); after["all"] != before["all"] {
		t.Errorf("%v requests came", after["all"]-before["all"])
	}
	if k, f := matchConditions(t); k-keptAway < 2*float64(len(pods)) || f != failed {
		t.Errorf("of %d pods, match conditions kept %v away from a webhook, and failed for %v", len(pods), k-keptAway, f-failed)
	}
	// The same look at the counters does see a meshed pod.
	if _, _, err := create(t, fixture(t, "bare-pod", ns)); err != nil {
		t.Fatal(err)
	}
	counted(t, before, "stamp "+realMeshName+" stamped Current")
	counted(t, before, "validate "+realMeshName+" allowed Current")
}

func TestAForgedStampIsReplaced(t *testing.T) {
	realMesh(t)
	ns := namespace(t, "forged", nil)
	forged := fixture(t, "bare-pod", ns)
	for _, key := range []string{v1alpha1.TrustBundleHashAnnotation, v1alpha1.TrustBundleNotAfterAnnotation, v1alpha1.StampedByAnnotation} {
		forged.Annotations[key] = "forged"
	}
	pod, _, err := create(t, forged)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(trueStamp(t, pod, realMeshName), stampOf(pod)); diff != "" {
		t.Error(diff)
	}
	again := fixture(t, "bare-pod", ns)
	for key, value := range stampOf(pod) {
		again.Annotations[key] = value
	}
	before := requests(t)
	if pod, _, err = create(t, again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(trueStamp(t, pod, realMeshName), stampOf(pod)); diff != "" {
		t.Error(diff)
	}
	counted(t, before, "stamp "+realMeshName+" allowed Current") // there was nothing to patch
}

func TestADryRunIsStampedAndChangesNothing(t *testing.T) {
	realMesh(t)
	ns := namespace(t, "dry", nil)
	versions := func() (v []string) {
		for _, o := range []client.Object{
			&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: servingSecret}},
			&v1alpha1.MeshTrust{ObjectMeta: metav1.ObjectMeta{Name: realMeshName}},
		} {
			if err := shared.client.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
				t.Fatal(err)
			}
			v = append(v, o.GetResourceVersion())
		}
		return v
	}
	before := versions()
	pod, err := shared.kube.CoreV1().Pods(ns).Create(t.Context(), fixture(t, "bare-pod", ns), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(trueStamp(t, pod, realMeshName), stampOf(pod)); diff != "" {
		t.Error(diff)
	}
	expired := carrying(t, ns, "linkerd", root(t, "expired", -2*time.Hour, -time.Hour).PEM())
	if _, err := shared.kube.CoreV1().Pods(ns).Create(t.Context(), expired, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); !apierrors.IsForbidden(err) {
		t.Errorf("a dry run of a pod that would be denied gives %v", err)
	}
	pods, err := shared.kube.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(pods.Items) != 0 {
		t.Errorf("there are %d pods, %v", len(pods.Items), err)
	}
	if diff := cmp.Diff(before, versions()); diff != "" {
		t.Error(diff)
	}
}

func TestTheStampFollowsThePublishedBundle(t *testing.T) {
	// What is published decides the reason, never the stamp.
	valid := root(t, "valid", -time.Hour, time.Hour)
	linkerd(t, "other-bundle", v1alpha1.AdmissionSpec{}, bundle.Of(root(t, "published", -time.Hour, time.Hour).Cert))
	ns := namespace(t, "other-bundle", nil)
	before := requests(t)
	pod, _, err := create(t, carrying(t, ns, "other-bundle", valid.PEM()))
	if err != nil {
		t.Fatal(err)
	}
	if got := stampOf(pod)[v1alpha1.TrustBundleHashAnnotation]; got != bundle.Of(valid.Cert).Hash() {
		t.Errorf("the stamp is %s", got)
	}
	counted(t, before, "stamp other-bundle stamped Missing")
}
