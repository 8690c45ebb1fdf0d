// Package certmanager holds the component that leaves the webhook's serving
// certificate to cert-manager, and these tests of what kustomize makes of it.
package certmanager

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/reanchor/reanchor/manifests/manifeststest"
)

// render is what "kubectl apply -k" applies for a kustomization beside the
// folder of manifests.
func render(t *testing.T, text string) map[string]*unstructured.Unstructured {
	t.Helper()
	return manifeststest.Render(t, "../..", text)
}

const (
	plain = "resources: [../manifests]\n"
	// As docs/install.md has it.
	certManager = plain + "components: [../manifests/webhook/cert-manager]\n"
)

// nested reads a field that must be there.
func nested[T any](t *testing.T, u *unstructured.Unstructured, path ...string) T {
	t.Helper()
	var zero T
	if u == nil {
		t.Fatalf("there is no object that could have %v", path)
	}
	value, ok, err := unstructured.NestedFieldNoCopy(u.Object, path...)
	typed, is := value.(T)
	if !ok || err != nil || !is {
		t.Errorf("%s %s has no %v that is a %T: %v", u.GetKind(), u.GetName(), path, zero, value)
	}
	return typed
}

func TestTheComponentChangesTheWebhooksCertificateAndNothingElse(t *testing.T) {
	before, after := render(t, plain), render(t, certManager)
	var gone, fresh, changed []string
	for key, u := range before {
		switch {
		case after[key] == nil:
			gone = append(gone, key)
		case cmp.Diff(u.Object, after[key].Object) != "":
			changed = append(changed, key)
		}
	}
	for key := range after {
		if before[key] == nil {
			fresh = append(fresh, key)
		}
	}
	for what, lists := range map[string][2][]string{
		"taken away": {gone, {"Role reanchor-system/reanchor-webhook", "RoleBinding reanchor-system/reanchor-webhook"}},
		"added": {fresh, {"Certificate reanchor-system/reanchor-webhook", "Certificate reanchor-system/reanchor-webhook-ca",
			"Issuer reanchor-system/reanchor-webhook-ca", "Issuer reanchor-system/reanchor-webhook-selfsigned"}},
		"changed": {changed, {"ClusterRole /reanchor-webhook", "Deployment reanchor-system/reanchor-webhook",
			"MutatingWebhookConfiguration /zz-reanchor-stamp", "ValidatingWebhookConfiguration /reanchor-validate"}},
	} {
		slices.Sort(lists[0])
		if diff := cmp.Diff(lists[1], lists[0]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

func TestTheWebhookServesWhatCertManagerIssues(t *testing.T) {
	objects := render(t, certManager)
	deployment := objects["Deployment reanchor-system/reanchor-webhook"]
	pod := nested[map[string]any](t, deployment, "spec", "template", "spec")
	leaf := objects["Certificate reanchor-system/reanchor-webhook"]
	container := pod["containers"].([]any)[0].(map[string]any)
	env, names := container["env"].([]any), []string{}
	for _, e := range env {
		names = append(names, e.(map[string]any)["name"].(string))
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"GOMEMLIMIT", "REANCHOR_CERTIFICATE_DIR", "REANCHOR_NAMESPACE"}, names); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	dir := env[slices.IndexFunc(env, func(e any) bool { return e.(map[string]any)["name"] == "REANCHOR_CERTIFICATE_DIR" })].(map[string]any)["value"]
	mounts := container["volumeMounts"].([]any)
	if diff := cmp.Diff([]any{map[string]any{"name": "certificate", "mountPath": dir, "readOnly": true}}, mounts); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
	want := []any{map[string]any{"name": "certificate", "secret": map[string]any{
		"secretName": nested[string](t, leaf, "spec", "secretName"),
		"items":      []any{map[string]any{"key": "tls.crt", "path": "tls.crt"}, map[string]any{"key": "tls.key", "path": "tls.key"}},
	}}}
	if diff := cmp.Diff(want, pod["volumes"]); diff != "" {
		t.Errorf("volumes (-want +got):\n%s", diff)
	}
	if args := container["args"].([]any); len(args) != 1 || args[0] != "webhook" {
		t.Errorf("arguments %v", args)
	}
	service := objects["Service reanchor-system/reanchor-webhook"]
	if diff := cmp.Diff([]any{service.GetName() + "." + service.GetNamespace() + ".svc"}, nested[[]any](t, leaf, "spec", "dnsNames")); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if nested[string](t, leaf, "spec", "secretName") == "reanchor-webhook-tls" {
		t.Error("the Secret is the one that replicas without cert-manager keep")
	}
}

func TestTheWebhookMayWriteNothing(t *testing.T) {
	before, after := render(t, plain), render(t, certManager)
	had, has := nested[[]any](t, before["ClusterRole /reanchor-webhook"], "rules"), nested[[]any](t, after["ClusterRole /reanchor-webhook"], "rules")
	if len(had) != len(has) {
		t.Fatalf("there were %d rules and are %d", len(had), len(has))
	}
	updates := 0
	for i := range has {
		rule := has[i].(map[string]any)
		for _, verb := range rule["verbs"].([]any) {
			if !slices.Contains([]any{"get", "list", "watch"}, verb) {
				t.Errorf("it may %s %v", verb, rule["resources"])
			}
		}
		old := had[i].(map[string]any)
		kept := slices.DeleteFunc(slices.Clone(old["verbs"].([]any)), func(v any) bool { return v == "update" })
		updates += len(old["verbs"].([]any)) - len(kept)
		rule["verbs"], old["verbs"] = nil, nil
		if diff := cmp.Diff(old, rule); diff != "" {
			t.Errorf("more than the verbs differs: %s", diff)
		}
	}
	if updates != 2 {
		t.Errorf("without the component it may update %d kinds, so the test proves nothing", updates)
	}
}

// What keeps the caBundle right: cainjector is told where the CA is, nobody else
// writes the field, and CA and leaf are renewed so that at every moment the one
// that is in the caBundle verifies the one that is served.
func TestTheCABundleIsRightThroughEveryRenewal(t *testing.T) {
	objects := render(t, certManager)
	leaf, ca := objects["Certificate reanchor-system/reanchor-webhook"], objects["Certificate reanchor-system/reanchor-webhook-ca"]
	for _, key := range []string{"MutatingWebhookConfiguration /zz-reanchor-stamp", "ValidatingWebhookConfiguration /reanchor-validate"} {
		u := objects[key]
		if from := u.GetAnnotations()["cert-manager.io/inject-ca-from"]; from != leaf.GetNamespace()+"/"+leaf.GetName() {
			t.Errorf("%s: the CA comes from %q", key, from)
		}
		for _, w := range nested[[]any](t, u, "webhooks") {
			if _, there := w.(map[string]any)["clientConfig"].(map[string]any)["caBundle"]; there {
				t.Errorf("%s: whoever applies it owns the caBundle", key)
			}
		}
	}
	issuer := objects["Issuer reanchor-system/"+nested[string](t, leaf, "spec", "issuerRef", "name")]
	if nested[string](t, issuer, "spec", "ca", "secretName") != nested[string](t, ca, "spec", "secretName") || !nested[bool](t, ca, "spec", "isCA") {
		t.Error("the leaf is not signed by the CA")
	}
	if policy := nested[string](t, ca, "spec", "privateKey", "rotationPolicy"); policy != "Never" {
		t.Errorf("the CA's key is rotated (%s): its successor would not verify the leaf in use", policy)
	}
	life := func(u *unstructured.Unstructured, field string) time.Duration {
		d, err := time.ParseDuration(nested[string](t, u, "spec", field))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if life(ca, "renewBefore") <= life(leaf, "duration") || life(leaf, "renewBefore") >= life(leaf, "duration") || life(ca, "renewBefore") >= life(ca, "duration") {
		t.Error("a leaf may outlive the CA that the caBundle holds")
	}
}
