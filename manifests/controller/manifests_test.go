// Package controller holds the manifests of the companion controller, and these
// tests of them. That its permissions are all that it needs, and no more, is
// shown by test/e2e, which runs the program under them and counts what it uses.
package controller

import (
	"errors"
	"io"
	"os"
	"path/filepath"
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
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// files are what kustomization.yaml installs.
func files(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var k struct{ Resources []string }
	if err := yaml.Unmarshal(text, &k); err != nil {
		t.Fatal(err)
	}
	return k.Resources
}

// objects decodes all objects of the installation strictly.
func objects(t *testing.T) []runtime.Object {
	t.Helper()
	var out []runtime.Object
	for _, file := range files(t) {
		out = append(out, decoded(t, file)...)
	}
	return out
}

// decoded are the objects of one file, decoded strictly.
func decoded(t *testing.T, file string) []runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	strict := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []runtime.Object
	for reader := utilyaml.NewDocumentDecoder(io.NopCloser(strings.NewReader(string(text)))); ; {
		document := make([]byte, len(text))
		n, err := reader.Read(document)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		o, _, err := strict.Decode(document[:n], nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out = append(out, o)
	}
}

// all returns the objects of a type.
func all[T runtime.Object](t *testing.T) []T {
	t.Helper()
	var out []T
	for _, o := range objects(t) {
		if typed, ok := o.(T); ok {
			out = append(out, typed)
		}
	}
	if len(out) == 0 {
		t.Fatalf("there is no %T", *new(T))
	}
	return out
}

func TestEveryFileIsInstalled(t *testing.T) {
	there, err := filepath.Glob("*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	there = slices.DeleteFunc(there, func(file string) bool { return file == "kustomization.yaml" })
	installed := files(t)
	slices.Sort(installed)
	if diff := cmp.Diff(there, installed); diff != "" {
		t.Errorf("files (-there +installed):\n%s", diff)
	}
}

func TestTheDeploymentIsRestrictedAndSpread(t *testing.T) {
	d := all[*appsv1.Deployment](t)[0]
	spec := d.Spec.Template.Spec
	if *d.Spec.Replicas < 2 || spec.PriorityClassName != "system-cluster-critical" {
		t.Error("a successor must be there, and it must come before others")
	}
	if diff := cmp.Diff(d.Spec.Selector.MatchLabels, d.Spec.Template.Labels); diff != "" {
		t.Errorf("the selector does not select the pods: %s", diff)
	}
	for _, c := range spec.TopologySpreadConstraints {
		if diff := cmp.Diff(d.Spec.Selector, c.LabelSelector); diff != "" || c.TopologyKey != corev1.LabelHostname {
			t.Errorf("it spreads other pods, or not over nodes: %s", diff)
		}
	}
	if diff := cmp.Diff(map[string]string{corev1.LabelOSStable: "linux"}, spec.NodeSelector); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	c := spec.Containers[0]
	if !*spec.SecurityContext.RunAsNonRoot || spec.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault ||
		*c.SecurityContext.AllowPrivilegeEscalation || !*c.SecurityContext.ReadOnlyRootFilesystem ||
		!slices.Equal(c.SecurityContext.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(c.SecurityContext.Capabilities.Add) > 0 {
		t.Error("the security contexts are not restricted")
	}
	if spec.HostNetwork || spec.HostPID || spec.HostIPC || len(spec.Volumes) > 0 || len(spec.Containers) != 1 {
		t.Error("it has more of the node than it needs")
	}
	if d.Spec.Template.Annotations["linkerd.io/inject"] != "disabled" || d.Spec.Template.Annotations["sidecar.istio.io/inject"] != "false" {
		t.Error("a mesh may inject what the mesh depends on")
	}
	if c.ReadinessProbe.HTTPGet.Path != "/readyz" || c.LivenessProbe.HTTPGet.Path != "/healthz" {
		t.Error("the probes ask for the wrong paths")
	}
	for _, probe := range []*corev1.Probe{c.ReadinessProbe, c.LivenessProbe} {
		if !slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == probe.HTTPGet.Port.String() }) {
			t.Errorf("there is no port %s", probe.HTTPGet.Port.String())
		}
	}
	memory := c.Resources.Limits[corev1.ResourceMemory]
	if memory.IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
		t.Error("its resources are not bounded")
	}
	budget := all[*policyv1.PodDisruptionBudget](t)[0]
	if budget.Spec.MinAvailable.IntValue() < 1 || cmp.Diff(d.Spec.Selector, budget.Spec.Selector) != "" {
		t.Error("the disruption budget does not keep a replica")
	}
}

// What the controller may do to the whole cluster is read, and write where its
// job is. Each write stands here, so that one more is a decision.
func TestPermissionsForTheWholeClusterAreTheLeast(t *testing.T) {
	writes := map[string][]string{}
	for _, role := range all[*rbacv1.ClusterRole](t) {
		for _, r := range role.Rules {
			if len(r.NonResourceURLs) > 0 || slices.Contains(slices.Concat(r.APIGroups, r.Resources, r.Verbs), "*") {
				t.Errorf("a wildcard, or a path: %+v", r)
			}
			for _, what := range r.Resources {
				switch what {
				case "secrets", "configmaps", "serviceaccounts", "serviceaccounts/token", "pods/exec", "pods/log", "roles", "rolebindings", "clusterroles", "clusterrolebindings":
					t.Errorf("a rule for the whole cluster has %s", what)
				}
				for _, verb := range r.Verbs {
					if !slices.Contains([]string{"get", "list", "watch"}, verb) {
						writes[what] = append(writes[what], verb)
					}
				}
			}
		}
	}
	for what := range writes {
		slices.Sort(writes[what])
	}
	want := map[string][]string{
		"meshtrusts/status": {"patch", "update"}, "anchorrotations": {"create", "delete", "patch"}, "anchorrotations/status": {"update"},
		"namespaces": {"patch"}, "deployments": {"patch"}, "statefulsets": {"patch"}, "daemonsets": {"patch"},
		"replicasets": {"patch"}, "rollouts": {"patch"}, "pods/eviction": {"create"}, "events": {"create", "create", "patch"},
	}
	if diff := cmp.Diff(want, writes); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
}

func TestOtherPermissionsAreForNamedObjects(t *testing.T) {
	for _, role := range all[*rbacv1.Role](t) {
		for _, r := range role.Rules {
			create := slices.Equal(r.Verbs, []string{"create"}) // which no name can restrict
			if !create && len(r.ResourceNames) == 0 {
				t.Errorf("Role %s/%s may %v any of %v", role.Namespace, role.Name, r.Verbs, r.Resources)
			}
			secret := slices.Contains(r.Resources, "secrets") || slices.Contains(r.Resources, "configmaps")
			if secret && slices.ContainsFunc(r.Verbs, func(v string) bool { return v != "get" && v != "list" && v != "watch" }) {
				t.Errorf("Role %s/%s may %v %v", role.Namespace, role.Name, r.Verbs, r.ResourceNames)
			}
			if slices.Contains(r.Resources, "pods") && role.Namespace != "reanchor-probe" {
				t.Errorf("Role %s/%s may create pods", role.Namespace, role.Name)
			}
		}
	}
}

func TestRolesAreBoundToTheServiceAccountOfTheDeployment(t *testing.T) {
	d := all[*appsv1.Deployment](t)[0]
	account := rbacv1.Subject{Kind: "ServiceAccount", Namespace: d.Namespace, Name: d.Spec.Template.Spec.ServiceAccountName}
	accounts := all[*corev1.ServiceAccount](t)
	if len(accounts) != 1 || accounts[0].Name != account.Name || accounts[0].Namespace != account.Namespace {
		t.Errorf("the service accounts are %v", accounts)
	}
	bound := map[string]bool{}
	check := func(o metav1.Object, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
		bound[ref.Kind+" "+o.GetNamespace()+"/"+ref.Name] = true
		if diff := cmp.Diff([]rbacv1.Subject{account}, subjects); diff != "" {
			t.Errorf("%s %s: %s", o.GetNamespace(), o.GetName(), diff)
		}
	}
	for _, b := range all[*rbacv1.ClusterRoleBinding](t) {
		check(b, b.RoleRef, b.Subjects)
	}
	for _, b := range all[*rbacv1.RoleBinding](t) {
		check(b, b.RoleRef, b.Subjects)
	}
	for _, r := range all[*rbacv1.ClusterRole](t) {
		if !bound["ClusterRole /"+r.Name] {
			t.Errorf("ClusterRole %s is not bound", r.Name)
		}
	}
	for _, r := range all[*rbacv1.Role](t) {
		if !bound["Role "+r.Namespace+"/"+r.Name] {
			t.Errorf("Role %s/%s is not bound", r.Namespace, r.Name)
		}
	}
}

// The dry runs' pods are injected with a container that needs NET_ADMIN, and the
// webhooks leave the namespace out by its name.
func TestTheProbeNamespaceAdmitsInjectedPods(t *testing.T) {
	n := all[*corev1.Namespace](t)[0]
	if n.Name != "reanchor-probe" || n.Labels["pod-security.kubernetes.io/enforce"] != "privileged" {
		t.Errorf("namespace %s, labels %v", n.Name, n.Labels)
	}
}

// policies are those of the installation and of the component restart-only, with
// their bindings.
func policies(t *testing.T) (map[string]*admissionregistrationv1.ValidatingAdmissionPolicy, []*admissionregistrationv1.ValidatingAdmissionPolicyBinding) {
	t.Helper()
	found := map[string]*admissionregistrationv1.ValidatingAdmissionPolicy{}
	var bindings []*admissionregistrationv1.ValidatingAdmissionPolicyBinding
	for _, o := range append(objects(t), decoded(t, "restart-only/policy.yaml")...) {
		switch o := o.(type) {
		case *admissionregistrationv1.ValidatingAdmissionPolicy:
			found[o.Name] = o
		case *admissionregistrationv1.ValidatingAdmissionPolicyBinding:
			bindings = append(bindings, o)
		}
	}
	return found, bindings
}

// What the policies refuse is shown by test/e2e on a real API server. These tests
// are about what shows in no request that is judged: which are not.
func TestPoliciesAreInForceWhereTheyMustBe(t *testing.T) {
	_, bindings := policies(t)
	bound := map[string][]*metav1.LabelSelector{}
	for _, b := range bindings {
		if !slices.Equal(b.Spec.ValidationActions, []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny}) {
			t.Errorf("binding %s does not deny: %v", b.Name, b.Spec.ValidationActions)
		}
		var where *metav1.LabelSelector
		if b.Spec.MatchResources != nil {
			where = b.Spec.MatchResources.NamespaceSelector
		}
		bound[b.Spec.PolicyName] = append(bound[b.Spec.PolicyName], where)
	}
	want := map[string][]*metav1.LabelSelector{
		"reanchor-probe": {
			{MatchLabels: map[string]string{corev1.LabelMetadataName: "reanchor-probe"}},
			{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: v1alpha1.ProbeForLabel, Operator: metav1.LabelSelectorOpExists}}},
		},
		"reanchor-controller-namespaces": {nil},
		"reanchor-controller-workloads":  {nil},
	}
	if diff := cmp.Diff(want, bound); diff != "" {
		t.Errorf("namespaces of each policy (-want +got):\n%s", diff)
	}
}

func TestPoliciesFailClosedForTheControllerAlone(t *testing.T) {
	account := all[*corev1.ServiceAccount](t)[0]
	byTheController := []admissionregistrationv1.MatchCondition{{Name: "by-the-controller",
		Expression: "request.userInfo.username == 'system:serviceaccount:" + account.Namespace + ":" + account.Name + "'"}}
	conditions := map[string][]admissionregistrationv1.MatchCondition{}
	found, _ := policies(t)
	for name, p := range found {
		if *p.Spec.FailurePolicy != admissionregistrationv1.Fail {
			t.Errorf("policy %s fails open", name)
		}
		conditions[name] = p.Spec.MatchConditions
	}
	want := map[string][]admissionregistrationv1.MatchCondition{
		"reanchor-probe":                 nil, // for everybody, in namespaces where nothing else is
		"reanchor-controller-namespaces": byTheController,
		"reanchor-controller-workloads":  byTheController,
	}
	if diff := cmp.Diff(want, conditions); diff != "" {
		t.Errorf("whom each policy is for (-want +got):\n%s", diff)
	}
}

// A kind that the controller may patch and the policy forgets could be changed in
// any way.
func TestRestartOnlyKnowsEveryWorkloadThatTheControllerMayPatch(t *testing.T) {
	var may, judged []string
	for _, r := range all[*rbacv1.ClusterRole](t)[0].Rules {
		if slices.Contains(r.Verbs, "patch") && (slices.Contains(r.APIGroups, "apps") || slices.Contains(r.APIGroups, "argoproj.io")) {
			may = append(may, r.Resources...)
		}
	}
	found, _ := policies(t)
	for _, r := range found["reanchor-controller-workloads"].Spec.MatchConstraints.ResourceRules {
		judged = append(judged, r.Resources...)
	}
	slices.Sort(may)
	slices.Sort(judged)
	if diff := cmp.Diff(may, judged); diff != "" {
		t.Errorf("workloads (-may be patched +are judged):\n%s", diff)
	}
}
