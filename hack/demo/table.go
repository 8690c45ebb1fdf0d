package main

import (
	"context"
	"fmt"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// watch prints a line whenever the MeshTrust's status says something new, until
// the mesh has converged on the published bundle.
func (w *world) watch(ctx context.Context) error {
	set, err := w.published(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	fmt.Fprintf(w.out, "  %6s %7s %7s %8s %7s   %s\n", "TIME", "CURRENT", "STALE", "ROLLING", "FAILED", "STATUS")
	last := ""
	return w.await(ctx, 3*time.Minute, "the mesh to converge", func() (bool, error) {
		mt, err := w.meshTrust(ctx)
		if err != nil {
			return false, err
		}
		if line := row(mt); line != last {
			fmt.Fprintf(w.out, "  %5.1fs %s\n", time.Since(began).Seconds(), line)
			last = line
		}
		return converged(mt, set.Hash()), nil
	})
}

func row(mt *v1alpha1.MeshTrust) string {
	status := ""
	if c := apimeta.FindStatusCondition(mt.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		status = c.Reason
	}
	return fmt.Sprintf("%7d %7d %8d %7d   %s", mt.Status.Pods.Current, mt.Status.Pods.Stale,
		mt.Status.Rollout.InProgressTotal, mt.Status.Rollout.FailedTotal, status)
}
