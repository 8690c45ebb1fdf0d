package manifests_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	manifests "github.com/reanchor/reanchor/manifests/webhook"
)

// shared is what both registrations must have in common.
type shared struct {
	name    string
	client  admissionregistrationv1.WebhookClientConfig
	rules   []admissionregistrationv1.RuleWithOperations
	fail    *admissionregistrationv1.FailurePolicyType
	match   *admissionregistrationv1.MatchPolicyType
	ns, obj *metav1.LabelSelector
	effects *admissionregistrationv1.SideEffectClass
	timeout *int32
	reviews []string
	when    []admissionregistrationv1.MatchCondition
}

func hooks(t *testing.T) (stamp, validate shared) {
	t.Helper()
	m, v, err := manifests.Configurations()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Webhooks) != 1 || len(v.Webhooks) != 1 {
		t.Fatalf("%d and %d webhooks", len(m.Webhooks), len(v.Webhooks))
	}
	if m.Name != "zz-reanchor-stamp" || v.Name != "reanchor-validate" {
		t.Errorf("the configurations are %s and %s", m.Name, v.Name)
	}
	if p := m.Webhooks[0].ReinvocationPolicy; p == nil || *p != admissionregistrationv1.IfNeededReinvocationPolicy {
		t.Error("a pod that is changed after the stamp must be stamped again")
	}
	a, b := m.Webhooks[0], v.Webhooks[0]
	return shared{a.Name, a.ClientConfig, a.Rules, a.FailurePolicy, a.MatchPolicy, a.NamespaceSelector, a.ObjectSelector, a.SideEffects, a.TimeoutSeconds, a.AdmissionReviewVersions, a.MatchConditions},
		shared{b.Name, b.ClientConfig, b.Rules, b.FailurePolicy, b.MatchPolicy, b.NamespaceSelector, b.ObjectSelector, b.SideEffects, b.TimeoutSeconds, b.AdmissionReviewVersions, b.MatchConditions}
}

func TestTheRegistrationsCutTheBlastRadius(t *testing.T) {
	stamp, validate := hooks(t)
	if *stamp.fail != admissionregistrationv1.Ignore || *validate.fail != admissionregistrationv1.Fail {
		t.Errorf("failure policies %s and %s, want Ignore and Fail", *stamp.fail, *validate.fail)
	}
	if stamp.name != "stamp.reanchor.dev" || validate.name != "validate.reanchor.dev" ||
		*stamp.client.Service.Path != "/stamp" || *validate.client.Service.Path != "/validate" {
		t.Error("names or paths are not as the program has them")
	}
	for _, h := range []shared{stamp, validate} {
		if h.client.CABundle != nil || h.client.URL != nil || h.client.Service.Name != "reanchor-webhook" || h.client.Service.Namespace != "reanchor-system" {
			t.Errorf("%s: the client configuration is %+v", h.name, h.client)
		}
		namespaced := admissionregistrationv1.NamespacedScope
		want := []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}, Scope: &namespaced},
		}}
		if diff := cmp.Diff(want, h.rules); diff != "" {
			t.Errorf("%s: %s", h.name, diff)
		}
		if *h.match != admissionregistrationv1.Equivalent || *h.effects != admissionregistrationv1.SideEffectClassNone || *h.timeout > 3 || !slices.Equal(h.reviews, []string{"v1"}) {
			t.Errorf("%s: match policy, side effects, timeout or versions are wrong", h.name)
		}
		if diff := cmp.Diff(wantNamespaces(), h.ns); diff != "" {
			t.Errorf("%s: %s", h.name, diff)
		}
		var names []string
		for _, c := range h.when {
			names = append(names, c.Name)
		}
		if diff := cmp.Diff([]string{"is-meshed", "is-not-a-mirror-pod", "has-not-opted-out"}, names); diff != "" {
			t.Errorf("%s: %s", h.name, diff)
		}
	}
	if diff := cmp.Diff(stamp.when, validate.when); diff != "" {
		t.Errorf("the two are not called for the same pods: %s", diff)
	}
}

func wantNamespaces() *metav1.LabelSelector {
	notIn := func(key string, values ...string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpNotIn, Values: values}
	}
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		notIn("kubernetes.io/metadata.name", "kube-system", "kube-node-lease", "reanchor-system", "reanchor-probe", "cert-manager", "linkerd", "istio-system"),
		notIn("linkerd.io/is-control-plane", "true"),
		notIn("reanchor.dev/admission", "disabled"),
	}}
}

func TestALabUsesTheSameRegistrationsAtAURL(t *testing.T) {
	m, v, err := manifests.ConfigurationsFor("https://localhost:1234")
	if err != nil {
		t.Fatal(err)
	}
	im, iv, err := manifests.Configurations()
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[*string]string{m.Webhooks[0].ClientConfig.URL: "https://localhost:1234/stamp", v.Webhooks[0].ClientConfig.URL: "https://localhost:1234/validate"} {
		if got == nil || *got != want {
			t.Errorf("the URL is %v, want %s", got, want)
		}
	}
	m.Webhooks[0].ClientConfig, v.Webhooks[0].ClientConfig = im.Webhooks[0].ClientConfig, iv.Webhooks[0].ClientConfig
	if diff := cmp.Diff(im, m) + cmp.Diff(iv, v); diff != "" {
		t.Errorf("more than the client configuration differs: %s", diff)
	}
}

func decode(t *testing.T, file string, index int, into any) {
	t.Helper()
	documents, err := manifests.Documents(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(documents[index], into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func TestTheDeploymentIsRestrictedAndSpread(t *testing.T) {
	var d appsv1.Deployment
	decode(t, "deployment.yaml", 0, &d)
	spec := d.Spec.Template.Spec
	if *d.Spec.Replicas < 2 || len(spec.TopologySpreadConstraints) == 0 || spec.PriorityClassName != "system-cluster-critical" {
		t.Error("it must survive a node and come before others")
	}
	if diff := cmp.Diff(map[string]string{corev1.LabelOSStable: "linux"}, spec.NodeSelector); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	for _, c := range spec.TopologySpreadConstraints {
		if diff := cmp.Diff(d.Spec.Selector, c.LabelSelector); diff != "" {
			t.Errorf("it spreads other pods: %s", diff)
		}
	}
	c := spec.Containers[0]
	if !*spec.SecurityContext.RunAsNonRoot || spec.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault ||
		*c.SecurityContext.AllowPrivilegeEscalation || !*c.SecurityContext.ReadOnlyRootFilesystem ||
		!slices.Equal(c.SecurityContext.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Error("the security contexts are not restricted")
	}
	if c.ReadinessProbe.HTTPGet.Path != "/readyz" || c.LivenessProbe.HTTPGet.Path != "/healthz" {
		t.Error("the probes ask for the wrong paths")
	}
	var budget policyv1.PodDisruptionBudget
	decode(t, "deployment.yaml", 1, &budget)
	if budget.Spec.MinAvailable.IntValue() < 1 || cmp.Diff(d.Spec.Selector, budget.Spec.Selector) != "" {
		t.Error("the disruption budget does not keep a replica")
	}
	var namespace corev1.Namespace
	decode(t, "namespace.yaml", 0, &namespace)
	if namespace.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
		t.Error("the namespace does not enforce PodSecurity restricted")
	}
}

func TestTheServiceReachesTheDeployment(t *testing.T) {
	var d appsv1.Deployment
	decode(t, "deployment.yaml", 0, &d)
	var s corev1.Service
	decode(t, "service.yaml", 0, &s)
	if diff := cmp.Diff(d.Spec.Template.Labels, s.Spec.Selector); diff != "" {
		t.Error(diff)
	}
	port := s.Spec.Ports[0]
	found := slices.ContainsFunc(d.Spec.Template.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool { return p.Name == port.TargetPort.String() })
	if port.Port != 443 || !found {
		t.Errorf("port %d leads to %s", port.Port, port.TargetPort.String())
	}
}

func TestPermissionsAreTheLeast(t *testing.T) {
	var role rbacv1.Role
	decode(t, "rbac.yaml", 3, &role)
	for _, r := range role.Rules {
		create := slices.Equal(r.Verbs, []string{"create"})
		if !create && !slices.Equal(r.ResourceNames, []string{"reanchor-webhook-tls"}) {
			t.Errorf("it may %v any Secret of its namespace", r.Verbs)
		}
	}
	var cluster rbacv1.ClusterRole
	decode(t, "rbac.yaml", 1, &cluster)
	for _, r := range cluster.Rules {
		for _, what := range append(append([]string{}, r.Resources...), r.Verbs...) {
			if what == "*" || what == "secrets" || what == "configmaps" || what == "pods" {
				t.Errorf("a rule for the whole cluster has %s", what)
			}
		}
		if slices.Contains(r.Verbs, "update") && len(r.ResourceNames) == 0 {
			t.Errorf("it may write any of %v", r.Resources)
		}
	}
}

func TestEveryFileIsInstalled(t *testing.T) {
	text, err := manifests.Read("kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"namespace.yaml", "rbac.yaml", "deployment.yaml", "service.yaml", "mutating.yaml", "validating.yaml"} {
		if !strings.Contains(string(text), "- "+file+"\n") {
			t.Errorf("%s is not installed", file)
		}
	}
}
