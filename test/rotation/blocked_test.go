package rotation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/lab/identity"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
)

// blocker is how a run names what is in the way, and why it is.
func blocker(kind, namespace, name string, why v1alpha1.Reason) string {
	return kind + " " + namespace + "/" + name + " " + string(why)
}

// awaitBlockers waits until the run names just these.
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
			have = append(have, blocker(b.Kind, b.Namespace, b.Name, b.Reason))
		}
		slices.Sort(have)
		if diff := cmp.Diff(want, have); diff != "" || int(run.Status.BlockedByTotal) != len(want) {
			return fmt.Errorf("blocked by %d (-want +got):\n%s%s", run.Status.BlockedByTotal, diff, describeRun(run))
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
func unready(t *T) {
	w := newWorld(t, small("unready"), func(mt *v1alpha1.MeshTrust) {
		mt.Spec.Rollout.ProgressDeadline = duration(40 * time.Second)
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
	w.awaitBlockers(3*time.Minute, blocker("Deployment", ns, "stuck", v1alpha1.ProgressDeadlineExceeded))
	w.awaitTrust(time.Minute, v1alpha1.ConditionRolloutHealthy, "False", "")
	blocked := apimeta.FindStatusCondition(w.awaitRun(time.Minute, v1alpha1.ConditionBlocked, "").Status.Conditions, v1alpha1.ConditionBlocked)
	w.eventually(time.Minute, func() error { return w.warned(blocked.Reason) })
	w.eventually(time.Minute, func() error { return w.blockedMetric(1) })
	w.holds(20*time.Second, w.unswitched)
	w.unharmed()
	label(`"room"`)
	w.eventually(time.Minute, func() error { return w.blockedMetric(0) })
	w.complete(long)
	w.eventually(time.Minute, func() error { return w.blockedMetric(0) })
	w.rotated()
}

// warned is nil when a Warning on the mesh's run has the reason.
func (w *world) warned(reason string) error {
	run, err := w.run(w.Context())
	if err != nil {
		return err
	}
	var list eventsv1.EventList
	if err := w.Client.List(w.Context(), &list); err != nil {
		return err
	}
	var have []string
	for i := range list.Items {
		if e := &list.Items[i]; e.Regarding.Kind == "AnchorRotation" && e.Regarding.UID == run.UID {
			if e.Type == corev1.EventTypeWarning && e.Reason == reason {
				return nil
			}
			have = append(have, e.Type+" "+e.Reason)
		}
	}
	return fmt.Errorf("want the event Warning %s on run %s, have %q", reason, run.Name, have)
}

// blockedMetric is nil when the controller shows the rotation of the mesh as
// blocked, 1, or not, 0.
func (w *world) blockedMetric(want int) error {
	text, err := metricsAt(w.cluster.metrics)
	if err != nil {
		return err
	}
	series := fmt.Sprintf("reanchor_rotation_blocked{mesh=%q} ", w.Mesh.Mesh)
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, series); ok {
			if strings.TrimSpace(value) != fmt.Sprint(want) {
				return fmt.Errorf("want %s%d, have %s", series, want, value)
			}
			return nil
		}
	}
	return fmt.Errorf("there is no metric %s", series)
}

// A bare pod, a Job, a pod whose owner is of a kind that nobody knows how to restart,
// one of which it cannot be told what it trusts, and a namespace that has opted out
// are not rolled. The issuer waits for each by its name. The Job ends, the owner
// goes and its pod with it, the namespace opts in again, the two others are
// acknowledged: then the rotation goes on, and the bare pod, which nobody waits for
// any more, is the only one whose handshakes fail.
func blocked(t *T) {
	w := newWorld(t, small("blocked"), nil)
	ns, out := w.Namespace(0), w.Namespace(1)
	w.optOut(out, `"`+v1alpha1.OptOutAll+`"`)
	w.bare(ns, "bare")
	w.job(ns, "job")
	owner := w.owned(ns, "owned")
	w.untold(ns, "untold")
	for _, app := range []string{"bare", "job", "owned", "untold"} {
		w.live(ns, app)
	}

	w.rotate()
	blockers := []string{blocker("Job", ns, "job", v1alpha1.JobPod), blocker("ConfigMap", ns, "owned", v1alpha1.UnknownOwner)}
	for _, workload := range w.Workloads() {
		if workload.Namespace == out {
			blockers = append(blockers, blocker(workload.Kind, out, workload.Name, v1alpha1.OptedOut))
		}
	}
	bare, untold := blocker("Pod", ns, "bare", v1alpha1.BarePod), blocker("StatefulSet", ns, "untold", v1alpha1.TrustUnknown)
	w.awaitBlockers(3*time.Minute, slices.Concat(blockers, []string{bare, untold})...)
	w.awaitRun(time.Minute, v1alpha1.ConditionBlocked, "")
	w.holds(10*time.Second, w.unswitched)
	w.unharmed()

	w.acknowledge(v1alpha1.Acknowledgement{Namespace: ns, Kind: "Pod", Name: "bare"})
	w.awaitBlockers(time.Minute, slices.Concat(blockers, []string{untold})...)
	set := v1alpha1.Acknowledgement{Namespace: ns, Kind: "StatefulSet", Name: "untold"}
	since := w.acknowledge(set)
	w.awaitBlockers(time.Minute, blockers...)
	w.again(ns, "untold")
	w.awaitBlockers(time.Minute, slices.Concat(blockers, []string{untold})...)
	if diff := cmp.Diff(since, w.acknowledged()); diff != "" {
		t.Errorf("since when what was acknowledged is covered (-before +when a pod was created anew):\n%s", diff)
	}
	w.finish(ns, "job")
	w.check(w.Client.Delete(t.Context(), owner))
	w.optOut(out, "null")
	w.awaitBlockers(3*time.Minute, untold)
	w.holds(5*time.Second, w.unswitched)
	w.takeBack(set)
	w.acknowledge(set)

	w.awaitPhase(3*time.Minute, v1alpha1.PhaseSwitchIssuer)
	w.unharmed()
	w.complete(long)
	w.rolledOnce()
	w.replaced()
	for _, f := range w.Proxies.Failures() {
		if f.Client.Name != "bare" && f.Server.Name != "bare" {
			t.Errorf("a handshake failed that the bare pod had no part in: %s", f)
		}
	}
}

// acknowledge adds an entry to the run's spec, and returns since when it and the
// others count.
func (w *world) acknowledge(entry v1alpha1.Acknowledgement) map[string]time.Time {
	w.Helper()
	w.steer(func(s *v1alpha1.AnchorRotationSpec) { s.Acknowledge = append(s.Acknowledge, entry) })
	return w.acknowledged()
}

// takeBack takes an entry away, and waits until that is seen.
func (w *world) takeBack(entry v1alpha1.Acknowledgement) {
	w.Helper()
	w.steer(func(s *v1alpha1.AnchorRotationSpec) {
		s.Acknowledge = slices.DeleteFunc(s.Acknowledge, func(a v1alpha1.Acknowledgement) bool { return a == entry })
	})
	w.acknowledged()
}

// acknowledged waits until the run's status shows the entries of its spec, and no
// others, and returns since when each counts.
func (w *world) acknowledged() map[string]time.Time {
	w.Helper()
	var since map[string]time.Time
	w.eventually(time.Minute, func() error {
		run, err := w.run(w.Context())
		if err != nil {
			return err
		}
		var want, have []string
		for _, a := range run.Spec.Acknowledge {
			want = append(want, fmt.Sprintf("%s/%s/%s", a.Namespace, a.Kind, a.Name))
		}
		since = map[string]time.Time{}
		for _, a := range run.Status.Acknowledged {
			have = append(have, a.Entry)
			since[a.Entry] = a.At.Time
		}
		if diff := cmp.Diff(want, have); diff != "" || int(run.Status.AcknowledgedTotal) != len(want) {
			return fmt.Errorf("status.acknowledged, %d in total (-want +got):\n%s", run.Status.AcknowledgedTotal, diff)
		}
		return nil
	})
	return since
}

// bare makes a pod without an owner.
func (w *world) bare(namespace, name string) {
	w.Helper()
	template := linkerd.Template(name)
	w.check(w.Client.Create(w.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: template.Labels, Annotations: template.Annotations}, Spec: template.Spec,
	}))
}

// job makes one that runs until it is finished.
func (w *world) job(namespace, name string) {
	w.Helper()
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: batchv1.JobSpec{Template: linkerd.Template(name)}}
	job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	w.check(w.Client.Create(w.Context(), job))
}

// untold makes a StatefulSet of one pod that nobody can tell what it trusts but its
// kubelet: its proxy is in the template, and reads another ConfigMap than the
// published one.
func (w *world) untold(namespace, name string) {
	w.Helper()
	w.copyBundle(namespace, name)
	always, template := corev1.ContainerRestartPolicyAlways, linkerd.Template(name)
	template.Labels[linkerd.ControlPlaneLabel] = w.Mesh.Mesh
	template.Spec.InitContainers = []corev1.Container{{
		Name: "linkerd-proxy", Image: "proxy", RestartPolicy: &always,
		Env: []corev1.EnvVar{{Name: "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", ValueFrom: &corev1.EnvVarSource{
			ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: identity.BundleKey},
		}}},
	}}
	w.check(w.Client.Create(w.Context(), &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1.StatefulSetSpec{
			Replicas: new(int32(1)), ServiceName: name, Template: template,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{linkerd.AppLabel: name}},
		},
	}))
}

// copyBundle writes the published bundle, as it is now, into a ConfigMap.
func (w *world) copyBundle(namespace, name string) {
	w.Helper()
	var published corev1.ConfigMap
	w.check(w.Client.Get(w.Context(), w.BundleKey(), &published))
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	_, err := controllerutil.CreateOrUpdate(w.Context(), w.Client, cm, func() error {
		cm.Data = published.Data
		return nil
	})
	w.check(err)
}

// again brings the bundle to the pod of untold, as its users would: it is created
// anew, under the same name, and trusts all that is published now. That cannot be
// told any more than before.
func (w *world) again(namespace, name string) {
	w.Helper()
	w.copyBundle(namespace, name)
	before, after := &corev1.Pod{}, &corev1.Pod{}
	key := client.ObjectKey{Namespace: namespace, Name: name + "-0"}
	w.check(w.Client.Get(w.Context(), key, before))
	w.check(w.Client.Delete(w.Context(), before))
	w.eventually(time.Minute, func() error {
		err := w.Client.Get(w.Context(), key, after)
		if err == nil && after.UID == before.UID {
			err = fmt.Errorf("pod %s has not gone", key)
		}
		return err
	})
}

// owned makes a pod and its owner, an object of a kind that owns no pods but by an
// operator that nobody knows. A ConfigMap is one that the garbage collector knows.
func (w *world) owned(namespace, name string) (owner *corev1.ConfigMap) {
	w.Helper()
	owner = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	w.check(w.Client.Create(w.Context(), owner))
	template := linkerd.Template(name)
	w.check(w.Client.Create(w.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, Labels: template.Labels, Annotations: template.Annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, corev1.SchemeGroupVersion.WithKind("ConfigMap"))},
		}, Spec: template.Spec,
	}))
	return owner
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
