package e2e

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/local"
	manifests "github.com/reanchor/reanchor/manifests/webhook"
)

// webhookFor runs the admission edge as installed, for some namespaces alone,
// and returns what kills its only replica.
func (m *meshWorld) webhookFor(namespaces ...string) func() {
	m.t.Helper()
	for _, object := range []client.Object{
		&corev1.ServiceAccount{}, &rbacv1.ClusterRole{}, &rbacv1.ClusterRoleBinding{}, &rbacv1.Role{}, &rbacv1.RoleBinding{},
	} {
		m.install("rbac.yaml", object)
	}
	port, _ := m.register(namespaces...)
	return m.replicaOfTheWebhook(replica{address: net.JoinHostPort("127.0.0.1", port), account: "reanchor-webhook"})
}

// register registers the webhooks as installed, for some namespaces alone, and
// returns the port on which the API server is going to call.
func (m *meshWorld) register(namespaces ...string) (port string, configurations []client.Object) {
	m.t.Helper()
	_, port, _ = net.SplitHostPort(freeAddress(m.t))
	mutating, validating, err := manifests.ConfigurationsFor("https://localhost:" + port)
	if err != nil {
		m.t.Fatal(err)
	}
	here := metav1.LabelSelectorRequirement{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: namespaces}
	for _, s := range []*metav1.LabelSelector{mutating.Webhooks[0].NamespaceSelector, validating.Webhooks[0].NamespaceSelector} {
		s.MatchExpressions = append(s.MatchExpressions, here)
	}
	configurations = []client.Object{mutating, validating}
	for _, o := range configurations {
		create(m.t, o)
		m.t.Cleanup(func() { env.client.Delete(context.Background(), o) })
	}
	return port, configurations
}

// replica is one of the webhook: where it serves, by which service account, and
// with which more flags.
type replica struct {
	address, account string
	more             []string
}

// replicaOfTheWebhook starts one and waits until it is ready. The returned
// function kills it.
func (m *meshWorld) replicaOfTheWebhook(r replica) func() {
	m.t.Helper()
	dir, health := m.t.TempDir(), freeAddress(m.t)
	kubeconfig, err := kubeconfigFor(m.t.Context(), dir, r.account)
	if err != nil {
		m.t.Fatal(err)
	}
	process, err := local.StartProcess(filepath.Join(dir, "webhook.log"), env.program, append([]string{
		"webhook", "--kubeconfig", kubeconfig, "--address", r.address, "--health-address", health,
		"--host", "localhost", "--certificate-check", "1s", "--certificate-pause", "1s", "--shutdown-delay", "0s"}, r.more...)...)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		process.Kill()
		if m.t.Failed() {
			m.t.Logf("the webhook's log ends:\n%s", process.Tail(200))
		}
	})
	eventually(m.t, time.Minute, func() error { return answers("http://"+health+"/readyz", http.StatusOK, "") })
	return process.Kill
}

// install creates the object of a file of manifests/webhook that has its kind.
func (m *meshWorld) install(file string, object client.Object) {
	m.t.Helper()
	documents, err := manifests.Documents(file)
	if err != nil {
		m.t.Fatal(err)
	}
	gvk, err := env.client.GroupVersionKindFor(object)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, text := range documents {
		if !bytes.Contains(text, []byte("\nkind: "+gvk.Kind+"\n")) {
			continue
		}
		if err := yaml.UnmarshalStrict(text, object); err != nil {
			m.t.Fatal(err)
		}
		if err := local.Create(m.t.Context(), env.client, object); err != nil {
			m.t.Fatal(err)
		}
		return
	}
	m.t.Fatalf("%s holds no %s", file, gvk.Kind)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := lab.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}
