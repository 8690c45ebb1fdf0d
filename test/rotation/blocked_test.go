package rotation

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
)

// awaitBlockers waits until the run names just these, as KIND NAMESPACE/NAME.
func (w *world) awaitBlockers(within time.Duration, want ...string) {
	w.Helper()
	slices.Sort(want)
	w.eventually(within, func() error {
		run, err := w.run(w.Context())
		if err != nil {
			return err
		}
		var have []string
		for _, b := range run.Status.BlockedBy {
			have = append(have, b.Kind+" "+b.Namespace+"/"+b.Name)
		}
		slices.Sort(have)
		if diff := cmp.Diff(want, have); diff != "" {
			return fmt.Errorf("blocked by (-want +got):\n%s%s", diff, describeRun(run))
		}
		return nil
	})
}

// unswitched is nil while the issuer is signed by the old anchor.
func (w *world) unswitched() error {
	signer, err := w.SignedBy(w.Context())
	if err == nil && signer != w.before {
		err = fmt.Errorf("the issuer is signed by %.8s already", signer)
	}
	return err
}

// live waits until a pod of the name's prefix completes handshakes.
func (w *world) live(namespace, app string) {
	w.Helper()
	w.eventually(time.Minute, func() error {
		for _, p := range w.Proxies.Peers() {
			if p.Namespace == namespace && len(p.Name) >= len(app) && p.Name[:len(app)] == app {
				return nil
			}
		}
		return fmt.Errorf("no pod of %s/%s is live", namespace, app)
	})
}

// The nodes that a Deployment's new pods need have gone: its roll gets stuck, its
// old pods serve on, everything else is rolled. The issuer waits. When a node is
// back everything goes on by itself.
func unready(t *testing.T) {
	w := newWorld(t, small("unready"), func(mt *v1alpha1.MeshTrust) {
		mt.Spec.Rollout.ProgressDeadline = duration(15 * time.Second)
	})
	label := func(value string) {
		patch := fmt.Appendf(nil, `{"metadata":{"labels":{"unready":%s}}}`, value)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "lab-node-0"}}
		w.check(w.Client.Patch(t.Context(), node, client.RawPatch("application/merge-patch+json", patch)))
	}
	label(`"room"`)
	ns := w.Namespace(0)
	stuck := linkerd.Deployment(linkerd.Workload{Namespace: ns, Name: "stuck", Pods: 2}, false)
	stuck.Spec.Template.Spec.NodeSelector = map[string]string{"unready": "room"}
	w.check(w.Client.Create(t.Context(), stuck))
	w.live(ns, "stuck")
	label("null")

	w.rotate()
	w.awaitBlockers(3*time.Minute, "Deployment "+ns+"/stuck")
	w.awaitTrust(time.Minute, v1alpha1.ConditionRolloutHealthy, "False", "")
	w.holds(20*time.Second, w.unswitched)
	w.unharmed()
	label(`"room"`)
	w.complete(long)
	w.rotated()
}

// A bare pod, a Job and a namespace that has opted out are not rolled. The issuer
// waits for each by its name. The Job ends, the namespace opts in again, the pod is
// acknowledged: then the rotation goes on, and the pod, which nobody waits for any
// more, is the only one whose handshakes fail.
func blocked(t *testing.T) {
	w := newWorld(t, small("blocked"), nil)
	ns, out := w.Namespace(0), w.Namespace(1)
	w.optOut(out, `"`+v1alpha1.OptOutAll+`"`)
	template := linkerd.Template("bare")
	w.check(w.Client.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "bare", Labels: template.Labels, Annotations: template.Annotations}, Spec: template.Spec,
	}))
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "job"}, Spec: batchv1.JobSpec{Template: linkerd.Template("job")}}
	job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	w.check(w.Client.Create(t.Context(), job))
	w.live(ns, "bare")
	w.live(ns, "job")

	w.rotate()
	blockers := []string{"Job " + ns + "/job", "Pod " + ns + "/bare"}
	for _, workload := range w.Workloads() {
		if workload.Namespace == out {
			blockers = append(blockers, workload.Kind+" "+out+"/"+workload.Name)
		}
	}
	w.awaitBlockers(3*time.Minute, blockers...)
	w.awaitRun(time.Minute, v1alpha1.ConditionBlocked, "")
	w.holds(10*time.Second, w.unswitched)
	w.unharmed()

	w.steer(func(s *v1alpha1.AnchorRotationSpec) {
		s.Acknowledge = []v1alpha1.Acknowledgement{{Namespace: ns, Kind: "Pod", Name: "bare"}}
	})
	w.awaitBlockers(time.Minute, slices.DeleteFunc(slices.Clone(blockers), func(b string) bool { return b == "Pod "+ns+"/bare" })...)
	w.finish(ns, "job")
	w.optOut(out, "null")
	w.awaitPhase(3*time.Minute, v1alpha1.PhaseSwitchIssuer)
	w.unharmed()
	w.complete(long)
	w.rolledOnce()
	w.replaced()
	for _, f := range w.Proxies.Failures() {
		if f.Client.Name != "bare" && f.Server.Name != "bare" {
			t.Errorf("a handshake failed that the acknowledged pod had no part in: %s", f)
		}
	}
}

// optOut sets the annotation of a namespace to a JSON value.
func (w *world) optOut(namespace, value string) {
	w.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%s}}}`, v1alpha1.OptOutAnnotation, value)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	w.check(w.Client.Patch(w.Context(), ns, client.RawPatch("application/merge-patch+json", patch)))
}

// finish lets the pods of a Job succeed.
func (w *world) finish(namespace, job string) {
	w.Helper()
	var pods corev1.PodList
	w.check(w.Client.List(w.Context(), &pods, client.InNamespace(namespace), client.MatchingLabels{linkerd.AppLabel: job}))
	for i := range pods.Items {
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"0s"}}}`, lab.CompleteAfterAnnotation)
		w.check(w.Client.Patch(w.Context(), &pods.Items[i], client.RawPatch("application/merge-patch+json", patch)))
	}
}
