package rotation

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
	"github.com/reanchor/reanchor/hack/local"
)

// grant gives the controller the rights of the manifests for this mesh: those of
// its layout, with the names of its objects in the place of the documented ones,
// as the README beside them has users do it.
func (w *world) grant() {
	w.Helper()
	var files []string
	if w.Mesh.Mesh != linkerd.DefaultName {
		files = append(files, "linkerd-rbac.yaml", "rbac.yaml")
	}
	if rotation := w.trust.Spec.Rotation; rotation != nil {
		files = append(files, w.component()+"/rbac.yaml")
		if rotation.BundleWriter == v1alpha1.BundleWriterReanchor {
			files = append(files, "rotation/bundlewriter/rbac.yaml")
		}
	}
	for _, file := range files {
		w.grantFile(file)
	}
}

// component is the folder of manifests/controller with the rights of the layout.
func (w *world) component() string {
	if w.trust.Spec.Rotation.Layout == v1alpha1.LayoutGenerations {
		return "rotation/generations"
	}
	return "rotation/inplace"
}

// grantFile gives the rights of one file of manifests/controller.
func (w *world) grantFile(file string) {
	w.Helper()
	path := filepath.Join("../../manifests/controller", file)
	text, err := os.ReadFile(path)
	w.check(err)
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		w.check(err)
		u := &unstructured.Unstructured{}
		w.check(utilyaml.Unmarshal(document, &u.Object))
		if u.GetNamespace() == "" && filepath.Base(filepath.Dir(path)) == "controller" {
			continue // cluster-wide, and there already
		}
		if u.GetKind() == "Role" && w.trust.Spec.Issuer.CertificateRef != nil && filepath.Base(file) == "linkerd-rbac.yaml" {
			w.withoutSecrets(u) // as the file has it for such a MeshTrust
		}
		w.rename(u)
		w.grantObject(u)
	}
}

// withoutSecrets takes the rule that names a Secret out of a role.
func (w *world) withoutSecrets(u *unstructured.Unstructured) {
	w.Helper()
	rules, _, err := unstructured.NestedSlice(u.Object, "rules")
	w.check(err)
	kept := slices.DeleteFunc(slices.Clone(rules), func(rule any) bool {
		resources, _, _ := unstructured.NestedStringSlice(rule.(map[string]any), "resources")
		return slices.Contains(resources, "secrets")
	})
	if len(kept) != len(rules)-1 {
		w.Fatalf("%s %s has %d rules with Secrets, want one", u.GetKind(), u.GetName(), len(rules)-len(kept))
	}
	w.check(unstructured.SetNestedSlice(u.Object, kept, "rules"))
}

// grantObject creates a role or a binding.
func (w *world) grantObject(u *unstructured.Unstructured) {
	w.Helper()
	err := retry.OnError(retry.DefaultBackoff, apierrors.IsTimeout, func() error { return w.Client.Create(w.Context(), u) })
	w.check(client.IgnoreAlreadyExists(err))
}

// rename puts the mesh's names in the place of the documented ones.
func (w *world) rename(u *unstructured.Unstructured) {
	if w.Mesh.Mesh == linkerd.DefaultName {
		return
	}
	suffix := "-" + w.Mesh.Mesh
	installed.note(u.GetKind()+" "+u.GetName()+suffix, u.GetKind()+" "+u.GetName())
	switch u.GetNamespace() {
	case "linkerd":
		u.SetNamespace(w.Mesh.Mesh)
	case "reanchor-probe":
		u.SetNamespace(w.Probe)
	}
	u.SetName(u.GetName() + suffix)
	if ref, found, _ := unstructured.NestedString(u.Object, "roleRef", "name"); found {
		_ = unstructured.SetNestedField(u.Object, ref+suffix, "roleRef", "name")
	}
	rules, _, _ := unstructured.NestedSlice(u.Object, "rules")
	for _, rule := range rules {
		fields := rule.(map[string]any)
		names, _, _ := unstructured.NestedStringSlice(fields, "resourceNames")
		if len(names) == 0 {
			continue
		}
		resources, _, _ := unstructured.NestedStringSlice(fields, "resources")
		for i := range names {
			names[i] = w.renamed(names[i], slices.Contains(resources, "clusterissuers"))
		}
		_ = unstructured.SetNestedStringSlice(fields, names, "resourceNames")
	}
	if len(rules) > 0 {
		_ = unstructured.SetNestedSlice(u.Object, rules, "rules")
	}
}

func (w *world) renamed(name string, clusterIssuer bool) string {
	switch {
	case clusterIssuer:
		return w.ClusterIssuer
	case name == "linkerd-anchor-kept" || name == "linkerd-anchor-carried":
		return w.Mesh.Mesh + name[len("linkerd"):]
	case name == "linkerd-identity-trust-roots":
		return w.Bundle
	case name == "linkerd-trust-anchor":
		return w.AnchorKey().Name
	case name == "linkerd-previous-anchor":
		return w.PreviousKey().Name
	default:
		return name
	}
}

// generations is a whole rotation of the default layout, under roles that name no
// Secret but that of carried anchors. That they name no other is asked of the API
// server, for a binding that is not of these files would count as well. On its way it
// gets stuck, for want of a right and of a bundle, and goes on by itself.
func generations(t *T) {
	w := newWorld(t, smallGenerations("generations"), nil)
	w.converged()
	thaw, grant := w.freeze(), w.revoke()
	w.rotate()
	w.stuckInPreflight(grant)
	w.stuckInWiden(thaw)
	w.startNarrow()
	run := w.complete(long)
	w.check(w.blockedMetric(0))
	w.rotated()
	own := client.ObjectKey{Namespace: linkerd.TrustNamespace, Name: w.Mesh.Mesh + "-anchor-carried"}
	if !w.maySecret("get", own) {
		t.Errorf("the controller may not read Secret %s, which is its own: the test shows nothing", own)
	}
	next := client.ObjectKey{Namespace: linkerd.TrustNamespace, Name: run.Status.ToAnchor.SecretName}
	for _, key := range []client.ObjectKey{w.IssuerKey(), w.AnchorKey(), next, {Namespace: w.Mesh.Mesh}, {Namespace: linkerd.TrustNamespace}, {}} {
		for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"} {
			if w.maySecret(verb, key) {
				t.Errorf("the controller may %s Secret %q", verb, key)
			}
		}
	}
}

// revoke takes the right to renew the mesh's issuer from the controller. A right on
// anchors it would have all the same, by the roles of the other meshes.
func (w *world) revoke() (grant func()) {
	w.Helper()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{
		Namespace: w.Mesh.Mesh, Name: "reanchor-" + strings.ReplaceAll(w.component(), "/", "-") + "-" + w.Mesh.Mesh,
	}}
	w.check(w.Client.Delete(w.Context(), role))
	await := func(want bool) {
		w.Helper()
		w.eventually(time.Minute, func() error {
			if w.mayRenewIssuer() != want {
				return fmt.Errorf("that the controller may renew the issuer is still %t", !want)
			}
			return nil
		})
	}
	await(false)
	return func() {
		w.Helper()
		w.grantFile(w.component() + "/rbac.yaml")
		await(true)
	}
}

// mayRenewIssuer asks whether the controller may have the mesh's issuer renewed.
func (w *world) mayRenewIssuer() bool {
	w.Helper()
	key := w.IssuerKey()
	return w.may(authorizationv1.ResourceAttributes{
		Verb: "patch", Group: "cert-manager.io", Resource: "certificates", Subresource: "status", Version: "v1", Namespace: key.Namespace, Name: key.Name,
	})
}

// maySecret asks whether the controller has a verb on a Secret; on all of a
// namespace, or of the cluster, where the key is not whole.
func (w *world) maySecret(verb string, key client.ObjectKey) bool {
	w.Helper()
	return w.may(authorizationv1.ResourceAttributes{Verb: verb, Resource: "secrets", Version: "v1", Namespace: key.Namespace, Name: key.Name})
}

// may asks whether the controller has a right.
func (w *world) may(do authorizationv1.ResourceAttributes) bool {
	w.Helper()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: "system:serviceaccount:" + local.Namespace + ":reanchor-controller", ResourceAttributes: &do,
	}}
	w.check(w.Client.Create(w.Context(), review))
	return review.Status.Allowed
}
