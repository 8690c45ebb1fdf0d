package issuance_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/issuance"
	"github.com/reanchor/reanchor/rotation/record"
)

// missing asks with the answers of allowed.
func (w *world) missing(allowed func(*authorizationv1.ResourceAttributes) bool) issuance.Missing {
	w.Helper()
	w.start()
	w.store.Client = interceptor.NewClient(w.client.(client.WithWatch), interceptor.Funcs{
		Create: func(_ context.Context, _ client.WithWatch, o client.Object, _ ...client.CreateOption) error {
			review := o.(*authorizationv1.SelfSubjectAccessReview)
			review.Status.Allowed = allowed(review.Spec.ResourceAttributes)
			return nil
		},
	})
	missing, err := w.store.Missing(w.Context(), w.mt)
	if err != nil {
		w.Fatal(err)
	}
	return missing
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
  name: reanchor-rotation-b105e7c4
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
kind: ClusterRoleBinding
metadata:
  name: reanchor-rotation-b105e7c4
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: reanchor-rotation-b105e7c4
subjects:
- kind: ServiceAccount
  name: reanchor-controller
  namespace: reanchor-system
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: reanchor-rotation-5005279a
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
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: reanchor-rotation-5005279a
  namespace: cert-manager
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: reanchor-rotation-5005279a
subjects:
- kind: ServiceAccount
  name: reanchor-controller
  namespace: reanchor-system
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: reanchor-rotation-423c783a
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
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: reanchor-rotation-423c783a
  namespace: shop
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: reanchor-rotation-423c783a
subjects:
- kind: ServiceAccount
  name: reanchor-controller
  namespace: reanchor-system
`
	if diff := cmp.Diff(want, got.YAML); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	const advice = "the controller lacks rights that the rotation needs: add manifests/controller/rotation/generations to the installation, " +
		"with the names that the MeshTrust gives, or apply the YAML that the controller has logged, " +
		"which binds them to ServiceAccount reanchor-system/reanchor-controller; missing: " +
		"patch clusterissuers linkerd-identity-issuer; " +
		"get, create, patch secrets linkerd-anchor-carried in cert-manager; " +
		"list certificaterequests in shop; patch certificates other in shop; patch certificates/status other in shop"
	if diff := cmp.Diff(advice, got.Advice); diff != "" {
		t.Errorf("advice (-want +got):\n%s", diff)
	}
}

// What is to be added is there, and bound to the same ServiceAccount as what the
// controller has.
func TestTheAdviceNamesWhatThereIs(t *testing.T) {
	const root, folder = "../../", "manifests/controller/rotation/"
	for name, tc := range map[string]struct {
		layout v1alpha1.Layout
		writer v1alpha1.BundleWriter
		want   []string
	}{
		"generations":              {v1alpha1.LayoutGenerations, v1alpha1.BundleWriterTrustManager, []string{"generations"}},
		"in place":                 {v1alpha1.LayoutInPlace, v1alpha1.BundleWriterTrustManager, []string{"inplace"}},
		"with a bundle of its own": {v1alpha1.LayoutGenerations, v1alpha1.BundleWriterReanchor, []string{"generations", "bundlewriter"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tc.layout)
			w.mt.Spec.Rotation.BundleWriter = tc.writer
			advice := w.missing(func(*authorizationv1.ResourceAttributes) bool { return false }).Advice
			for _, component := range []string{"generations", "inplace", "bundlewriter"} {
				if strings.Contains(advice, folder+component) != slices.Contains(tc.want, component) {
					t.Errorf("%s is named wrongly: %s", component, advice)
				}
			}
			for _, component := range tc.want {
				text, err := os.ReadFile(root + folder + component + "/rbac.yaml")
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(string(text), "{kind: ServiceAccount, name: reanchor-controller, namespace: reanchor-system}") {
					t.Errorf("%s binds another ServiceAccount than the advice names", component)
				}
			}
			if !strings.Contains(record.Clip(advice), "reanchor-system/reanchor-controller") {
				t.Errorf("what to do does not fit into a message: %s", advice)
			}
		})
	}
}

func TestNothingIsMissing(t *testing.T) {
	w := newWorld(t, v1alpha1.LayoutInPlace)
	if got := w.missing(func(*authorizationv1.ResourceAttributes) bool { return true }); got != (issuance.Missing{}) {
		t.Errorf("missing:\n%s", got.YAML)
	}
	w.mt.Spec.Rotation = nil
	if got := w.missing(func(*authorizationv1.ResourceAttributes) bool { return false }); got != (issuance.Missing{}) {
		t.Errorf("without a rotation is missing:\n%s", got.YAML)
	}
}
