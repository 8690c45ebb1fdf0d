package e2e

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/hack/lab"
)

// The issuer ends before all workloads can be rolled at the pace measured: that
// is said, with both times, and the pace goes to the budget at once, ramp or no
// ramp. When the issuer is renewed there is no hurry any more.
func TestRollingThatWillEndTooLateSaysSoAndHurries(t *testing.T) {
	t.Parallel()
	const apps, most = 42, 8
	spec := quick()
	spec.Rollout.MaxConcurrent, spec.Rollout.MaxConcurrentPerNamespace = new(intstr.FromInt32(most)), new(int32(most))
	spec.Admission.ClockSkew = &metav1.Duration{Duration: time.Second}
	m := newMesh(t, meshOptions{spec: spec})
	ns := m.namespace("apps")
	for i := range apps {
		deployment(t, ns, fmt.Sprintf("app-%02d", i), 1, func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations = map[string]string{lab.ReadyDelayAnnotation: "12s"}
		})
	}
	ready(t, ns, apps)
	m.awaitConverged(time.Minute, m.root)
	m.await(time.Minute, v1alpha1.ConditionRolloutHealthy, metav1.ConditionTrue, "")

	history := m.record()
	// The canary is done well before that, and the rest, in six rounds, is not.
	ends := time.Now().Add(70 * time.Second)
	m.issueUntil(ends)
	next := m.rotate()
	mt := m.await(time.Until(ends), v1alpha1.ConditionRolloutHealthy, metav1.ConditionFalse, v1alpha1.DeadlineAtRisk)
	if c := apimeta.FindStatusCondition(mt.Status.Conditions, v1alpha1.ConditionReady); c.Status != metav1.ConditionFalse || c.Reason != string(v1alpha1.DeadlineAtRisk) {
		t.Errorf("Ready must say the same: %s", describe(mt))
	}
	r := mt.Status.Rollout
	if r.ETA == nil || r.Deadline == nil || !r.ETA.After(r.Deadline.Time) || r.Deadline.Sub(ends).Abs() > 2*time.Second {
		t.Errorf("ETA %v, deadline %v, want an ETA after the issuer's end at %s", r.ETA, r.Deadline, ends)
	}
	eventually(t, time.Minute, func() error {
		for _, e := range events(t, "default") {
			if e.Regarding.Name == m.name && e.Reason == string(v1alpha1.DeadlineAtRisk) && e.Type == corev1.EventTypeWarning {
				return nil
			}
		}
		return fmt.Errorf("no event says so: %v", len(events(t, "default")))
	})
	// One is done, the canary. The ramp would allow two now.
	eventually(t, time.Until(ends), func() error {
		if n := m.status().Status.Rollout.InProgressTotal; n != most {
			return fmt.Errorf("%d in flight, want all that the budget has", n)
		}
		return nil
	})
	if early := beforeHurry(history, ns); early != 1 {
		t.Errorf("%d were done when the pace went to the budget, want the canary alone", early)
	}

	m.issue(m.root)
	m.await(time.Minute, v1alpha1.ConditionRolloutHealthy, metav1.ConditionTrue, v1alpha1.RolloutHealthy)
	m.update(func(mt *v1alpha1.MeshTrust) {
		mt.Spec.Rollout.MaxConcurrent, mt.Spec.Rollout.MaxConcurrentPerNamespace = new(intstr.FromInt32(apps)), new(int32(apps))
	})
	m.awaitConverged(2*time.Minute, m.root, next)
	rolledOnce(t, ns, apps, setOf(m.root, next))
}

// issueUntil puts an issuer under the mesh's root that ends at a time.
func (m *meshWorld) issueUntil(end time.Time) {
	m.t.Helper()
	from := time.Now().Add(-time.Minute)
	issuer := m.root.Intermediate("identity.linkerd.cluster.local", bundletest.From(from, end.Sub(from)))
	s := get(m.t, m.name, "linkerd-identity-issuer", &corev1.Secret{})
	before := s.DeepCopy()
	s.Data = map[string][]byte{"crt.pem": []byte(issuer.PEM()), "key.pem": []byte(issuer.KeyPEM())}
	if err := env.client.Patch(m.t.Context(), s, client.MergeFrom(before)); err != nil {
		m.t.Fatal(err)
	}
}

// beforeHurry counts the Deployments that were done when the third was begun.
func beforeHurry(history *timeline, namespace string) int {
	done, begun := 0, 0
	history.replay(func(i *instant) {
		d, ok := i.change.object.(*appsv1.Deployment)
		if !ok || d.Namespace != namespace || i.before == nil || mark(d) == mark(i.before) {
			return
		}
		if begun++; begun != 3 {
			return
		}
		for _, other := range i.deployments() {
			if mark(other) != "" && !inFlight(other, i.pods(other.Namespace, other.Name)) {
				done++
			}
		}
	})
	return done
}
