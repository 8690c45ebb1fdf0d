package issuance

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// serviceAccount is the controller's name in its own namespace, as the manifests
// have it.
const serviceAccount = "reanchor-controller"

// Missing are rights that a rotation needs and the controller lacks.
type Missing struct {
	// Advice says what to do, and then what is missing, for a message that may be
	// cut off.
	Advice string
	// YAML has all that is missing: a Role for each namespace and a ClusterRole for
	// the rest, each bound to the controller.
	YAML string
}

func (s *Store) missing(r *v1alpha1.RotationSpec, rules map[string][]rbacv1.PolicyRule) (Missing, error) {
	if len(rules) == 0 {
		return Missing{}, nil
	}
	documents, err := s.grants(rules)
	if err != nil {
		return Missing{}, fmt.Errorf("writing the missing rights: %w", err)
	}
	return Missing{YAML: documents, Advice: fmt.Sprintf(
		"the controller lacks rights that the rotation needs: add %s to the installation, with the names that the MeshTrust gives, "+
			"or apply the YAML that the controller has logged, which binds them to ServiceAccount %s/%s; missing: %s",
		components(r), s.namespace(), serviceAccount, summary(rules))}, nil
}

// components are the parts of the installation that hold the rights.
func components(r *v1alpha1.RotationSpec) string {
	const folder = "manifests/controller/rotation/"
	out := folder + "generations"
	if r.Layout == v1alpha1.LayoutInPlace {
		out = folder + "inplace"
	}
	if r.BundleWriter == v1alpha1.BundleWriterReanchor {
		out += " and " + folder + "bundlewriter"
	}
	return out
}

// summary names the rights in a line.
func summary(rules map[string][]rbacv1.PolicyRule) string {
	var out []string
	for _, namespace := range slices.Sorted(maps.Keys(rules)) {
		for _, rule := range rules[namespace] {
			one := strings.Join(rule.Verbs, ", ") + " " + rule.Resources[0]
			if len(rule.ResourceNames) > 0 {
				one += " " + rule.ResourceNames[0]
			}
			if namespace != "" {
				one += " in " + namespace
			}
			out = append(out, one)
		}
	}
	return strings.Join(out, "; ")
}

// grants writes the rules as roles and their bindings, in the order of the
// namespaces.
func (s *Store) grants(rules map[string][]rbacv1.PolicyRule) (string, error) {
	var documents []string
	for _, namespace := range slices.Sorted(maps.Keys(rules)) {
		name, err := nameOf(rules[namespace])
		if err != nil {
			return "", err
		}
		for _, o := range s.grant(metav1.ObjectMeta{Namespace: namespace, Name: name}, rules[namespace]) {
			text, err := yaml.Marshal(o)
			if err != nil {
				return "", err
			}
			documents = append(documents, string(text))
		}
	}
	return strings.Join(documents, "---\n"), nil
}

// nameOf is a name of these rules alone. Under one name for all, whoever applies
// what is missing later would take away what was missing before.
func nameOf(rules []rbacv1.PolicyRule) (string, error) {
	text, err := yaml.Marshal(rules)
	sum := sha256.Sum256(text)
	return fmt.Sprintf("reanchor-rotation-%x", sum[:4]), err
}

// grant is a role and its binding, cluster-wide without a namespace.
func (s *Store) grant(m metav1.ObjectMeta, rules []rbacv1.PolicyRule) []any {
	typed := func(kind string) metav1.TypeMeta {
		return metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: kind}
	}
	refer := func(kind string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: m.Name}
	}
	to := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.namespace(), Name: serviceAccount}}
	if m.Namespace == "" {
		return []any{
			rbacv1.ClusterRole{TypeMeta: typed("ClusterRole"), ObjectMeta: m, Rules: rules},
			rbacv1.ClusterRoleBinding{TypeMeta: typed("ClusterRoleBinding"), ObjectMeta: m, RoleRef: refer("ClusterRole"), Subjects: to},
		}
	}
	return []any{
		rbacv1.Role{TypeMeta: typed("Role"), ObjectMeta: m, Rules: rules},
		rbacv1.RoleBinding{TypeMeta: typed("RoleBinding"), ObjectMeta: m, RoleRef: refer("Role"), Subjects: to},
	}
}
