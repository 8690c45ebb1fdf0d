package owner

import (
	"errors"
	"testing"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRefusedByNamesTheBudget(t *testing.T) {
	refusal := func(kind metav1.CauseType, message string) error {
		err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: kind, Message: message})
		return err
	}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"the server's sentence is taken apart": {
			refusal(policyv1.DisruptionBudgetCause, "The disruption budget web needs 3 healthy pods and has 3 currently"),
			"PodDisruptionBudget web, which needs 3 healthy pods and has 3 currently",
		},
		"another sentence is kept": {
			refusal(policyv1.DisruptionBudgetCause, "The disruption budget web is still being processed by the server."),
			"The disruption budget web is still being processed by the server.",
		},
		"a cause of another type says nothing of a budget": {refusal("Other", "slow down"), "a PodDisruptionBudget"},
		"no cause":             {apierrors.NewTooManyRequests("slow down", 1), "a PodDisruptionBudget"},
		"no status of the API": {errors.New("refused"), "a PodDisruptionBudget"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := refusedBy(c.err); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
