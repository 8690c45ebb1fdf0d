// Package audit tells what a service account really did while tests ran, from
// the audit log of their API server: which permissions it used, since one that
// whole scenarios never used is one too many (whoever steals the account has it);
// and what it asked for in a while in which it must not write.
package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Log is the audit log of one service account.
type Log struct{ policy, path string }

// New prepares a log of what a service account does, in a folder that exists.
func New(dir, namespace, serviceAccount string) (*Log, error) {
	l := &Log{policy: filepath.Join(dir, "audit-policy.yaml"), path: filepath.Join(dir, "audit.log")}
	policy := fmt.Sprintf(`apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: ["system:serviceaccount:%s:%s"]
- level: None
`, namespace, serviceAccount)
	if err := os.WriteFile(l.policy, []byte(policy), 0o600); err != nil {
		return nil, fmt.Errorf("writing the audit policy: %w", err)
	}
	return l, nil
}

// Args are flags for the API server.
func (l *Log) Args() []string {
	return []string{"--audit-policy-file=" + l.policy, "--audit-log-path=" + l.path, "--audit-log-maxsize=1000"}
}

// Permission is one verb on one resource, by a role.
type Permission struct {
	// Role is the kind and the name of the role.
	Role string
	// Group is the API group; Resource is followed by /SUBRESOURCE if there is
	// one.
	Group, Resource, Verb string
}

// String says it as a sentence would.
func (p Permission) String() string {
	group := p.Group
	if group == "" {
		group = "core"
	}
	return fmt.Sprintf("%s %s of %s by %s", p.Verb, p.Resource, group, p.Role)
}

// event is as much of an audit event as is needed.
type event struct {
	Verb                     string    `json:"verb"`
	RequestURI               string    `json:"requestURI"`
	RequestReceivedTimestamp time.Time `json:"requestReceivedTimestamp"`
	ObjectRef                *struct {
		Resource    string `json:"resource"`
		APIGroup    string `json:"apiGroup"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	ResponseStatus *struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	Annotations map[string]string `json:"annotations"`
}

// Used returns the permissions that allowed a request. A patch that created its
// object, as server-side apply does, was asked for both verbs; the log names the
// role for the first only, and the second is taken to be that role's too.
func (l *Log) Used() (map[Permission]bool, error) {
	file, err := os.Open(l.path)
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	defer file.Close()
	used := map[Permission]bool{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("reading the audit log: %w", err)
		}
		if p, ok := e.permission(); ok {
			used[p] = true
			if e.created() {
				p.Verb = "create"
				used[p] = true
			}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	return used, nil
}

// permission is the one that allowed the request. RBAC says which role did.
func (e *event) permission() (Permission, bool) {
	role := regexp.MustCompile(` of ((?:Cluster)?Role "[^"]+") to `).FindStringSubmatch(e.Annotations["authorization.k8s.io/reason"])
	if role == nil || e.ObjectRef == nil || e.Annotations["authorization.k8s.io/decision"] != "allow" {
		return Permission{}, false
	}
	return Permission{strings.ReplaceAll(role[1], `"`, ""), e.ObjectRef.APIGroup, e.resource(), e.Verb}, true
}

func (e *event) created() bool {
	return e.Verb == "patch" && e.ResponseStatus != nil && e.ResponseStatus.Code == http.StatusCreated
}

// Granted returns the permissions that the roles of a file of manifests grant.
func Granted(path string) ([]Permission, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the roles: %w", err)
	}
	defer file.Close()
	var granted []Permission
	for decoder := yaml.NewYAMLOrJSONDecoder(file, 4096); ; {
		var role rbacv1.ClusterRole // a Role has the same fields
		err := decoder.Decode(&role)
		if errors.Is(err, io.EOF) {
			return granted, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the roles of %s: %w", path, err)
		}
		for _, rule := range role.Rules {
			granted = append(granted, expand(role.Kind+" "+role.Name, rule)...)
		}
	}
}

func expand(role string, rule rbacv1.PolicyRule) []Permission {
	var out []Permission
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				out = append(out, Permission{role, group, resource, verb})
			}
		}
	}
	return out
}

// EveryTest reports whether a test binary runs all of its tests: what some of
// them need says nothing of what their program may do without.
func EveryTest() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return false
		}
	}
	return true
}

// Check returns an error that names the granted permissions that were not used,
// except for those that are known to be for what no scenario here shows. An
// exception that was used after all, or is not granted, is an error too.
//
// A list goes with a watch: clients watch what they would list where the API
// server streams lists, which older ones do not.
func Check(used map[Permission]bool, granted []Permission, except map[Permission]string) error {
	used = maps.Clone(used)
	for p := range maps.Clone(used) {
		if p.Verb == "watch" {
			p.Verb = "list"
			used[p] = true
		}
	}
	var faults []error
	for _, p := range granted {
		if why := except[p]; !used[p] && why == "" {
			faults = append(faults, fmt.Errorf("no scenario needed the permission to %s: take it away, or show what it is for", p))
		}
	}
	for p, why := range except {
		if used[p] || !slices.Contains(granted, p) {
			faults = append(faults, fmt.Errorf("the permission to %s needs no exception (%s)", p, why))
		}
	}
	return errors.Join(faults...)
}
