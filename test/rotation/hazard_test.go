package rotation

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
	"github.com/reanchor/reanchor/hack/lab/proxies"
)

// hazardous is a mesh whose issuer renews itself every two minutes and that takes
// longer than a minute and a half to roll.
func hazardous(name string, layout v1alpha1.Layout) linkerd.Options {
	o := small(name)
	o.Layout, o.ReadyDelay, o.Workloads = layout, 8*time.Second, 6
	o.Times.Issuer, o.Times.IssuerRenewBefore = 30*time.Minute, 28*time.Minute
	return o
}

func oneByOne(mt *v1alpha1.MeshTrust) {
	mt.Spec.Rollout.MaxConcurrent, mt.Spec.Rollout.MaxConcurrentPerNamespace = new(intstr.FromInt32(1)), new(int32(1))
}

// beforeRenewal waits until so long before the issuer renews itself, and returns
// when that will be.
func (w *world) beforeRenewal(before time.Duration) time.Time {
	w.Helper()
	var at time.Time
	w.eventually(3*time.Minute, func() error {
		var err error
		if at, err = w.renewal(); err != nil {
			return err
		}
		if left := time.Until(at); left > before || left < before-10*time.Second {
			return fmt.Errorf("the issuer renews itself in %s", left)
		}
		return nil
	})
	return at
}

// renewal is when the issuer renews itself.
func (w *world) renewal() (time.Time, error) {
	u := linkerd.Certificate()
	if err := w.Client.Get(w.Context(), w.IssuerKey(), u); err != nil {
		return time.Time{}, err
	}
	text, _, err := unstructured.NestedString(u.Object, "status", "renewalTime")
	if err != nil {
		return time.Time{}, err
	}
	return time.Parse(time.RFC3339, text)
}

// inMidRoll fails unless the time is one at which the new anchor is there and pods
// are still to be rolled for it. It waits until the issuer has surely renewed
// itself then, if nothing held it back, and until come is nil.
func (w *world) inMidRoll(at time.Time, come func() error) {
	w.Helper()
	w.toAnchor()
	if late := time.Since(at); late > 0 {
		w.Fatalf("the anchor was there %s too late: the test shows nothing", late)
	}
	w.holds(time.Until(at.Add(10*time.Second)), w.unswitched)
	w.eventually(time.Minute, come)
	w.check(w.unswitched())
	if done, all := w.rolled(); done == all {
		w.Fatalf("all %d workloads are rolled: the test shows nothing", all)
	}
}

// rolled counts the workloads of the application of which every pod was replaced,
// and all.
func (w *world) rolled() (done, all int) {
	for _, r := range w.History.Restarted() {
		if r.ControlPlane {
			continue
		}
		all++
		if r.Templates > 0 && r.Replaced == r.Pods {
			done++
		}
	}
	return done, all
}

func (w *world) issuer() string {
	w.Helper()
	f, err := w.Issuer(w.Context())
	w.check(err)
	return f
}

// The documented layout without Reanchor's rotation: the anchor is renewed, pods
// are being rolled, control plane first, and cert-manager renews the issuer with
// nothing but default behaviour. Every leaf from then on is refused by the pods
// that were not rolled yet.
func hazard(t *T) {
	w := newWorld(t, hazardous("hazard", v1alpha1.LayoutInPlace), func(mt *v1alpha1.MeshTrust) {
		mt.Spec.Rotation = nil // it rolls, and does no more
		oneByOne(mt)
	})
	w.converged()
	at := w.beforeRenewal(35 * time.Second)
	w.check(w.RenewNow(t.Context(), w.AnchorKey()))
	w.eventually(time.Until(at)+2*time.Minute, func() error {
		if s := w.Proxies.Stats(); s.ByReason[proxies.BadSignature] < 10 {
			return fmt.Errorf("no harm is done: %+v", s)
		}
		return nil
	})
}

// The same with generations: the issuer renews itself in mid-roll, and is signed
// by the anchor that every pod trusts.
func hazardOfGenerations(t *T) {
	w := newWorld(t, hazardous("hazard-generations", v1alpha1.LayoutGenerations), oneByOne)
	w.converged()
	at, issuer := w.beforeRenewal(75*time.Second), w.issuer()
	w.rotate(v1alpha1.GateSwitchIssuer, v1alpha1.GateNarrow)
	w.inMidRoll(at, func() error {
		if w.issuer() == issuer {
			return errors.New("the issuer has not renewed itself")
		}
		return nil
	})
	w.unharmed()
	w.complete(long)
	w.rotated()
}

// The same in place, where the renewal is held back until every pod trusts the new
// anchor.
func hazardHeld(t *T) {
	w := newWorld(t, hazardous("hazard-held", v1alpha1.LayoutInPlace), oneByOne)
	w.converged()
	at, issuer := w.beforeRenewal(75*time.Second), w.issuer()
	w.rotate()
	w.inMidRoll(at, func() error { return nil })
	if w.issuer() != issuer {
		t.Error("the issuer was renewed while pods do not trust the new anchor")
	}
	w.complete(long)
	w.rotated()
}
