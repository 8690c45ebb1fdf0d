package rotation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
)

// stuck waits until the latest run is blocked in a phase, for a reason unless that
// is empty. It fails unless that is said to people and to machines: by a condition
// that says what to do, a Warning and the metric.
func (w *world) stuck(phase v1alpha1.Phase, reason v1alpha1.Reason, says ...string) {
	w.Helper()
	var blocked *metav1.Condition
	w.eventually(4*time.Minute, func() error {
		run, err := w.run(w.Context())
		if err != nil {
			return err
		}
		blocked = apimeta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionBlocked)
		if blocked == nil || blocked.Status != metav1.ConditionTrue || reason != "" && blocked.Reason != string(reason) || inPhase(run) != phase {
			return fmt.Errorf("want a run that is blocked in %s, %s; %s", phase, reason, describeRun(run))
		}
		return nil
	})
	for _, want := range says {
		if !strings.Contains(blocked.Message, want) {
			w.Errorf("blocked in %s: want %q in the message %q", phase, want, blocked.Message)
		}
	}
	w.eventually(time.Minute, func() error { return w.warned(blocked.Reason) })
	w.eventually(time.Minute, func() error { return w.blockedMetric(1) })
}

// inPhase is the phase that a run is in; empty before its first decision.
func inPhase(run *v1alpha1.AnchorRotation) v1alpha1.Phase {
	if n := len(run.Status.Steps); n > 0 {
		return run.Status.Steps[n-1].Phase
	}
	return ""
}

// goesOn waits until a run that was blocked in a phase has left it by itself, and
// nothing says any more that it is blocked. The controller asks for its rights twice
// a minute.
func (w *world) goesOn(from v1alpha1.Phase) {
	w.Helper()
	w.eventually(2*time.Minute, func() error {
		run, err := w.run(w.Context())
		switch {
		case err != nil:
			return err
		case inPhase(run) == from || isTrue(run, v1alpha1.ConditionBlocked):
			return fmt.Errorf("want a run that has left %s and is not blocked; %s", from, describeRun(run))
		}
		return w.blockedMetric(0)
	})
}

// stuckInPreflight: the controller lacks a right that the run will need. The run
// says which, and what to add to the installation. When that was added it goes on.
func (w *world) stuckInPreflight(grant func()) {
	w.Helper()
	key := w.IssuerKey()
	w.stuck(v1alpha1.PhasePreflight, v1alpha1.PermissionMissing,
		"add manifests/controller/"+w.component()+" to the installation",
		fmt.Sprintf("patch certificates %s in %s", key.Name, key.Namespace), fmt.Sprintf("patch certificates/status %s in %s", key.Name, key.Namespace))
	w.publishes(w.before)
	grant()
	w.goesOn(v1alpha1.PhasePreflight)
}

// stuckInWiden: trust-manager is kept from widening the bundle, and that lasts until
// thaw is called. That a wait is taken for a blocked phase at its deadline, after ten
// minutes, package lifecycle shows. Here somebody takes the generations out of the
// Bundle as well: no wait would end that, so it is said at once.
func (w *world) stuckInWiden(thaw func()) {
	w.Helper()
	w.awaitPhase(2*time.Minute, v1alpha1.PhaseWiden)
	w.unsource()
	w.stuck(v1alpha1.PhaseWiden, v1alpha1.BundleNotOurs, "Bundle "+w.Bundle+" lacks the source secret: {selector: {matchLabels: {"+v1alpha1.AnchorOfLabel+": "+w.Mesh.Mesh+"}}")
	w.publishes(w.before)
	w.unrolled()
	thaw()
	w.goesOn(v1alpha1.PhaseWiden)
}

// unsource takes out of the Bundle, which must be frozen, whatever brings the mesh's
// own anchors, until back is called.
func (w *world) unsource() (back func()) {
	w.Helper()
	var frozen []any
	w.editSources(func(before []any) []any {
		frozen = slices.Clone(before)
		return slices.DeleteFunc(before, func(source any) bool { return source.(map[string]any)["secret"] != nil })
	})
	return func() { w.editSources(func([]any) []any { return frozen }) }
}

// anchorAsked is nil when the next anchor was asked for and is not issued.
func (w *world) anchorAsked() error {
	anchors, err := w.anchorCertificates(w.Context())
	if err != nil {
		return err
	}
	for i := range anchors {
		if issuing(&anchors[i]) {
			return nil
		}
	}
	return fmt.Errorf("none of the anchors is being issued")
}

// issuing reports whether cert-manager is at work on a Certificate.
func issuing(u *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		fields, _ := c.(map[string]any)
		return fields["type"] == "Issuing" && fields["status"] == "True"
	})
}

// withhold has the API server refuse what cert-manager asks for the mesh's anchors,
// until give is called: the next one is asked for, and not issued.
func (w *world) withhold() (give func()) {
	w.Helper()
	name := "withhold-" + w.Mesh.Mesh
	policy, binding := refusal(name, fmt.Sprintf("^(%s|%s-anchor-[0-9]+)$", w.AnchorKey().Name, w.Mesh.Mesh))
	for _, o := range []client.Object{policy, binding} {
		w.check(w.Client.Create(w.Context(), o))
		w.Cleanup(func() { w.check(client.IgnoreNotFound(w.Client.Delete(context.WithoutCancel(w.Context()), o))) })
	}
	request := certManagers("CertificateRequest")
	request.SetNamespace(linkerd.TrustNamespace)
	request.SetName(name)
	request.SetAnnotations(map[string]string{certificateName: w.AnchorKey().Name})
	request.Object["spec"] = map[string]any{"request": "eA==", "issuerRef": map[string]any{"name": w.RootIssuer}}
	ask := func() error { return w.Client.Create(w.Context(), request.DeepCopy(), client.DryRunAll) }
	w.eventually(time.Minute, func() error {
		if err := ask(); err == nil || !strings.Contains(err.Error(), name) {
			return fmt.Errorf("the policy is not in force: %v", err)
		}
		return nil
	})
	return func() {
		w.Helper()
		w.check(w.Client.Delete(w.Context(), binding))
		w.eventually(time.Minute, ask)
	}
}

// certificateName on a CertificateRequest is that of the Certificate it is for.
const certificateName = "cert-manager.io/certificate-name"

// refusal is a policy that lets nobody ask for the Certificates whose names match.
func refusal(name, names string) (*admissionregistrationv1.ValidatingAdmissionPolicy, *admissionregistrationv1.ValidatingAdmissionPolicyBinding) {
	ignore := admissionregistrationv1.Ignore
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: &ignore,
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{"cert-manager.io"}, APIVersions: []string{"v1"}, Resources: []string{"certificaterequests"}},
				},
			}}},
			Validations: []admissionregistrationv1.Validation{{
				Expression: fmt.Sprintf(`!(has(object.metadata.annotations) && %[1]q in object.metadata.annotations && object.metadata.annotations[%[1]q].matches(%[2]q))`, certificateName, names),
				Message:    "the anchor is withheld",
			}},
		},
	}
	return policy, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: name, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}
}
