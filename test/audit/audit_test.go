package audit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const roles = `apiVersion: v1
kind: ServiceAccount
metadata: {name: a}
---
kind: ClusterRole
metadata: {name: r}
rules:
- {apiGroups: [""], resources: [pods, pods/eviction], verbs: [list]}
- {apiGroups: [""], resources: [nodes], verbs: [list, watch]}
---
kind: Role
metadata: {name: r}
rules:
- {apiGroups: [apps], resources: [deployments], resourceNames: [d], verbs: [get, patch]}
- {apiGroups: [""], resources: [configmaps], resourceNames: [c], verbs: [create, patch]}
`

// Requests as an API server logs them.
const requests = `{"verb":"watch","objectRef":{"resource":"nodes"},"annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":"RBAC: allowed by ClusterRoleBinding \"b\" of ClusterRole \"r\" to ServiceAccount \"a/n\""}}
{"verb":"list","objectRef":{"resource":"pods"},"annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":"RBAC: allowed by ClusterRoleBinding \"b\" of ClusterRole \"r\" to ServiceAccount \"a/n\""}}
{"verb":"patch","objectRef":{"resource":"deployments","apiGroup":"apps"},"responseStatus":{"code":200},"annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":"RBAC: allowed by RoleBinding \"b/n\" of Role \"r\" to ServiceAccount \"a/n\""}}
{"verb":"patch","objectRef":{"resource":"configmaps"},"responseStatus":{"code":201},"annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":"RBAC: allowed by RoleBinding \"b/n\" of Role \"r\" to ServiceAccount \"a/n\""}}
{"verb":"get","objectRef":{"resource":"deployments","apiGroup":"apps"},"annotations":{"authorization.k8s.io/decision":"forbid","authorization.k8s.io/reason":""}}
{"verb":"list","objectRef":{"resource":"pods","subresource":"eviction"},"annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":"RBAC: allowed by ClusterRoleBinding \"b\" of ClusterRole \"another\" to ServiceAccount \"a/n\""}}
{"verb":"get","requestURI":"/api","annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":"RBAC: allowed by ClusterRoleBinding \"b\" of ClusterRole \"system:discovery\" to Group \"x\""}}
`

func TestPermissionsThatNothingUsedAreNamed(t *testing.T) {
	dir := t.TempDir()
	l, err := New(dir, "n", "a")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "roles.yaml")
	for path, text := range map[string]string{l.path: requests, file: roles} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	granted, err := Granted(file)
	if err != nil {
		t.Fatal(err)
	}
	eviction := Permission{"ClusterRole r", "", "pods/eviction", "list"}
	get := Permission{"Role r", "apps", "deployments", "get"}
	pods := Permission{"ClusterRole r", "", "pods", "list"}
	config := func(verb string) Permission { return Permission{"Role r", "", "configmaps", verb} }
	nodes := func(verb string) Permission { return Permission{"ClusterRole r", "", "nodes", verb} }
	if diff := cmp.Diff([]Permission{pods, eviction, nodes("list"), nodes("watch"), get, {"Role r", "apps", "deployments", "patch"}, config("create"), config("patch")}, granted); diff != "" {
		t.Error(diff)
	}
	for name, tc := range map[string]struct {
		except map[Permission]string
		says   []string
	}{
		"two were never used":                         {nil, []string{"list pods/eviction of core by ClusterRole r", "get deployments of apps by Role r"}},
		"one is an exception":                         {map[Permission]string{get: "x"}, []string{"list pods/eviction"}},
		"an exception that is none is an error":       {map[Permission]string{get: "x", eviction: "x", pods: "why"}, []string{"list pods of core by ClusterRole r needs no exception (why)"}},
		"an exception that nobody grants":             {map[Permission]string{get: "x", eviction: "x", {Verb: "delete"}: "y"}, []string{"to delete"}},
		"an apply that found its object created none": {map[Permission]string{get: "x", eviction: "x", {"Role r", "apps", "deployments", "create"}: "y"}, []string{"create deployments"}},
		"nothing is left":                             {map[Permission]string{get: "x", eviction: "x"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			used, err := l.Used()
			if err != nil {
				t.Fatal(err)
			}
			err = Check(used, granted, tc.except)
			if len(tc.says) == 0 != (err == nil) {
				t.Fatalf("%v", err)
			}
			for _, want := range tc.says {
				if !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "\n") != len(tc.says)-1 {
					t.Errorf("the error %q does not say just %q", err, tc.says)
				}
			}
		})
	}
}
