package admission

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	manifests "github.com/reanchor/reanchor/manifests/webhook"
)

func TestTheAPIServerTakesEveryManifest(t *testing.T) {
	for _, file := range []string{"namespace.yaml", "rbac.yaml", "deployment.yaml", "service.yaml", "mutating.yaml", "validating.yaml"} {
		documents, err := manifests.Documents(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range documents {
			var object unstructured.Unstructured
			if err := yaml.Unmarshal(document, &object.Object); err != nil {
				t.Fatal(err)
			}
			if file == "mutating.yaml" || file == "validating.yaml" {
				// The lab's own have a URL and cannot get a Service besides.
				object.SetName(object.GetName() + "-as-installed")
			}
			options := []client.ApplyOption{client.DryRunAll, client.FieldOwner("test"), client.ForceOwnership}
			if err := shared.client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(&object), options...); err != nil {
				t.Errorf("%s %s: %v", object.GetKind(), object.GetName(), err)
			}
		}
	}
}

func TestPodSecurityTakesTheDeploymentsPods(t *testing.T) {
	waitServiceAccount(t, systemNamespace)
	documents, err := manifests.Documents("deployment.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var d appsv1.Deployment
	if err := yaml.UnmarshalStrict(documents[0], &d); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: d.Spec.Template.ObjectMeta, Spec: d.Spec.Template.Spec}
	pod.GenerateName = "p-"
	// PodSecurity judges by the namespace's labels, which come from the manifest.
	n, err := shared.kube.CoreV1().Namespaces().Get(t.Context(), systemNamespace, metav1.GetOptions{})
	if err != nil || n.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
		t.Fatalf("the namespace is not restricted: %v %v", n.Labels, err)
	}
	_, err = shared.kube.CoreV1().Pods(systemNamespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		t.Error(err)
	}
	pod.Spec.Containers[0].SecurityContext = nil
	if _, err := shared.kube.CoreV1().Pods(systemNamespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err == nil {
		t.Error("PodSecurity is not in force, so the test above proves nothing")
	}
}

func TestApplyingTheRegistrationsAgainLeavesTheCABundle(t *testing.T) {
	api := shared.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	before, err := api.Get(t.Context(), validateName, metav1.GetOptions{})
	if err != nil || len(before.Webhooks[0].ClientConfig.CABundle) == 0 {
		t.Fatalf("there is no caBundle: %v", err)
	}
	_, validating, err := manifests.ConfigurationsFor(shared.balancer.url(0))
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(validating)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var object unstructured.Unstructured
		if err := yaml.Unmarshal(text, &object.Object); err != nil {
			t.Fatal(err)
		}
		unstructured.RemoveNestedField(object.Object, "metadata", "creationTimestamp")
		if err := shared.client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(&object), client.FieldOwner("gitops"), client.ForceOwnership); err != nil {
			t.Fatal(err)
		}
		// Whoever applies it must not take the field away, even for the moment
		// until a replica puts it back.
		if after := bundleIn(t, &object); after != base64PEM(string(before.Webhooks[0].ClientConfig.CABundle)) {
			t.Errorf("right after it was applied the caBundle is %.40q", after)
		}
	}
}

// The lab's API server reaches the replicas as localhost. A cluster's reaches
// them by the Service's name, under the defaults of the program's flags.
func TestTheServingCertificateIsForTheServiceOfTheManifests(t *testing.T) {
	mutating, validating, err := manifests.Configurations()
	if err != nil {
		t.Fatal(err)
	}
	services := map[string]*admissionregistrationv1.ServiceReference{
		stampName: mutating.Webhooks[0].ClientConfig.Service, validateName: validating.Webhooks[0].ClientConfig.Service,
	}
	for _, registration := range registrations() {
		ca, err := base64.StdEncoding.DecodeString(currentBundle(t, registration))
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(ca) {
			t.Fatalf("%s has no caBundle", registration.GetName())
		}
		service := services[registration.GetName()]
		for _, r := range shared.replicas {
			conn, err := tls.Dial("tcp", r.webhook, &tls.Config{RootCAs: roots, ServerName: service.Name + "." + service.Namespace + ".svc"})
			if err != nil {
				t.Errorf("%s: %v", registration.GetName(), err)
				continue
			}
			_ = conn.Close()
		}
	}
}

// registrations are the installed configurations of the two webhooks, by the
// path of each.
func registrations() map[string]*unstructured.Unstructured {
	out := map[string]*unstructured.Unstructured{"stamp": {}, "validate": {}}
	for path, is := range map[string]struct{ kind, name string }{
		"stamp": {"MutatingWebhookConfiguration", stampName}, "validate": {"ValidatingWebhookConfiguration", validateName},
	} {
		out[path].SetGroupVersionKind(admissionregistrationv1.SchemeGroupVersion.WithKind(is.kind))
		out[path].SetName(is.name)
	}
	return out
}

// currentBundle is the caBundle of a configuration at this moment, as base64.
func currentBundle(t *testing.T, registration *unstructured.Unstructured) string {
	t.Helper()
	now := registration.DeepCopy()
	if err := shared.client.Get(t.Context(), client.ObjectKeyFromObject(now), now); err != nil {
		t.Fatal(err)
	}
	return bundleIn(t, now)
}

func bundleIn(t *testing.T, object *unstructured.Unstructured) string {
	t.Helper()
	webhooks, _, err := unstructured.NestedSlice(object.Object, "webhooks")
	if err != nil || len(webhooks) != 1 {
		t.Fatalf("%d webhooks, %v", len(webhooks), err)
	}
	bundle, _, err := unstructured.NestedString(webhooks[0].(map[string]any), "clientConfig", "caBundle")
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}
