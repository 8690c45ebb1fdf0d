package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
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
	e, err := w.ended(ctx, before)
	if err != nil {
		return err
	}
	if w.rolled, w.stamped, err = e.judge(); err != nil {
		return err
	}
	step(w.out, "the old anchor is gone from the bundle, and the issuer is signed by the new one")
	return nil
}

// ended looks at the world after the rotation.
func (w *world) ended(ctx context.Context, before bundle.Set) (*end, error) {
	e := &end{
		before: before, workloads: w.mesh.History.Restarted(),
		handshakes: w.mesh.Proxies.Stats(), failures: w.mesh.Proxies.Failures(),
	}
	var err error
	if e.after, err = w.published(ctx); err != nil {
		return nil, err
	}
	if e.signer, err = w.mesh.SignedBy(ctx); err != nil {
		return nil, err
	}
	if e.pods, err = w.pods(ctx); err != nil {
		return nil, err
	}
	// The control plane's own pods are beyond the webhook's reach on purpose.
	e.pods = slices.DeleteFunc(e.pods, func(p corev1.Pod) bool { return p.Namespace == w.mesh.Mesh || p.DeletionTimestamp != nil })
	return e, nil
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
