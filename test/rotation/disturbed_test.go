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
	"sync"
	"syscall"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/local"
)

// disturbances are scenarios that take something away from all others.
func disturbances() []scenario {
	return []scenario{
		{"the controller is killed twenty times, at random moments", killed},
		{"the API server is restarted twice", apiServerRestarted},
		{"cert-manager is down for a minute", certManagerDown},
		{"trust-manager is down for a minute", trustManagerDown},
	}
}

// killed counts only kills of a controller that was alive and of a run that had
// not ended.
func killed(t *testing.T) {
	const kills = 20
	o := small("killed")
	o.Workloads = 8
	w := newWorld(t, o, nil)
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
		if env.controller.Signal(os.Kill) == nil {
			n++
		}
	}
	w.complete(long)
	w.rotated()
}

// apiServerRestarted takes the API server away while the pods are rolled, and
// again while the old leaves end.
func apiServerRestarted(t *testing.T) {
	w := newWorld(t, small("api-server"), nil)
	w.rotate()
	for _, phase := range []v1alpha1.Phase{v1alpha1.PhaseRolling, v1alpha1.PhaseDrainLeaves} {
		w.awaitPhase(long, phase)
		w.check(env.lab.Restart(t.Context(), lab.APIServer))
	}
	w.complete(long)
	w.rotated()
}

// certManagerDown takes cert-manager away when the issuer is to be renewed.
func certManagerDown(t *testing.T) {
	w := newWorld(t, smallGenerations("cert-manager-down"), nil)
	w.rotate()
	w.awaitPhase(long, v1alpha1.PhaseSwitchIssuer)
	old := patiently(w, w.pointsAt)
	w.down(lab.CertManager, func() error {
		now, err := w.pointsAt(t.Context())
		if err == nil && now == old {
			err = errors.New("the issuer is not to be renewed yet")
		}
		return errors.Join(err, w.unswitched())
	})
	w.complete(long)
	w.rotated()
}

// trustManagerDown takes trust-manager away when the bundle is to be widened.
func trustManagerDown(t *testing.T) {
	w := newWorld(t, smallGenerations("trust-manager-down"), nil)
	w.rotate()
	w.awaitPhase(long, v1alpha1.PhaseNewAnchor)
	w.down(lab.TrustManager, func() error {
		run, err := w.run(t.Context())
		if err == nil && phases(run)[len(run.Status.Steps)-1] != v1alpha1.PhaseWiden {
			err = errors.New("the bundle is not to be widened yet")
		}
		return errors.Join(err, w.published(w.before))
	})
	w.complete(long)
	w.rotated()
}

// down takes a component away for a minute, at the end of which it is missed.
func (w *world) down(c lab.Component, missed func() error) {
	w.Helper()
	w.check(env.lab.Kill(c))
	defer func() { w.check(env.lab.StartComponent(c)) }()
	time.Sleep(time.Minute)
	w.eventually(2*time.Minute, missed)
}

// sleeper is stopped in its tracks while its write is under way that switches the
// issuer. The run is aborted, and another leader turns back. Then the write arrives:
// it is refused, since the pointer is not what the sleeper had read. The run ends on
// the old anchor, and the sleeper wakes up: it does nothing more, and ends.
func sleeper(t *testing.T) {
	w := newWorld(t, smallGenerations("sleeper"), nil)
	w.rotate(v1alpha1.GateSwitchIssuer, v1alpha1.GateNarrow)
	w.awaitPhase(long, v1alpha1.PhaseSwitchIssuer)
	standby, err := local.KeepProcess(filepath.Join(env.dir, "standby.log"), filepath.Join(env.dir, "reanchor"), "controller",
		"--kubeconfig="+filepath.Join(env.dir, "controller.kubeconfig"), "--lease-duration=4s", "--metrics-address=0", "--health-address=127.0.0.1:0", "-v1")
	w.check(err)
	t.Cleanup(standby.Stop)
	issuer, old, token := w.issuer(), w.signsNext(), w.pointedBy()
	begun, arrive := w.holdSwitch()
	select {
	case <-begun:
	case <-time.After(long):
		t.Fatal("the issuer was never switched")
	}
	w.check(env.controller.Signal(syscall.SIGSTOP))
	t.Cleanup(func() { _ = env.controller.Signal(syscall.SIGCONT) })
	w.steer(func(s *v1alpha1.AnchorRotationSpec) { s.Abort = true })
	w.eventually(25*time.Second, func() error {
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
	w.eventually(20*time.Second, func() error { return w.published(w.before) })

	runs := env.controller.Runs()
	w.check(env.controller.Signal(syscall.SIGCONT))
	w.eventually(20*time.Second, func() error {
		if env.controller.Runs() == runs {
			return errors.New("a leader that lost its lease goes on")
		}
		return still()
	})
	w.holds(10*time.Second, func() error { return errors.Join(still(), w.published(w.before)) })
	w.unharmed()
	w.rolledOnce()
	w.drained(run.Status.ToAnchor.Fingerprint)
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
	w.eventually(30*time.Second, func() (err error) {
		out, err = ask(w.Context())
		return err
	})
	return out
}
