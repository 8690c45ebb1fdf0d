package rotation

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// linked: another cluster is linked, and a machine outside takes part. Whether they
// trust the new anchor only a human knows: each gate waits for an approval.
func linked(t *T) {
	w := newWorld(t, smallGenerations("linked"), nil)
	w.check(w.cluster.lab.InstallCRDs(t.Context(), "testdata"))
	link := w.outside("multicluster.linkerd.io", "v1alpha3", "Link")
	machine := w.outside("workload.linkerd.io", "v1beta1", "ExternalWorkload")
	// RESTMappers learn of a new kind in their own time.
	w.eventually(time.Minute, func() error { return w.Client.Create(t.Context(), link.DeepCopy()) })
	w.rotate()
	w.awaitApproval(v1alpha1.PhaseSwitchIssuer, v1alpha1.GateSwitchIssuer, "Link "+w.Namespace(0)+"/outside")
	w.holds(10*time.Second, w.unswitched)
	w.approve(v1alpha1.GateSwitchIssuer)
	w.awaitPhase(long, v1alpha1.PhaseDrainLeaves)
	w.check(w.Client.Delete(t.Context(), link))
	w.check(w.Client.Create(t.Context(), machine.DeepCopy()))
	w.awaitApproval(v1alpha1.PhaseNarrow, v1alpha1.GateNarrow, "ExternalWorkload "+w.Namespace(0)+"/outside")
	w.holds(10*time.Second, func() error {
		published, err := w.Published(t.Context())
		if err == nil && !published.Has(w.before) {
			err = fmt.Errorf("the old anchor is gone from the bundle: %s", published)
		}
		return err
	})
	w.approve(v1alpha1.GateNarrow)
	w.complete(long)
	w.rotated()
	w.check(w.Client.Delete(t.Context(), machine))
}

func (w *world) outside(group, version, kind string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: group, Version: version, Kind: kind})
	u.SetNamespace(w.Namespace(0))
	u.SetName("outside")
	return u
}

func (w *world) approve(gate v1alpha1.Gate) {
	w.Helper()
	approval := v1alpha1.Approval{Gate: gate}
	w.steer(func(s *v1alpha1.AnchorRotationSpec) {
		if !slices.Contains(s.Approvals, approval) {
			s.Approvals = append(s.Approvals, approval)
		}
	})
}

// older: a cert-manager that cannot hold back renewals (before 1.21), in place. An
// issuer that would renew itself before every pod trusts the new anchor is renewed
// first, under the old one.
func older(t *T) {
	o := small("older")
	o.Times.Issuer, o.Times.IssuerRenewBefore = 30*time.Minute, 27*time.Minute+30*time.Second
	w := newWorld(t, o, nil)
	w.converged()
	w.beforeRenewal(time.Minute)
	issuer := w.issuer()
	w.rotate(v1alpha1.GateSwitchIssuer, v1alpha1.GateNarrow)
	w.awaitPhase(long, v1alpha1.PhaseNewAnchor)
	if w.issuer() == issuer {
		t.Error("the issuer, which renews itself within a minute, was not renewed first")
	}
	w.check(w.unswitched())
	w.awaitRun(long, v1alpha1.ConditionSigningExposed, "")
	w.complete(long)
	w.rotated()
}

// withoutRenewalField takes spec.renewal out of cert-manager's CRD until the test
// and all its subtests have ended.
func withoutRenewalField(t *T) {
	t.Helper()
	crd := &unstructured.Unstructured{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	crd.SetName("certificates.cert-manager.io")
	var field any
	ctx := context.WithoutCancel(t.Context()) // it is put back when the test has ended
	change := func(edit func(spec map[string]any)) error {
		return retry.OnError(retry.DefaultRetry, apierrors.IsConflict, func() error {
			if err := t.cluster.client.Get(ctx, client.ObjectKeyFromObject(crd), crd); err != nil {
				return err
			}
			versions, _, err := unstructured.NestedSlice(crd.Object, "spec", "versions")
			if err != nil {
				return err
			}
			spec, _, err := unstructured.NestedMap(versions[0].(map[string]any), "schema", "openAPIV3Schema", "properties", "spec", "properties")
			if err != nil {
				return err
			}
			edit(spec)
			if err := unstructured.SetNestedMap(versions[0].(map[string]any), spec, "schema", "openAPIV3Schema", "properties", "spec", "properties"); err != nil {
				return err
			}
			if err := unstructured.SetNestedSlice(crd.Object, versions, "spec", "versions"); err != nil {
				return err
			}
			return t.cluster.client.Update(ctx, crd)
		})
	}
	err := change(func(spec map[string]any) {
		field = spec["renewal"]
		delete(spec, "renewal")
	})
	if err != nil {
		t.Fatal(err)
	}
	if field == nil {
		t.Fatal("cert-manager's CRD has no field spec.renewal: the test shows nothing")
	}
	t.Cleanup(func() {
		if err := change(func(spec map[string]any) { spec["renewal"] = field }); err != nil {
			t.Error(err)
		}
	})
}
