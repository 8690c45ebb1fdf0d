package anchorrotation

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/rotation/lifecycle"
	"github.com/reanchor/reanchor/rotation/record"
)

// runOf reads back what storeState wrote, and what the user says. Of the
// anchors status keeps a summary; details has their certificates.
func runOf(run *v1alpha1.AnchorRotation, details bundle.Set) *lifecycle.Run {
	s := &run.Status
	out := &lifecycle.Run{
		Name: run.Name, UID: string(run.UID), Suspend: run.Spec.Suspend, Abort: run.Spec.Abort,
		Deleting: !run.DeletionTimestamp.IsZero(), Acknowledge: run.Spec.Acknowledge,
	}
	for _, a := range run.Spec.Approvals {
		out.Approvals = append(out.Approvals, a.Gate)
	}
	out.State = lifecycle.State{
		Path: s.Path, From: replacedOf(s.FromAnchor, details), To: replacedOf(s.ToAnchor, details),
		SwitchIntendedAt: timeOf(s.SwitchIntendedAt), SwitchedAt: timeOf(s.IssuerSwitchedAt), InUseAt: timeOf(s.IssuerInUseAt),
		AbortedFrom: s.AbortedFrom, Outcome: outcomeOf(run),
	}
	if s.IssuerBefore != nil {
		out.State.IssuerBefore, _ = bundle.ParseFingerprint(s.IssuerBefore.Fingerprint)
	}
	for _, x := range s.Steps {
		out.State.Steps = append(out.State.Steps, lifecycle.Step{Phase: x.Phase, StartedAt: x.StartedAt.Time, EndedAt: timeOf(x.CompletedAt)})
		out.State.Phase = x.Phase // the last one entered is the last in the list
	}
	for _, a := range s.Acknowledged {
		out.State.Acknowledged = append(out.State.Acknowledged, lifecycle.AcknowledgedAt{Entry: a.Entry, At: a.At.Time})
	}
	return out
}

func replacedOf(c *v1alpha1.RotationCertificate, details bundle.Set) *lifecycle.Replaced {
	if c == nil {
		return nil
	}
	r := &lifecycle.Replaced{UID: c.CertificateUID, Revision: c.Revision, SecretName: c.SecretName}
	if c.CertificateRef != nil {
		r.Certificate = *c.CertificateRef
	}
	f, err := bundle.ParseFingerprint(c.Fingerprint)
	if err != nil {
		return r // still to be issued
	}
	r.Anchor = bundle.Anchor{Fingerprint: f, Subject: c.Subject, NotBefore: timeOf(c.NotBefore), NotAfter: timeOf(c.NotAfter)}
	if full, ok := details.Anchor(f); ok {
		r.Anchor = full
	}
	return r
}

// storeState writes what must be remembered into a status.
func storeState(s *v1alpha1.AnchorRotationStatus, state *lifecycle.State) {
	s.Path, s.AbortedFrom = state.Path, state.AbortedFrom
	s.FromAnchor, s.ToAnchor = certificateOf(state.From), certificateOf(state.To)
	s.SwitchIntendedAt, s.IssuerSwitchedAt, s.IssuerInUseAt = timeRef(state.SwitchIntendedAt), timeRef(state.SwitchedAt), timeRef(state.InUseAt)
	s.IssuerBefore = nil
	if state.IssuerBefore != (bundle.Fingerprint{}) {
		s.IssuerBefore = &v1alpha1.RotationCertificate{Fingerprint: state.IssuerBefore.String()}
	}
	messages := map[v1alpha1.Phase]string{}
	for _, x := range s.Steps {
		messages[x.Phase] = x.Message
	}
	s.Steps, s.StepsTotal = nil, int32(len(state.Steps))
	for _, x := range state.Steps {
		s.Steps = append(s.Steps, v1alpha1.RotationStep{
			Phase: x.Phase, StartedAt: metav1.NewTime(x.StartedAt), CompletedAt: timeRef(x.EndedAt), Message: messages[x.Phase],
		})
	}
	s.Acknowledged, s.AcknowledgedTotal = nil, int32(len(state.Acknowledged))
	for _, a := range state.Acknowledged {
		s.Acknowledged = append(s.Acknowledged, v1alpha1.AcknowledgedAt{Entry: a.Entry, At: metav1.NewTime(a.At)})
	}
}

func certificateOf(r *lifecycle.Replaced) *v1alpha1.RotationCertificate {
	if r == nil {
		return nil
	}
	c := &v1alpha1.RotationCertificate{
		Subject: record.Clip(r.Anchor.Subject), NotBefore: timeRef(r.Anchor.NotBefore), NotAfter: timeRef(r.Anchor.NotAfter),
		CertificateUID: r.UID, Revision: r.Revision, SecretName: r.SecretName,
	}
	if r.Anchor.Fingerprint != (bundle.Fingerprint{}) {
		c.Fingerprint = r.Anchor.Fingerprint.String()
	}
	if r.Certificate != (v1alpha1.ObjectRef{}) {
		ref := r.Certificate
		c.CertificateRef = &ref
	}
	return c
}

func timeOf(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}

// timeRef is nil for a time that is not known.
func timeRef(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	at := metav1.NewTime(t)
	return &at
}
