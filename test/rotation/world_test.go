package rotation

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
)

// world is a scenario's mesh.
type world struct {
	*T
	*linkerd.Mesh
	trust *v1alpha1.MeshTrust
	// before is the anchor that there was at the beginning.
	before string
}

// small is a mesh that is quickly rotated, with fewer handshakes, so that many of
// them fit beside one another. It is InPlace.
func small(name string) linkerd.Options {
	return linkerd.Options{Name: name, Workloads: 4, Namespaces: 2, Rate: 10, Foreign: true, Times: linkerd.Times{
		Leaf: 20 * time.Second, File: 7 * time.Second,
		InjectorLags: []time.Duration{time.Second, 3 * time.Second, 5 * time.Second},
		IdentityLags: []time.Duration{0, 2 * time.Second},
	}}
}

// smallGenerations is the same with layout Generations.
func smallGenerations(name string) linkerd.Options {
	o := small(name)
	o.Layout = v1alpha1.LayoutGenerations
	return o
}

// newWorld makes a mesh and its MeshTrust, which change, if there is one, changes
// before.
func newWorld(t *T, o linkerd.Options, change func(*v1alpha1.MeshTrust)) *world {
	t.Helper()
	w := newMesh(t, o)
	if change != nil {
		change(w.trust)
	}
	w.entrust()
	return w
}

// newMesh makes a mesh that Reanchor does not know yet.
func newMesh(t *T, o linkerd.Options) *world {
	t.Helper()
	m, err := t.cluster.startMesh(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return worldOf(t, m)
}

func (c *cluster) startMesh(ctx context.Context, o linkerd.Options) (*linkerd.Mesh, error) {
	o.Kubelet = c.kubelet
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	return linkerd.Start(ctx, c.lab.Config(), o)
}

// worldOf is the scenario's from here on: the mesh ends with it.
func worldOf(t *T, m *linkerd.Mesh) *world {
	t.Helper()
	w := &world{T: t, Mesh: m, trust: m.MeshTrust()}
	t.Cleanup(w.end)
	var err error
	w.before, err = m.Anchor(t.Context())
	w.check(err)
	quick(w.trust)
	return w
}

// entrust tells Reanchor of the mesh, and gives it the rights that it needs.
func (w *world) entrust() {
	w.Helper()
	w.grant()
	w.check(w.Client.Create(w.Context(), w.trust))
}

// quick is a wide budget.
func quick(mt *v1alpha1.MeshTrust) {
	mt.Spec.Rollout.MaxConcurrent = new(intstr.FromInt32(4))
	mt.Spec.Rollout.MaxConcurrentPerNamespace = new(int32(2))
}

// end removes what would go on: the controller forgets the mesh, and its pods go.
func (w *world) end() {
	ctx := context.WithoutCancel(w.Context())
	if w.Failed() {
		w.Log(w.describe(ctx))
	}
	if err := w.note(ctx); err != nil {
		w.Error(err)
	}
	if err := w.Stop(ctx); err != nil {
		w.Error(err)
	}
	var objects []client.Object
	var runs v1alpha1.AnchorRotationList // all others would be told of them, whenever they list theirs
	if err := w.Client.List(ctx, &runs); err != nil {
		w.Error(err)
	}
	for i := range runs.Items {
		if r := &runs.Items[i]; r.Spec.MeshTrustRef.Name == w.Mesh.Mesh && isTrue(r, v1alpha1.ConditionComplete) {
			objects = append(objects, r)
		}
	}
	objects = append(objects, &v1alpha1.MeshTrust{ObjectMeta: metav1.ObjectMeta{Name: w.Mesh.Mesh}})
	for _, ns := range w.namespaces() {
		objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
	}
	for _, o := range objects {
		if err := w.Client.Delete(ctx, o); client.IgnoreNotFound(err) != nil {
			w.Error(err)
		}
	}
}

func (w *world) namespaces() []string {
	var out []string
	for _, workload := range w.Workloads() {
		out = append(out, workload.Namespace)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (w *world) check(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// poll is how long a scenario waits before it asks again: a dozen of them ask.
const poll = 500 * time.Millisecond

// eventually asks until the answer is nil.
func (w *world) eventually(within time.Duration, ask func() error) {
	w.Helper()
	for end := time.Now().Add(within); ; time.Sleep(poll) {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			w.Fatalf("not within %s: %v", within, err)
		}
	}
}

// holds fails when the answer does not stay nil for as long as said.
func (w *world) holds(during time.Duration, ask func() error) {
	w.Helper()
	for end := time.Now().Add(during); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if err := ask(); err != nil {
			w.Fatal(err)
		}
	}
}

// rotate creates an AnchorRotation, named after the mesh, with approvals.
func (w *world) rotate(approved ...v1alpha1.Gate) {
	w.Helper()
	run := &v1alpha1.AnchorRotation{
		ObjectMeta: metav1.ObjectMeta{Name: w.Mesh.Mesh},
		Spec:       v1alpha1.AnchorRotationSpec{MeshTrustRef: v1alpha1.ClusterObjectRef{Name: w.Mesh.Mesh}},
	}
	for _, gate := range approved {
		run.Spec.Approvals = append(run.Spec.Approvals, v1alpha1.Approval{Gate: gate})
	}
	w.check(w.Client.Create(w.Context(), run))
}

// run is the mesh's latest AnchorRotation.
func (w *world) run(ctx context.Context) (*v1alpha1.AnchorRotation, error) {
	var list v1alpha1.AnchorRotationList
	if err := w.Client.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("listing AnchorRotations: %w", err)
	}
	var latest *v1alpha1.AnchorRotation
	for i := range list.Items {
		r := &list.Items[i]
		if r.Spec.MeshTrustRef.Name == w.Mesh.Mesh && (latest == nil || latest.CreationTimestamp.Before(&r.CreationTimestamp)) {
			latest = r
		}
	}
	if latest == nil {
		return nil, fmt.Errorf("mesh %s has no AnchorRotation", w.Mesh.Mesh)
	}
	return latest, nil
}

// steer changes the latest run's spec.
func (w *world) steer(change func(*v1alpha1.AnchorRotationSpec)) {
	w.Helper()
	w.eventually(time.Minute, func() error { // the API server may be away
		run, err := w.run(w.Context())
		if err != nil {
			return err
		}
		change(&run.Spec)
		return w.Client.Update(w.Context(), run)
	})
}

// reconfigure changes the MeshTrust's spec.
func (w *world) reconfigure(change func(*v1alpha1.MeshTrustSpec)) {
	w.Helper()
	w.check(retry.RetryOnConflict(retry.DefaultRetry, func() error {
		var mt v1alpha1.MeshTrust
		if err := w.Client.Get(w.Context(), client.ObjectKeyFromObject(w.trust), &mt); err != nil {
			return err
		}
		change(&mt.Spec)
		return w.Client.Update(w.Context(), &mt)
	}))
}

// awaitRun waits until the latest run has a condition, with a reason unless that
// is empty.
func (w *world) awaitRun(within time.Duration, kind string, reason string) *v1alpha1.AnchorRotation {
	w.Helper()
	var run *v1alpha1.AnchorRotation
	w.eventually(within, func() (err error) {
		if run, err = w.run(w.Context()); err != nil {
			return err
		}
		c := apimeta.FindStatusCondition(run.Status.Conditions, kind)
		if c == nil || c.Status != metav1.ConditionTrue || reason != "" && c.Reason != reason {
			return fmt.Errorf("want %s %s; %s", kind, reason, describeRun(run))
		}
		return nil
	})
	return run
}

// awaitPhase waits until the run is in a phase, or in a later one.
func (w *world) awaitPhase(within time.Duration, phase v1alpha1.Phase) {
	w.Helper()
	w.eventually(within, func() error {
		run, err := w.run(w.Context())
		if err == nil && !slices.ContainsFunc(run.Status.Steps, func(s v1alpha1.RotationStep) bool { return s.Phase == phase }) {
			err = fmt.Errorf("want phase %s; %s", phase, describeRun(run))
		}
		return err
	})
}

// complete waits until the run has ended as it should.
func (w *world) complete(within time.Duration) *v1alpha1.AnchorRotation {
	w.Helper()
	return w.awaitRun(within, v1alpha1.ConditionComplete, "")
}

func describeRun(run *v1alpha1.AnchorRotation) string {
	out := "run " + run.Name + " (" + run.Labels[v1alpha1.TriggerLabel] + "), " + run.Status.Progress + ";"
	for _, c := range run.Status.Conditions {
		out += fmt.Sprintf(" %s=%s/%s (%s);", c.Type, c.Status, c.Reason, c.Message)
	}
	for _, b := range run.Status.BlockedBy {
		out += fmt.Sprintf(" blocked by %s %s/%s: %s;", b.Kind, b.Namespace, b.Name, b.Reason)
	}
	return out
}

// describe is everything that a failed test wants to know.
func (w *world) describe(ctx context.Context) string {
	out := w.Score().String() + fmt.Sprintf(" %v, %d waiting;\n", w.Proxies.Stats().ByReason, w.Proxies.Stats().Waiting)
	for _, f := range w.Proxies.Failures() {
		out += f.String() + "\n"
	}
	for _, n := range w.Narrowings() {
		out += fmt.Sprintf("%s %s left the bundle, and orphans %q\n", n.At.Format(time.TimeOnly), n.Dropped, n.Orphans)
	}
	var mt v1alpha1.MeshTrust
	if err := w.Client.Get(ctx, client.ObjectKeyFromObject(w.trust), &mt); err != nil && !apierrors.IsNotFound(err) {
		return out + err.Error()
	}
	out += fmt.Sprintf("MeshTrust: pods %+v, rollout %+v;\n", mt.Status.Pods, mt.Status.Rollout)
	for _, c := range mt.Status.Conditions {
		out += fmt.Sprintf(" %s=%s/%s (%s);\n", c.Type, c.Status, c.Reason, c.Message)
	}
	if i := mt.Status.Issuer; i != nil {
		out += fmt.Sprintf(" issuer %.8s verified by %.8s since %s; earlier ones:", i.Fingerprint, i.VerifiedBy, i.SignedSince.Format(time.TimeOnly))
		for _, e := range i.Earlier {
			out += fmt.Sprintf(" %.8s verified by %.8s, replaced at %s;", e.Fingerprint, e.VerifiedBy, e.ReplacedAt.Format(time.TimeOnly))
		}
	}
	if run, err := w.run(ctx); err == nil {
		out += "\n" + describeRun(run) + fmt.Sprintf(" issuer in use at %v\n", run.Status.IssuerInUseAt)
		for _, s := range run.Status.Steps {
			out += fmt.Sprintf(" %s %s %s\n", s.StartedAt.Format(time.TimeOnly), s.Phase, s.Message)
		}
	}
	return out
}

// firstLeaf is how long a proxy that has just started may be without a leaf.
const firstLeaf = 15 * time.Second

// unharmed fails when a handshake has failed, or a proxy gets no leaf. One that
// starts at this moment, in a roll that goes on, has asked and has none yet.
func (w *world) unharmed() {
	w.Helper()
	for end := time.Now().Add(firstLeaf); w.Proxies.Stats().Waiting != 0 && time.Now().Before(end); {
		time.Sleep(200 * time.Millisecond)
	}
	if s := w.Proxies.Stats(); s.Failed != 0 || s.Waiting != 0 || s.Handshakes == 0 {
		w.Errorf("want no failed handshake and no proxy without a leaf, got %+v", s)
	}
}

// rolledOnce fails unless every workload of the application had just one new
// template and each of its pods was replaced once.
func (w *world) rolledOnce() {
	w.Helper()
	for _, r := range w.History.Restarted() {
		if !r.ControlPlane && (r.Templates != 1 || r.Replaced != r.Pods) {
			w.Errorf("%s %s/%s had %d new templates and %d of its %d pods replaced, want one roll", r.Kind, r.Namespace, r.Name, r.Templates, r.Replaced, r.Pods)
		}
	}
}

// replaced fails unless the bundle holds one own anchor, that signed the issuer,
// and the foreign one. It returns that anchor.
func (w *world) replaced() string {
	w.Helper()
	signer := patiently(w, w.SignedBy)
	if signer == w.before {
		w.Errorf("the issuer is signed by the old anchor %.8s", signer)
	}
	w.publishes(signer)
	return signer
}

// publishes fails unless the bundle holds just these own anchors, and the foreign
// one if there is one.
func (w *world) publishes(own ...string) {
	w.Helper()
	if err := w.published(own...); err != nil {
		w.Error(err)
	}
}

// published is nil when it does.
func (w *world) published(own ...string) error {
	published, err := w.Published(w.Context())
	if err != nil {
		return err
	}
	want := linkerd.Anchors(own)
	if f := w.Foreign(); f != "" {
		want = append(want, f)
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, published); diff != "" {
		return fmt.Errorf("the published anchors (-want +got):\n%s", diff)
	}
	return nil
}

// publishedAll is nil when the bundle holds these own anchors, and the foreign one.
// One that cert-manager issued, and at once replaced, may be in it besides.
func (w *world) publishedAll(own ...string) error {
	published, err := w.Published(w.Context())
	if err != nil {
		return err
	}
	want := linkerd.Anchors(own)
	if f := w.Foreign(); f != "" {
		want = append(want, f)
	}
	for _, anchor := range want {
		if !published.Has(anchor) {
			return fmt.Errorf("%.8s is not among the published anchors %s", anchor, published)
		}
	}
	return nil
}

// rotated is what every undisturbed rotation must come to.
func (w *world) rotated() {
	w.Helper()
	w.unharmed()
	w.rolledOnce()
	w.replaced()
	w.drained(w.before)
}

// atLeast is nil once there were so many handshakes.
func atLeast(w *world, handshakes int) error {
	if n := w.Proxies.Stats().Handshakes; n < handshakes {
		return fmt.Errorf("there were %d handshakes, want %d", n, handshakes)
	}
	return nil
}

// awaitTrust waits until the MeshTrust has a condition with a status and, unless
// it is empty, a reason.
func (w *world) awaitTrust(within time.Duration, kind string, status metav1.ConditionStatus, reason v1alpha1.Reason) *v1alpha1.MeshTrust {
	w.Helper()
	var mt v1alpha1.MeshTrust
	w.eventually(within, func() error {
		if err := w.Client.Get(w.Context(), client.ObjectKeyFromObject(w.trust), &mt); err != nil {
			return err
		}
		c := apimeta.FindStatusCondition(mt.Status.Conditions, kind)
		if c == nil || c.Status != status || reason != "" && c.Reason != string(reason) {
			return fmt.Errorf("want %s %s %s, have %+v", kind, status, reason, c)
		}
		return nil
	})
	return &mt
}

func duration(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }

// anchorEnd is when the anchor expires.
func (w *world) anchorEnd() time.Time {
	w.Helper()
	u := linkerd.Certificate()
	w.check(w.Client.Get(w.Context(), w.AnchorKey(), u))
	text, _, err := unstructured.NestedString(u.Object, "status", "notAfter")
	w.check(err)
	end, err := time.Parse(time.RFC3339, text)
	w.check(err)
	return end
}
