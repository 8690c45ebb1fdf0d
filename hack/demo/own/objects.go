package own

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// Names of what is created. All of it carries the label managed-by, and only
// what does is ever removed.
const (
	systemNamespace = "reanchor-demo"
	appNamespace    = "reanchor-demo-shop"
	controllerName  = "reanchor-demo-controller"
	meshName        = "reanchor-demo"
	bundleName      = "trust-roots"
	bundleKey       = "ca.crt"

	managedBy = "app.kubernetes.io/managed-by"
	demo      = "reanchor-demo"
)

// labelled marks an object as the demo's.
func labelled[T client.Object](o T) T {
	labels := o.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[managedBy] = demo
	o.SetLabels(labels)
	return o
}

func crd() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetAPIVersion("apiextensions.k8s.io/v1")
	u.SetKind("CustomResourceDefinition")
	return u
}

// vacant returns an error when the cluster has what the demo would create: it
// keeps its hands off an installation.
func (w *world) vacant(ctx context.Context) error {
	for _, o := range w.clusterScoped() {
		switch err := w.client.Get(ctx, client.ObjectKeyFromObject(o), o); {
		case apierrors.IsNotFound(err):
		case err != nil:
			return fmt.Errorf("looking for what is there already: %w", err)
		case o.GetLabels()[managedBy] == demo:
			return fmt.Errorf("%s is left from an earlier run; remove it with --remove", o.GetName())
		default:
			return fmt.Errorf("%s is there already, and not by this demo: it is for a cluster without Reanchor", o.GetName())
		}
	}
	return nil
}

// clusterScoped are the objects that hold all others, or stand alone; without
// their content.
func (w *world) clusterScoped() []client.Object {
	var out []client.Object
	for _, name := range []string{"meshtrusts.reanchor.dev", "anchorrotations.reanchor.dev"} {
		c := crd()
		c.SetName(name)
		out = append(out, c)
	}
	for _, name := range []string{systemNamespace, appNamespace} {
		out = append(out, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	meta := metav1.ObjectMeta{Name: controllerName}
	return append(out, &rbacv1.ClusterRole{ObjectMeta: meta}, &rbacv1.ClusterRoleBinding{ObjectMeta: meta})
}

// create makes everything but the mesh and its pods.
func (w *world) create(ctx context.Context) error {
	w.heading("Installing the CRDs and the controller's rights")
	crds, err := w.crds()
	if err != nil {
		return err
	}
	objects := crds
	for _, name := range []string{systemNamespace, appNamespace} {
		objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	rights, err := w.rights()
	if err != nil {
		return err
	}
	for _, o := range append(objects, rights...) {
		if err := w.client.Create(ctx, labelled(o)); err != nil {
			return fmt.Errorf("creating %s: %w", o.GetName(), err)
		}
	}
	return w.await(ctx, time.Minute, "the CRDs to be served", func() (bool, error) {
		var list v1alpha1.MeshTrustList
		return w.client.List(ctx, &list) == nil, nil
	})
}

func (w *world) crds() ([]client.Object, error) {
	files, err := filepath.Glob(filepath.Join(w.options.Root, "manifests/crds/*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("there are no CRDs below %q: run it in the folder of the project (%w)", w.options.Root, errors.Join(err))
	}
	var out []client.Object
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading a CRD: %w", err)
		}
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, &u.Object); err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		out = append(out, u)
	}
	return out, nil
}

// rights are the manifests' own, cut to the demo: what the controller reads it
// may read everywhere, and what it writes to workloads it may write in the
// demo's namespace alone.
func (w *world) rights() ([]client.Object, error) {
	whole, err := w.clusterRole()
	if err != nil {
		return nil, err
	}
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: systemNamespace, Name: controllerName}}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: controllerName}}
	here := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: appNamespace, Name: controllerName}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{bundleName}, Verbs: []string{"get", "list", "watch"},
	}}}
	for _, rule := range whole.Rules {
		reads, writes := split(rule)
		role.Rules = append(role.Rules, reads...)
		if slices.Contains(rule.APIGroups, v1alpha1.GroupVersion.Group) || slices.Contains(rule.Resources, "events") {
			role.Rules = append(role.Rules, writes...)
		} else {
			here.Rules = append(here.Rules, writes...)
		}
	}
	return []client.Object{
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: controllerName}}, role, here,
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: controllerName}, Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: controllerName},
		},
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: appNamespace, Name: controllerName}, Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: controllerName},
		},
	}, nil
}

// clusterRole is the controller's, as it is installed.
func (w *world) clusterRole() (*rbacv1.ClusterRole, error) {
	text, err := os.ReadFile(filepath.Join(w.options.Root, "manifests/controller/rbac.yaml"))
	if err != nil {
		return nil, fmt.Errorf("reading the controller's rights: %w", err)
	}
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		role := &rbacv1.ClusterRole{}
		if err := decoder.Decode(role); err != nil {
			return nil, fmt.Errorf("finding the ClusterRole among the controller's rights: %w", err)
		}
		if role.Kind == "ClusterRole" {
			return role, nil
		}
	}
}

// split parts a rule into what reads and what writes.
func split(rule rbacv1.PolicyRule) (reads, writes []rbacv1.PolicyRule) {
	reading := func(verb string) bool { return slices.Contains([]string{"get", "list", "watch"}, verb) }
	r, w := *rule.DeepCopy(), *rule.DeepCopy()
	r.Verbs = slices.DeleteFunc(r.Verbs, func(v string) bool { return !reading(v) })
	w.Verbs = slices.DeleteFunc(w.Verbs, reading)
	if len(r.Verbs) > 0 {
		reads = append(reads, r)
	}
	if len(w.Verbs) > 0 {
		writes = append(writes, w)
	}
	return reads, writes
}
