package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// rotationLimit is more than a rotation takes here, most of which is waiting.
const rotationLimit = 10 * time.Minute

// rotate: one object, and the mesh is on another anchor.
func (w *world) rotate(ctx context.Context) error {
	heading(w.out, "Rotate")
	before, err := w.published(ctx)
	if err != nil {
		return err
	}
	run := &v1alpha1.AnchorRotation{
		ObjectMeta: metav1.ObjectMeta{Name: "demo"},
		Spec:       v1alpha1.AnchorRotationSpec{MeshTrustRef: v1alpha1.ClusterObjectRef{Name: w.mesh.Mesh}},
	}
	step(w.out, "creating one AnchorRotation; from here on nobody does anything")
	if err := w.client.Create(ctx, run); err != nil {
		return fmt.Errorf("creating the AnchorRotation: %w", err)
	}
	if err := w.watch(ctx, run); err != nil {
		return err
	}
	after, err := w.published(ctx)
	if err != nil {
		return err
	}
	if !after.Intersect(before).Empty() {
		return fmt.Errorf("the old anchor is still in the bundle")
	}
	if err := w.checkIssuer(ctx); err != nil {
		return err
	}
	step(w.out, "the old anchor is gone from the bundle, and the issuer is signed by the new one")
	return w.checkRolled(ctx)
}

// checkIssuer asks the cluster, not Reanchor: what signed the issuer is in the
// bundle.
func (w *world) checkIssuer(ctx context.Context) error {
	signer, err := w.mesh.SignedBy(ctx)
	if err != nil {
		return err
	}
	anchors, err := w.mesh.Published(ctx)
	if err != nil {
		return err
	}
	if !anchors.Has(signer) {
		return fmt.Errorf("the issuer is not signed by an anchor of the bundle")
	}
	return nil
}

// checkRolled counts what happened to the pods, and what they carry now.
func (w *world) checkRolled(ctx context.Context) error {
	for _, r := range w.mesh.History.Restarted() {
		if r.ControlPlane {
			continue
		}
		if r.Replaced != r.Pods {
			return fmt.Errorf("%s %s/%s: %d pods were replaced, not each of its %d once", r.Kind, r.Namespace, r.Name, r.Replaced, r.Pods)
		}
		w.rolled++
	}
	if failed := w.mesh.Score().Failed; failed > 0 {
		return fmt.Errorf("%d handshakes failed, the last ones: %v", failed, w.mesh.Proxies.Failures())
	}
	pods, err := w.pods(ctx)
	if err != nil {
		return err
	}
	for i := range pods {
		if hash := pods[i].Annotations[v1alpha1.TrustBundleHashAnnotation]; hash != "" {
			if err := w.checkStamp(&pods[i], hash); err != nil {
				return err
			}
			w.stamped++
		}
	}
	if w.stamped < w.rolled {
		return fmt.Errorf("%d pods are stamped after %d workloads were rolled", w.stamped, w.rolled)
	}
	return nil
}

func (w *world) checkStamp(pod *corev1.Pod, hash string) error {
	carried, err := carries(pod)
	if err == nil && carried.Hash() != hash {
		err = fmt.Errorf("pod %s has the stamp %q and carries %s", pod.Name, hash, carried.Hash())
	}
	return err
}

// watch prints a line whenever something moved, until the rotation has ended.
func (w *world) watch(ctx context.Context, run *v1alpha1.AnchorRotation) error {
	t := &table{out: w.out, began: time.Now()}
	t.header()
	return w.await(ctx, rotationLimit, "the rotation to end", func() (bool, error) {
		if err := w.client.Get(ctx, client.ObjectKeyFromObject(run), run); err != nil {
			return false, fmt.Errorf("reading the AnchorRotation: %w", err)
		}
		mt, err := w.meshTrust(ctx)
		if err != nil {
			return false, err
		}
		t.row(run, mt, w.mesh.Proxies.Stats())
		if apimeta.IsStatusConditionTrue(run.Status.Conditions, v1alpha1.ConditionFailed) {
			return false, fmt.Errorf("it has failed: %s", reason(run, v1alpha1.ConditionFailed))
		}
		return apimeta.IsStatusConditionTrue(run.Status.Conditions, v1alpha1.ConditionComplete), nil
	})
}

func reason(run *v1alpha1.AnchorRotation, kind string) string {
	if c := apimeta.FindStatusCondition(run.Status.Conditions, kind); c != nil {
		return c.Reason
	}
	return ""
}
