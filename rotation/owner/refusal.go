package owner

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/rotation/record"
)

// refused reports whether an answer is a refusal: for want of a permission, by an
// admission rule of somebody else's, or by one that fails itself. That is for the
// user to see, with the workload that it concerns, and holds up no other.
func refused(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || statusOf(err).Code == http.StatusInternalServerError
}

// statusOf is the API server's answer; empty when the error is none.
func statusOf(err error) metav1.Status {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return metav1.Status{}
	}
	return status.Status()
}

// Refusal is what the API server says to a refused request, cut to what fits
// into a status; without a certificate or key that it may quote.
func Refusal(err error) string {
	const most = 400
	text := cmp.Or(statusOf(err).Message, err.Error())
	if bundle.QuotesPEM(text) {
		return fmt.Sprintf("%s; the message is left out, since it quotes a certificate or a key", cmp.Or(statusOf(err).Reason, metav1.StatusReasonUnknown))
	}
	return record.ClipTo(text, most)
}

// Sealed takes away an error's text when it quotes a certificate or a key, as an
// admission webhook's answer might. What kind of answer it is stays.
func Sealed(err error) error {
	if err == nil || !bundle.QuotesPEM(err.Error()) {
		return err
	}
	s := statusOf(err)
	if s.Status == "" {
		return errors.New("failed; the error is left out, since it quotes a certificate or a key")
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: s.Code, Reason: s.Reason,
		Message: fmt.Sprintf("refused as %s; the message is left out, since it quotes a certificate or a key", s.Reason),
	}}
}

// refusedBy names the budget: the API server's answer carries it as a cause of
// type DisruptionBudget, with a message that begins with its name.
func refusedBy(err error) string {
	if details := statusOf(err).Details; details != nil {
		for _, cause := range details.Causes {
			if cause.Type == policyv1.DisruptionBudgetCause {
				return budgetOf(cause.Message)
			}
		}
	}
	return "a PodDisruptionBudget"
}

// budgetOf turns the server's sentence on a budget into words that name it, to
// follow "refused by". Another sentence is kept as it is.
func budgetOf(message string) string {
	text, ok := strings.CutPrefix(message, "The disruption budget ")
	name, needs, ok2 := strings.Cut(text, " needs ")
	if !ok || !ok2 {
		return message
	}
	return "PodDisruptionBudget " + name + ", which needs " + needs
}
