package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
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

// A replica is ready when it has read what it decides from, whether it leads or
// waits for the lead; until then it says what it waits for.
func TestAReplicaIsReadyOnceItHasReadTheCluster(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{spec: quick()})
	m.awaitConverged(time.Minute, m.root) // so the other replica leads

	t.Run("a replica that does not lead is ready", func(t *testing.T) {
		health, metrics := startReplica(t, filepath.Join(filepath.Dir(env.leader.Log), "reanchor-controller.kubeconfig"))
		eventually(t, time.Minute, func() error { return answers(health+"/readyz", http.StatusOK, "") })
		if err := answers(metrics+"/metrics", http.StatusOK, `leader_election_master_status{name="reanchor-controller"} 0`); err != nil {
			t.Errorf("the replica is not one that waits: %v", err)
		}
	})
	for what, from := range map[string]func(*rbacv1.PolicyRule) bool{
		"nodes":       func(r *rbacv1.PolicyRule) bool { return drop(&r.Resources, "nodes") },
		"deployments": func(r *rbacv1.PolicyRule) bool { return drop(&r.Resources, "deployments") },
		"pods":        func(r *rbacv1.PolicyRule) bool { return drop(&r.Resources, "pods") },
	} {
		t.Run("one that may not read "+what+" is alive and not ready until it may", func(t *testing.T) {
			name := "reader-without-" + what
			complete := readerWithout(t, name, from)
			kubeconfig, err := kubeconfigFor(t.Context(), t.TempDir(), name)
			if err != nil {
				t.Fatal(err)
			}
			health, _ := startReplica(t, kubeconfig)
			word := map[string]string{"nodes": "Node", "deployments": "Deployment", "pods": "pods"}[what]
			eventually(t, time.Minute, func() error { return answers(health+"/readyz/caches", http.StatusInternalServerError, word) })
			stays(t, 2*time.Second, func() error { return answers(health+"/readyz", http.StatusInternalServerError, "") })
			if err := answers(health+"/healthz", http.StatusOK, ""); err != nil {
				t.Error(err)
			}
			complete()
			// The watches try again after pauses that grow.
			eventually(t, time.Minute, func() error { return answers(health+"/readyz", http.StatusOK, "") })
		})
	}
}

// drop removes a word, and reports whether it was there.
func drop(words *[]string, word string) bool {
	before := len(*words)
	*words = slices.DeleteFunc(*words, func(w string) bool { return w == word })
	return len(*words) < before
}

// readerWithout creates a service account that may read all that the controller
// may, but for one thing, and nothing else; with no lease it never leads. The
// returned function grants the rest.
func readerWithout(t *testing.T, name string, without func(*rbacv1.PolicyRule) bool) func() {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "reanchor-system", Name: name}}
	whole := get(t, "", "reanchor-controller", &rbacv1.ClusterRole{})
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}}
	var rest []rbacv1.PolicyRule
	for _, rule := range whole.Rules {
		rule.Verbs = slices.DeleteFunc(slices.Clone(rule.Verbs), func(v string) bool { return !slices.Contains([]string{"get", "list", "watch"}, v) })
		if len(rule.Verbs) == 0 {
			continue
		}
		less := *rule.DeepCopy()
		if without(&less) {
			rest = append(rest, rule)
		}
		if len(less.Resources) > 0 {
			role.Rules = append(role.Rules, less)
		}
	}
	if len(rest) == 0 {
		t.Fatal("the controller may not read it either")
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: account.Namespace, Name: name}},
	}
	for _, o := range []client.Object{account, role, binding} {
		create(t, o)
		t.Cleanup(func() { env.client.Delete(context.Background(), o) })
	}
	return func() {
		before := role.DeepCopy()
		role.Rules = append(role.Rules, rest...)
		if err := env.client.Patch(t.Context(), role, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
}

// startReplica starts one more controller and returns the URLs of its health
// and its metrics.
func startReplica(t *testing.T, kubeconfig string) (health, metrics string) {
	t.Helper()
	health, metrics = freeAddress(t), freeAddress(t)
	process, err := local.StartProcess(filepath.Join(t.TempDir(), "log"), env.program, "controller", "--kubeconfig", kubeconfig,
		"--lease-duration=3s", "--health-address", health, "--metrics-address", metrics)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.Stop)
	return "http://" + health, "http://" + metrics
}

// answers returns an error unless the URL answers with the status and a text
// that holds a word.
func answers(url string, status int, word string) error {
	c := &http.Client{Timeout: 2 * time.Second}
	defer c.CloseIdleConnections()
	response, err := c.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != status || !strings.Contains(string(body), word) {
		return fmt.Errorf("%s answers %s %.300q, want %d with %q", url, response.Status, body, status, word)
	}
	return nil
}
