package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	manifests "github.com/reanchor/reanchor/manifests/webhook"
)

// workload is what a Deployment and a DaemonSet have in common.
type workload struct {
	Metadata metav1.ObjectMeta
	Spec     struct{ Template corev1.PodTemplateSpec }
}

// installed reads the first object of a manifest.
func installed(t *testing.T, file string) workload {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../manifests", file))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n---\n")
	var w workload
	if err := yaml.Unmarshal([]byte(first), &w); err != nil {
		t.Fatal(err)
	}
	if len(w.Spec.Template.Spec.Containers) != 1 {
		t.Fatalf("%s has %d containers", file, len(w.Spec.Template.Spec.Containers))
	}
	return w
}

// started is what the program makes of a container's arguments and environment,
// with every field of the pod that is referred to being "of-the-pod".
func started(t *testing.T, c *corev1.Container) *commands {
	t.Helper()
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, "REANCHOR_") || slices.Contains([]string{"NODE_NAME", "KUBECONFIG"}, name) {
			t.Setenv(name, "") // to be set back afterwards
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	values := map[string]string{}
	for _, e := range c.Env {
		if e.ValueFrom != nil {
			e.Value = "of-the-pod"
		}
		for name, value := range values { // as kubelet does
			e.Value = strings.ReplaceAll(e.Value, "$("+name+")", value)
		}
		values[e.Name] = e.Value
		t.Setenv(e.Name, e.Value)
	}
	var cli commands
	parser, err := kong.New(&cli)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(c.Args); err != nil {
		t.Fatalf("the program refuses the arguments %v: %v", c.Args, err)
	}
	return &cli
}

// A pod whose probes ask elsewhere than the program serves never becomes ready.
func TestTheManifestsNameThePortsOnWhichTheProgramServes(t *testing.T) {
	for file, tc := range map[string]struct {
		served func(*commands) map[string]string
		probed string
		ofPod  func(*commands) string // a flag that the environment sets
	}{
		"webhook/deployment.yaml": {
			func(c *commands) map[string]string {
				return map[string]string{"webhooks": c.Webhook.Address, "health": c.Webhook.HealthAddress}
			}, "health", func(c *commands) string { return c.Webhook.Namespace }},
		"controller/deployment.yaml": {
			func(c *commands) map[string]string {
				return map[string]string{"metrics": c.Controller.MetricsAddress, "health": c.Controller.HealthAddress}
			}, "health", func(c *commands) string { return c.Controller.Namespace }},
		"checker/daemonset.yaml": {
			func(c *commands) map[string]string { return map[string]string{"metrics": c.Check.ListenAddress} },
			"metrics", func(c *commands) string { return c.Check.NodeName }},
	} {
		t.Run(file, func(t *testing.T) {
			c := &installed(t, file).Spec.Template.Spec.Containers[0]
			cli := started(t, c)
			named := map[string]string{}
			for _, p := range c.Ports {
				named[p.Name] = fmt.Sprint(p.ContainerPort)
			}
			served := tc.served(cli)
			for name, address := range served {
				_, port, err := net.SplitHostPort(address)
				if err != nil {
					t.Fatal(err)
				}
				served[name] = port
			}
			if diff := cmp.Diff(served, named); diff != "" {
				t.Errorf("ports (-served +named):\n%s", diff)
			}
			for what, probe := range map[string]*corev1.Probe{"readiness": c.ReadinessProbe, "liveness": c.LivenessProbe} {
				if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Port.String() != tc.probed {
					t.Errorf("the probe of %s does not ask port %s: %+v", what, tc.probed, probe)
				}
			}
			if got := tc.ofPod(cli); got != "of-the-pod" {
				t.Errorf("what the environment says of the pod is not read: %q", got)
			}
		})
	}
}

// What one manifest calls an object, and what the program looks for.
func TestTheManifestsNameWhatTheWebhookLooksFor(t *testing.T) {
	mutating, validating, err := manifests.Configurations()
	if err != nil {
		t.Fatal(err)
	}
	d := installed(t, "webhook/deployment.yaml")
	cli := started(t, &corev1.Container{Args: d.Spec.Template.Spec.Containers[0].Args})
	o := cli.Webhook.options(logr.Discard()).Serving
	for _, service := range []*admissionregistrationv1.ServiceReference{mutating.Webhooks[0].ClientConfig.Service, validating.Webhooks[0].ClientConfig.Service} {
		if diff := cmp.Diff([]string{service.Name + "." + service.Namespace + ".svc"}, o.Policy.Names); diff != "" {
			t.Errorf("names of the serving certificate (-registered +issued):\n%s", diff)
		}
	}
	if o.Mutating != mutating.Name || o.Validating != validating.Name || o.Namespace != d.Metadata.Namespace {
		t.Errorf("it looks for %s and %s, and is in namespace %s", o.Mutating, o.Validating, o.Namespace)
	}
	documents, err := manifests.Documents("rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var role rbacv1.Role
	if err := yaml.UnmarshalStrict(documents[3], &role); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(role.Rules[0].ResourceNames, o.Secret) {
		t.Errorf("it may not write its Secret %s, but %v", o.Secret, role.Rules[0].ResourceNames)
	}
}
