package admission

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/hack/local"
)

// A replica that has not read all that it decides from would answer as if there
// were no meshes. It is alive and not ready, although its certificate is usable;
// with readiness tied to less, the API server would send it requests.
func TestAReplicaIsNotReadyBeforeItHasReadTheCluster(t *testing.T) {
	for _, what := range []string{"meshtrusts", "anchorrotations", "namespaces"} {
		t.Run("one that may not list "+what+" is alive and not ready until it may", func(t *testing.T) {
			t.Parallel()
			name := "webhook-without-" + what
			complete := accountWithout(t, name, what)
			dir := t.TempDir()
			kubeconfig := filepath.Join(dir, "kubeconfig")
			if err := local.WriteKubeconfig(t.Context(), shared.lab, kubeconfig, name); err != nil {
				t.Fatal(err)
			}
			r, err := newReplica(&cluster{binary: shared.binary, kubeconfig: kubeconfig}, dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(r.kill)
			eventually(t, time.Minute, func() string {
				return shows(r, "reanchor_webhook_serving_certificate_not_after_timestamp_seconds", func(v float64) bool { return v > 0 })
			})
			for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				if why := waits(r); why != "" {
					t.Fatal(why)
				}
			}
			complete()
			// The watches try again after pauses that grow.
			eventually(t, time.Minute, func() string {
				if err := r.get("/readyz"); err != nil {
					return err.Error()
				}
				return shows(r, readyMetric, func(v float64) bool { return v == 1 })
			})
		})
	}
}

const readyMetric = "reanchor_webhook_ready"

// waits says how a replica is not one that lives, and waits for what it reads.
func waits(r *replica) string {
	if err := r.get("/healthz"); err != nil {
		return "it is not alive: " + err.Error()
	}
	err := r.get("/readyz")
	if err == nil {
		return "it is ready"
	}
	for _, want := range []string{"503 ", "have not all been read yet"} {
		if !strings.Contains(err.Error(), want) {
			return fmt.Sprintf("its readiness does not say %q but: %v", want, err)
		}
	}
	return shows(r, readyMetric, func(v float64) bool { return v == 0 })
}

// shows says what a gauge of a replica is when it is not as it should be.
func shows(r *replica, name string, is func(float64) bool) string {
	families, err := r.metrics()
	if err != nil {
		return err.Error()
	}
	all := families[name].GetMetric()
	if len(all) != 1 || !is(all[0].GetGauge().GetValue()) {
		return fmt.Sprintf("%s is %v", name, all)
	}
	return ""
}

// accountWithout creates a service account that may do all that the webhook's
// may, but not read one resource. The returned function grants that too.
func accountWithout(t *testing.T, name, resource string) func() {
	t.Helper()
	var whole rbacv1.ClusterRole
	if err := shared.client.Get(t.Context(), client.ObjectKey{Name: serviceAccount}, &whole); err != nil {
		t.Fatal(err)
	}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, rule := range whole.DeepCopy().Rules {
		rule.Resources = slices.DeleteFunc(rule.Resources, func(r string) bool { return r == resource })
		if len(rule.Resources) > 0 { // a rule of none is refused
			role.Rules = append(role.Rules, rule)
		}
	}
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: systemNamespace, Name: name}}
	for _, o := range []client.Object{
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: name}}, role,
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}},
		// Its Secret, as the manifests grant it.
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: name}, Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: serviceAccount}},
	} {
		if err := shared.client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = shared.client.Delete(context.Background(), o) })
	}
	return func() {
		t.Helper()
		role.Rules = whole.Rules
		if err := shared.client.Update(t.Context(), role); err != nil {
			t.Fatal(err)
		}
	}
}
