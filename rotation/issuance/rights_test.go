package issuance_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// missing asks with the answers of allowed.
func (w *world) missing(allowed func(*authorizationv1.ResourceAttributes) bool) string {
	w.Helper()
	w.start()
	w.store.Client = interceptor.NewClient(w.client.(client.WithWatch), interceptor.Funcs{
		Create: func(_ context.Context, _ client.WithWatch, o client.Object, _ ...client.CreateOption) error {
			review := o.(*authorizationv1.SelfSubjectAccessReview)
			review.Status.Allowed = allowed(review.Spec.ResourceAttributes)
			return nil
		},
	})
	text, err := w.store.Missing(w.Context(), w.mt)
	if err != nil {
		w.Fatal(err)
	}
	return text
}

func TestWhatIsMissingIsWrittenAsRoles(t *testing.T) {
	w := newWorld(t, v1alpha1.LayoutGenerations)
	w.add("apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {namespace: shop, name: other}\nspec: {secretName: x, issuerRef: {name: linkerd-identity-issuer, kind: ClusterIssuer}}\n")
	got := w.missing(func(a *authorizationv1.ResourceAttributes) bool {
		return a.Namespace != "shop" && a.Resource != "secrets" && (a.Resource != "clusterissuers" || a.Verb == "get")
	})
	want := `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: reanchor-rotation
rules:
- apiGroups:
  - cert-manager.io
  resourceNames:
  - linkerd-identity-issuer
  resources:
  - clusterissuers
  verbs:
  - patch
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: reanchor-rotation
  namespace: cert-manager
rules:
- apiGroups:
  - ""
  resourceNames:
  - linkerd-anchor-carried
  resources:
  - secrets
  verbs:
  - get
  - create
  - patch
  - delete
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: reanchor-rotation
  namespace: shop
rules:
- apiGroups:
  - cert-manager.io
  resources:
  - certificaterequests
  verbs:
  - list
- apiGroups:
  - cert-manager.io
  resourceNames:
  - other
  resources:
  - certificates
  verbs:
  - patch
- apiGroups:
  - cert-manager.io
  resourceNames:
  - other
  resources:
  - certificates/status
  verbs:
  - patch
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
}

func TestNothingIsMissing(t *testing.T) {
	w := newWorld(t, v1alpha1.LayoutInPlace)
	if got := w.missing(func(*authorizationv1.ResourceAttributes) bool { return true }); got != "" {
		t.Errorf("missing:\n%s", got)
	}
	w.mt.Spec.Rotation = nil
	if got := w.missing(func(*authorizationv1.ResourceAttributes) bool { return false }); got != "" {
		t.Errorf("without a rotation is missing:\n%s", got)
	}
}
