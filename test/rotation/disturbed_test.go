package rotation

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"syscall"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
	"github.com/reanchor/reanchor/hack/local"
)

// disturbances are scenarios that take something away from all others.
func disturbances() []scenario {
	var all barrier
	return []scenario{
		{"the controller is killed twenty times, at random moments", func(t *T) { killed(t, all.join(t)) }},
		{"the API server is restarted twice", func(t *T) { apiServerRestarted(t, all.join(t)) }},
		{"cert-manager is down for a minute, in either layout, when the issuer is to be renewed and when a label is to go", func(t *T) { certManagerDown(t, all.join(t)) }},
		{"trust-manager is down for a minute, in either layout, when it is to widen the bundle and to narrow it", func(t *T) { trustManagerDown(t, all.join(t)) }},
	}
}

// barrier keeps scenarios from taking anything away while another is set up.
type barrier struct{ sync.WaitGroup }

// join counts a scenario in. It calls begin when it is set up, which returns when
// all are, or have failed. They join as they begin, long before the first is set up.
func (b *barrier) join(t *T) (begin func()) {
	b.Add(1)
	done := sync.OnceFunc(b.Done)
	t.Cleanup(done)
	return func() {
		done()
		b.Wait()
	}
}

// killed counts only kills of a controller that was alive and of a run that had
// not ended.
func killed(t *T, begin func()) {
	const kills = 20
	o := small("killed")
	o.Workloads = 8
	w := newWorld(t, o, nil)
	begin()
	w.rotate()
	for n := 0; n < kills; {
		time.Sleep(time.Second + rand.N(7*time.Second))
		run, err := w.run(t.Context())
		if err != nil {
			continue // the API server is away
		}
		if run.Status.Conditions != nil && isTrue(run, v1alpha1.ConditionComplete) {
			t.Fatalf("the rotation was complete after %d kills: make them more frequent", n)
		}
		if w.cluster.controller.Signal(os.Kill) == nil {
			n++
		}
	}
	w.complete(long)
	w.rotated()
}

// apiServerRestarted takes the API server away while the pods are rolled, and
// again while the old leaves end.
func apiServerRestarted(t *T, begin func()) {
	w := newWorld(t, small("api-server"), nil)
	begin()
	w.rotate()
	for _, phase := range []v1alpha1.Phase{v1alpha1.PhaseRolling, v1alpha1.PhaseDrainLeaves} {
		w.awaitPhase(long, phase)
		w.check(w.cluster.lab.Restart(t.Context(), lab.APIServer))
	}
	w.complete(long)
	w.rotated()
}

// certManagerDown takes cert-manager away from a mesh of each layout when their
// issuers are to be renewed, and again when an old generation is to lose its label:
// in place nothing of cert-manager's is needed for that.
func certManagerDown(t *T, begin func()) {
	meshes := oneOfEach(t, "cert-manager-down", func(mt *v1alpha1.MeshTrust) { mt.Spec.Rotation.ExternalTrust = true })
	begin()
	for _, w := range meshes {
		w.rotate(v1alpha1.GateNarrow)
	}
	for _, w := range meshes {
		w.awaitApproval(v1alpha1.PhaseSwitchIssuer, v1alpha1.GateSwitchIssuer)
	}
	approve := func(w *world) { w.approve(v1alpha1.GateSwitchIssuer) }
	down(lab.CertManager, meshes, approve, func(w *world) error {
		return errors.Join(w.in(v1alpha1.PhaseSwitchIssuer), w.asked(w.IssuerKey()), w.unswitched())
	})
	generations := meshes[:1]
	awaitFirst(generations, v1alpha1.PhaseDrainLeaves)
	down(lab.CertManager, generations, nothing, func(w *world) error {
		return errors.Join(w.in(v1alpha1.PhaseNarrow), w.unlabelling(), w.publishesBoth())
	})
	for _, w := range meshes {
		w.complete(long)
		w.rotated()
	}
}

// trustManagerDown takes trust-manager away from a mesh of each layout when the
// bundle is to be widened, and again when it is to be narrowed.
func trustManagerDown(t *T, begin func()) {
	meshes := oneOfEach(t, "trust-manager-down", nil)
	begin()
	rotate := func(w *world) { w.rotate() }
	down(lab.TrustManager, meshes, rotate, func(w *world) error {
		return errors.Join(w.in(v1alpha1.PhaseWiden), w.published(w.before))
	})
	awaitFirst(meshes, v1alpha1.PhaseDrainLeaves)
	down(lab.TrustManager, meshes, nothing, func(w *world) error {
		return errors.Join(w.in(v1alpha1.PhaseNarrow), w.publishesBoth())
	})
	for _, w := range meshes {
		w.complete(long)
		w.rotated()
	}
}

// oneOfEach makes two meshes at a time, the first with layout Generations and the
// second in place.
func oneOfEach(t *T, name string, change func(*v1alpha1.MeshTrust)) []*world {
	t.Helper()
	options := []linkerd.Options{smallGenerations(name), small(name + "-in-place")}
	meshes, errs := make([]*linkerd.Mesh, len(options)), make([]error, len(options))
	var starting sync.WaitGroup
	for i, o := range options {
		o.Workloads, o.Rate = 2, 10
		starting.Go(func() { meshes[i], errs[i] = t.cluster.startMesh(t.Context(), o) })
	}
	starting.Wait()
	var out []*world
	for _, m := range meshes {
		if m != nil {
			out = append(out, worldOf(t, m))
		}
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for _, w := range out {
		if change != nil {
			change(w.trust)
		}
		w.entrust()
	}
	return out
}

// nothing is what a mesh needs that comes by itself to where a component is missed.
func nothing(*world) {}

// down takes a component away for a minute, and for as long as a mesh does not miss
// it: each goes on as said, comes to where it is needed, and not further.
func down(c lab.Component, meshes []*world, goOn func(*world), misses func(*world) error) {
	first := meshes[0]
	first.Helper()
	first.check(first.cluster.lab.Kill(c))
	defer func() {
		if err := first.cluster.lab.StartComponent(c); err != nil {
			first.Error(err)
		}
	}()
	for _, w := range meshes {
		goOn(w)
	}
	time.Sleep(time.Minute)
	for _, w := range meshes {
		w.eventually(4*time.Minute, func() error { return misses(w) })
	}
}

// awaitFirst waits until the first of several meshes has come to a phase.
func awaitFirst(meshes []*world, phase v1alpha1.Phase) {
	meshes[0].Helper()
	meshes[0].eventually(long, func() error {
		var all error
		for _, w := range meshes {
			run, err := w.run(w.Context())
			if err == nil && slices.Contains(phases(run), phase) {
				return nil
			}
			if err == nil {
				err = fmt.Errorf("want phase %s; %s", phase, describeRun(run))
			}
			all = errors.Join(all, err)
		}
		return all
	})
}

// in is nil while the mesh's run is in a phase.
func (w *world) in(phase v1alpha1.Phase) error {
	run, err := w.run(w.Context())
	if err != nil {
		return err
	}
	if entered := phases(run); len(entered) == 0 || entered[len(entered)-1] != phase {
		return fmt.Errorf("want a run in phase %s; %s", phase, describeRun(run))
	}
	return nil
}

// publishesBoth is nil while the bundle holds the run's old and new anchor.
func (w *world) publishesBoth() error {
	run, err := w.run(w.Context())
	if err != nil {
		return err
	}
	if run.Status.ToAnchor == nil {
		return errors.New("the run has no new anchor")
	}
	return w.publishedAll(w.before, run.Status.ToAnchor.Fingerprint)
}

// asked is nil while somebody waits for cert-manager to renew a Certificate.
func (w *world) asked(key client.ObjectKey) error {
	u := linkerd.Certificate()
	if err := w.Client.Get(w.Context(), key, u); err != nil {
		return err
	}
	conditions, _, err := unstructured.NestedSlice(u.Object, "status", "conditions")
	if err != nil {
		return err
	}
	for _, condition := range conditions {
		if fields, ok := condition.(map[string]any); ok && fields["type"] == "Issuing" && fields["status"] == "True" {
			return nil
		}
	}
	return fmt.Errorf("nobody has asked for a renewal of Certificate %s", key)
}

// unlabelling is nil while the first generation is to lose its label and cert-manager
// has not taken it off its Secret.
func (w *world) unlabelling() error {
	u := linkerd.Certificate()
	if err := w.Client.Get(w.Context(), w.AnchorKey(), u); err != nil {
		return err
	}
	var s corev1.Secret
	if err := w.Client.Get(w.Context(), w.AnchorKey(), &s); err != nil {
		return err
	}
	wanted, _, err := unstructured.NestedStringMap(u.Object, "spec", "secretTemplate", "labels")
	if err == nil && (wanted[v1alpha1.AnchorOfLabel] != "" || s.Labels[v1alpha1.AnchorOfLabel] == "") {
		err = fmt.Errorf("the labels are to be %v, and those of the Secret are %v", wanted, s.Labels)
	}
	return err
}

// sleeper is stopped in its tracks while its write is under way that switches the
// issuer. The run is aborted, and another leader turns back. Then the write arrives:
// it is refused, since the pointer is not what the sleeper had read. The run ends on
// the old anchor, and the sleeper wakes up: it does nothing more, and ends.
func sleeper(t *T) {
	w := newWorld(t, smallGenerations("sleeper"), nil)
	begun, arrive := w.holdSwitch() // before there is any
	w.rotate(v1alpha1.GateSwitchIssuer, v1alpha1.GateNarrow)
	w.awaitPhase(long, v1alpha1.PhaseRolling)
	address, err := lab.FreeAddress()
	w.check(err)
	standby, err := local.KeepProcess(filepath.Join(w.cluster.dir, "standby.log"), filepath.Join(w.cluster.dir, "reanchor"), "controller",
		"--kubeconfig="+filepath.Join(w.cluster.dir, "controller.kubeconfig"), "--lease-duration=4s", "--metrics-address="+address, "--health-address=127.0.0.1:0", "-v1")
	w.check(err)
	t.Cleanup(standby.Stop)
	select {
	case <-begun:
	case <-time.After(long):
		t.Fatal("the issuer was never switched")
	}
	heldUntil := time.Now().Add(28 * time.Second)
	leader := w.cluster.controller
	if leads(address) { // a busy machine may have changed leaders
		leader = standby
	}
	w.check(leader.Signal(syscall.SIGSTOP))
	t.Cleanup(func() { _ = leader.Signal(syscall.SIGCONT) })
	issuer, old, token := w.issuer(), w.signsNext(), w.pointedBy()
	w.steer(func(s *v1alpha1.AnchorRotationSpec) { s.Abort = true })
	w.eventually(time.Until(heldUntil), func() error { // while the write is held
		if w.pointedBy() == token {
			return errors.New("nobody has turned back yet")
		}
		return nil
	})
	still := func() error {
		if now := w.signsNext(); now != old || w.issuer() != issuer {
			return fmt.Errorf("Secret %s would sign the next issuer, and %.8s is in use; want %s and %.8s", now, w.issuer(), old, issuer)
		}
		return nil
	}
	w.check(still())
	arrive()
	w.holds(3*time.Second, still)
	run := w.awaitRun(4*time.Minute, v1alpha1.ConditionFailed, string(v1alpha1.Aborted))
	w.eventually(time.Minute, func() error { return w.published(w.before) })

	runs := leader.Runs()
	w.check(leader.Signal(syscall.SIGCONT))
	w.eventually(time.Minute, func() error {
		if leader.Runs() == runs {
			return errors.New("a leader that lost its lease goes on")
		}
		return still()
	})
	w.holds(10*time.Second, func() error { return errors.Join(still(), w.published(w.before)) })
	w.unharmed()
	w.rolledOnce()
	w.drained(run.Status.ToAnchor.Fingerprint)
}

// leads reports whether the controller whose metrics are at the address leads.
func leads(address string) bool {
	text, err := metricsAt(address)
	return err == nil && regexp.MustCompile(`(?m)^leader_election_master_status\{.*\} 1$`).MatchString(text)
}

// holdSwitch holds the next write that points the ClusterIssuer elsewhere, inside
// the API server, until arrive is called; for half a minute, which is the longest
// that a webhook may take. The channel is closed when there is one.
func (w *world) holdSwitch() (begun <-chan struct{}, arrive func()) {
	w.Helper()
	there, release := make(chan struct{}), make(chan struct{})
	arrive = sync.OnceFunc(func() { close(release) })
	first := sync.OnceFunc(func() { close(there); <-release })
	server := httptest.NewTLSServer(http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(in.Body).Decode(&review); err != nil || review.Request == nil {
			http.Error(out, "this is no AdmissionReview", http.StatusBadRequest)
			return
		}
		first()
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		_ = json.NewEncoder(out).Encode(review) // without an answer the API server goes on
	}))
	w.Cleanup(server.Close)
	w.Cleanup(arrive)
	hook := switchHook("hold-"+w.Mesh.Mesh, w.ClusterIssuer, server)
	w.check(w.Client.Create(w.Context(), hook))
	w.Cleanup(func() { w.check(w.Client.Delete(context.WithoutCancel(w.Context()), hook)) })
	return there, arrive
}

// switchHook has a server asked before a ClusterIssuer is pointed elsewhere.
func switchHook(name, clusterIssuer string, server *httptest.Server) *admissionregistrationv1.ValidatingWebhookConfiguration {
	ignore, none := admissionregistrationv1.Ignore, admissionregistrationv1.SideEffectClassNone
	return &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "switch.example.com", FailurePolicy: &ignore, SideEffects: &none, AdmissionReviewVersions: []string{"v1"}, TimeoutSeconds: new(int32(30)),
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				URL: &server.URL, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
			},
			MatchConditions: []admissionregistrationv1.MatchCondition{{
				Name: "switch", Expression: fmt.Sprintf("object.metadata.name == %q && object.spec.ca.secretName != oldObject.spec.ca.secretName", clusterIssuer),
			}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Update},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{"cert-manager.io"}, APIVersions: []string{"v1"}, Resources: []string{"clusterissuers"}},
			}},
		}},
	}
}

// pointedBy is the mark that every move of the pointer leaves on the ClusterIssuer.
func (w *world) pointedBy() string {
	w.Helper()
	u := certManagers("ClusterIssuer")
	w.check(w.Client.Get(w.Context(), client.ObjectKey{Name: w.ClusterIssuer}, u))
	return u.GetAnnotations()[v1alpha1.PointedByAnnotation]
}

func isTrue(run *v1alpha1.AnchorRotation, kind string) bool {
	for _, c := range run.Status.Conditions {
		if c.Type == kind {
			return c.Status == "True"
		}
	}
	return false
}

// patiently asks until there is an answer, though the API server may be away.
func patiently[T any](w *world, ask func(context.Context) (T, error)) T {
	w.Helper()
	var out T
	w.eventually(time.Minute, func() (err error) {
		out, err = ask(w.Context())
		return err
	})
	return out
}
