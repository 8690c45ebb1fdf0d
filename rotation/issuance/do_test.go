package issuance_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

// An admission webhook may answer with the object that it refused.
func TestNoErrorQuotesACertificateOrAKey(t *testing.T) {
	w := newWorld(t, v1alpha1.LayoutInPlace)
	key := w.a.KeyPEM()
	resource := schema.GroupResource{Resource: "secrets"}
	for name, tc := range map[string]struct {
		err  error
		is   func(error) bool
		kept string
	}{
		"a key":                       {apierrors.NewForbidden(resource, "x", errors.New(key)), apierrors.IsForbidden, ""},
		"a key in base64":             {apierrors.NewConflict(resource, "x", errors.New("data: "+encoded(key))), apierrors.IsConflict, ""},
		"a certificate":               {apierrors.NewBadRequest(w.a.PEM()), apierrors.IsBadRequest, ""},
		"a key in an error of no API": {errors.New(key), func(err error) bool { return !apierrors.IsConflict(err) }, ""},
		"nothing of that":             {apierrors.NewForbidden(resource, "x", errors.New("policy 7 says no")), apierrors.IsForbidden, "policy 7 says no"},
	} {
		t.Run(name, func(t *testing.T) {
			w.start()
			w.store.Client = interceptor.NewClient(w.client.(client.WithWatch), interceptor.Funcs{
				Apply: func(context.Context, client.WithWatch, runtime.ApplyConfiguration, ...client.ApplyOption) error {
					return tc.err
				},
			})
			err := w.store.Do(t.Context(), w.mt, lifecycle.Action{Verb: lifecycle.WriteArchive, Set: setOf(w.a)})
			if err == nil || !tc.is(err) || !strings.Contains(err.Error(), tc.kept) {
				t.Fatalf("the error is %v", err)
			}
			for _, line := range append(strings.Split(key, "\n"), strings.Split(w.a.PEM(), "\n")...) {
				if len(line) > 20 && (strings.Contains(err.Error(), line) || strings.Contains(err.Error(), encoded(key)[:40])) {
					t.Fatal("the error quotes what it must not")
				}
			}
		})
	}
}

func TestAnActionThatCannotBeCarriedOutIsAnErrorAndNoConflict(t *testing.T) {
	for name, tc := range map[string]struct {
		layout v1alpha1.Layout
		action lifecycle.Action
		change func(w *world)
		want   string
	}{
		"no rotation":          {v1alpha1.LayoutGenerations, lifecycle.Action{Verb: lifecycle.Renew}, func(w *world) { w.mt.Spec.Rotation = nil }, "has no spec.rotation"},
		"no verb":              {v1alpha1.LayoutGenerations, lifecycle.Action{Verb: "Dance"}, func(*world) {}, "no such verb"},
		"a bundle made empty":  {v1alpha1.LayoutGenerations, lifecycle.Action{Verb: lifecycle.WriteBundle}, func(*world) {}, "must not be emptied"},
		"a carrier made empty": {v1alpha1.LayoutGenerations, lifecycle.Action{Verb: lifecycle.WriteCarrier, ResourceVersion: "1"}, func(*world) {}, "must not be emptied"},
		"a carrier where there is none": {v1alpha1.LayoutGenerations, lifecycle.Action{Verb: lifecycle.WriteCarrier}, func(w *world) {
			w.mt.Spec.Rotation.BundleWriter = v1alpha1.BundleWriterReanchor
		}, "no Secret for carried anchors"},
		"a signing service of an unknown kind": {v1alpha1.LayoutGenerations, lifecycle.Action{
			Verb: lifecycle.RestartIdentity, Workload: v1alpha1.WorkloadRef{Kind: "Rollout", Group: "argoproj.io"},
		}, func(*world) {}, "is a Rollout"},
		"a generation of somebody else": {v1alpha1.LayoutGenerations, lifecycle.Action{
			Verb: lifecycle.CreateAnchor, Object: v1alpha1.ObjectRef{Namespace: "cert-manager", Name: "linkerd-anchor-2"}, Secret: "x",
		}, func(w *world) {
			w.add("apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {namespace: cert-manager, name: linkerd-anchor-2}\n")
		}, "lacks the label reanchor.dev/anchor-of: linkerd"},
		"an anchor without a key is not worth keeping": {v1alpha1.LayoutInPlace, lifecycle.Action{
			Verb: lifecycle.KeepAnchor, Object: v1alpha1.ObjectRef{Namespace: "cert-manager", Name: "linkerd-trust-anchor"}, Secret: "kept",
		}, func(w *world) { w.add(secret("linkerd-trust-anchor", w.a.PEM())) }, "holds no key"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tc.layout)
			tc.change(w)
			w.start()
			if tc.action.Verb == lifecycle.KeepAnchor {
				tc.action.Anchor = w.a.Fingerprint()
			}
			err := w.store.Do(t.Context(), w.mt, tc.action)
			if err == nil || apierrors.IsConflict(err) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error is %v, want %q", err, tc.want)
			}
		})
	}
}

// A cert-manager without spec.renewal renews a generation as late as it lets.
func TestAGenerationOfAnOlderCertManager(t *testing.T) {
	w := newWorld(t, v1alpha1.LayoutGenerations)
	w.remove("CustomResourceDefinition/certificates.cert-manager.io")
	w.mt.Spec.Rotation.AnchorTemplate = &v1alpha1.AnchorTemplate{Organizations: []string{"shop"}}
	w.start()
	create := lifecycle.Action{Verb: lifecycle.CreateAnchor, Object: v1alpha1.ObjectRef{Namespace: "cert-manager", Name: "linkerd-anchor-1"}, Secret: "s"}
	if err := w.store.Do(t.Context(), w.mt, create); err != nil {
		t.Fatal(err)
	}
	u := w.get("Certificate", "cert-manager", "linkerd-anchor-1")
	spec, _ := yaml.Marshal(u.Object["spec"])
	want := `commonName: root.linkerd.cluster.local
duration: 8760h0m0s
isCA: true
issuerRef:
  group: cert-manager.io
  kind: Issuer
  name: linkerd-trust-root-issuer
privateKey:
  algorithm: ECDSA
  rotationPolicy: Always
  size: 256
renewBefore: 5m
secretName: s
subject:
  organizations:
  - shop
`
	if string(spec) != want {
		t.Errorf("the Certificate is\n%swant\n%s", spec, want)
	}
}

// I6, as far as manifests can tell: Secrets by their names only, and with
// Generations none that holds a key.
func TestTheManifestsGrantNoSecretsButTheNamed(t *testing.T) {
	for component, want := range map[string][]string{
		"generations":  {"linkerd-anchor-carried"},
		"inplace":      {"linkerd-anchor-kept", "linkerd-previous-anchor", "linkerd-trust-anchor"},
		"bundlewriter": nil,
	} {
		text, err := os.ReadFile(manifests + "/rotation/" + component + "/rbac.yaml")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, document := range split(string(text)) {
			var role rbacv1.Role // a ClusterRole has the same rules
			if err := yaml.Unmarshal([]byte(document), &role); err != nil {
				t.Fatal(err)
			}
			for _, rule := range role.Rules {
				if slices.Contains(rule.Resources, "*") || slices.Contains(rule.Verbs, "*") {
					t.Errorf("%s: a rule for everything: %v", component, rule)
				}
				if !slices.Contains(rule.Resources, "secrets") {
					continue
				}
				if len(rule.ResourceNames) == 0 || slices.Contains(rule.Verbs, "list") || slices.Contains(rule.Verbs, "watch") {
					t.Errorf("%s: Secrets without a name: %v", component, rule)
				}
				got = append(got, rule.ResourceNames...)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s grants the Secrets %v, want %v", component, got, want)
		}
	}
}
