package rotation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/local"
)

// disturbances are scenarios that take something away from all others.
func disturbances() map[string]func(*testing.T) {
	return map[string]func(*testing.T){
		"the controller is killed twenty times, at random moments": killed,
		"the API server is restarted twice":                        apiServerRestarted,
		"cert-manager is down for a minute":                        certManagerDown,
		"trust-manager is down for a minute":                       trustManagerDown,
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
	w.down(lab.CertManager)
	w.complete(long)
	w.rotated()
}

// trustManagerDown takes trust-manager away when the bundle is to be widened.
func trustManagerDown(t *testing.T) {
	w := newWorld(t, smallGenerations("trust-manager-down"), nil)
	w.rotate()
	w.awaitPhase(long, v1alpha1.PhaseNewAnchor)
	w.down(lab.TrustManager)
	w.complete(long)
	w.rotated()
}

// down takes a component away for a minute.
func (w *world) down(c lab.Component) {
	w.Helper()
	w.check(env.lab.Kill(c))
	time.Sleep(time.Minute)
	w.check(env.lab.StartComponent(c))
}

// sleeper is stopped in its tracks when it has stored that it will switch the
// issuer. Another takes over and carries the rotation to its end. The sleeper wakes
// up: nothing of what it had decided is done.
func sleeper(t *testing.T) {
	w := newWorld(t, smallGenerations("sleeper"), nil)
	standby, err := local.KeepProcess(filepath.Join(env.dir, "standby.log"), filepath.Join(env.dir, "reanchor"), "controller",
		"--kubeconfig="+filepath.Join(env.dir, "controller.kubeconfig"), "--lease-duration=4s", "--metrics-address=0", "--health-address=127.0.0.1:0", "-v1")
	w.check(err)
	t.Cleanup(standby.Stop)
	w.rotate(v1alpha1.GateSwitchIssuer, v1alpha1.GateNarrow)
	w.awaitPhase(long, v1alpha1.PhaseSwitchIssuer)
	for run, err := w.run(t.Context()); err != nil || run.Status.SwitchIntendedAt == nil; run, err = w.run(t.Context()) {
		time.Sleep(10 * time.Millisecond)
	}
	w.check(env.controller.Signal(syscall.SIGSTOP))
	t.Cleanup(func() { _ = env.controller.Signal(syscall.SIGCONT) })
	w.complete(long)
	w.rotated()

	w.check(env.controller.Signal(syscall.SIGCONT))
	signer := w.replaced()
	w.holds(15*time.Second, func() error {
		now, err := w.SignedBy(t.Context())
		if err == nil && now != signer {
			err = fmt.Errorf("the issuer is signed by %.8s, and was by %.8s", now, signer)
		}
		if err != nil {
			return err
		}
		return w.published(signer)
	})
	w.rotated()
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
