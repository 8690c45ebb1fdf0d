package rotation

import (
	"fmt"
	"strings"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// The user says that something outside of the cluster trusts these anchors, where
// no object shows it. Each gate waits for its own approval.
func externalTrust(t *T) {
	w := newWorld(t, small("external-trust"), func(mt *v1alpha1.MeshTrust) { mt.Spec.Rotation.ExternalTrust = true })
	w.rotate()
	w.awaitApproval(v1alpha1.PhaseSwitchIssuer, v1alpha1.GateSwitchIssuer, "spec.rotation.externalTrust")
	w.holds(5*time.Second, w.unswitched)
	w.approve(v1alpha1.GateSwitchIssuer)
	w.awaitApproval(v1alpha1.PhaseNarrow, v1alpha1.GateNarrow, "spec.rotation.externalTrust")
	w.holds(5*time.Second, func() error {
		published, err := w.Published(t.Context())
		if err == nil && !published.Has(w.before) {
			err = fmt.Errorf("the old anchor was dropped without an approval: %s", published)
		}
		return err
	})
	w.approve(v1alpha1.GateNarrow)
	w.complete(long)
	w.rotated()
}

// awaitApproval waits until the run is blocked in a phase for want of an approval,
// and says of which gate and because of whom.
func (w *world) awaitApproval(phase v1alpha1.Phase, gate v1alpha1.Gate, because ...string) {
	w.Helper()
	w.eventually(4*time.Minute, func() error {
		run, err := w.run(w.Context())
		if err != nil {
			return err
		}
		blocked := apimeta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionBlocked)
		progress := apimeta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionProgressing)
		if blocked == nil || blocked.Status != metav1.ConditionTrue || blocked.Reason != string(v1alpha1.ApprovalRequired) || progress.Reason != string(phase) {
			return fmt.Errorf("want a run that waits in %s for an approval; %s", phase, describeRun(run))
		}
		for _, want := range append(because, "gate "+string(gate)) {
			if !strings.Contains(blocked.Message, want) {
				return fmt.Errorf("want %q in the message %q", want, blocked.Message)
			}
		}
		return nil
	})
}
