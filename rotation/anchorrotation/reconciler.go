package anchorrotation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/inventory"
	"github.com/reanchor/reanchor/rotation/issuance"
	"github.com/reanchor/reanchor/rotation/lifecycle"
	"github.com/reanchor/reanchor/rotation/published"
)

// Reconciler drives the rotations of meshes.
type Reconciler struct {
	// Client writes, Live reads from the API server itself.
	Client client.Client
	Live   client.Reader
	// Store reads and writes the objects of certificates.
	Store *issuance.Store
	// Inventory answers for the pods, PodClient lists them for gates.
	Inventory *inventory.Index
	PodClient corev1client.PodsGetter
	// Certificates tells of changes to cert-manager's Certificates.
	Certificates *published.Watcher
	// ServerTime returns the API server's clock.
	ServerTime func(context.Context) (time.Time, error)
	Reporter   *Reporter
	Clock      clock.PassiveClock

	pacer pacer
	// lacking is which rights a mesh's rotation was said to lack, absent which
	// kinds are not served.
	lacking lately[string, issuance.Missing]
	absent  lately[schema.GroupKind, struct{}]
}

// Limits of how often a mesh is looked at although no event calls for it.
const (
	// lookEvery is while a run is under way, restEvery without one.
	lookEvery = 3 * time.Second
	restEvery = 30 * time.Second
	// soon is after a write, whose outcome is waited for.
	soon = pace
)

// Reconcile takes the next steps for the own anchors of one mesh.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	if wait := r.pacer.wait(req.Name, r.Clock.Now()); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	w, err := r.look(ctx, req.Name, false)
	switch {
	case apierrors.IsForbidden(err) && w != nil && w.mt != nil:
		return r.forbidden(ctx, w, err)
	case err != nil:
		return reconcile.Result{}, err
	case w.mt == nil:
		return reconcile.Result{}, r.orphaned(ctx, w, req.Name)
	case w.refused != "":
		return r.refuse(ctx, w)
	case w.pending != "":
		return r.await(ctx, w)
	default:
		r.pacer.ready(req.Name)
		return r.proceed(ctx, w)
	}
}

// proceed puts the runs in order, opens one if one is called for, and takes the
// next step.
func (r *Reconciler) proceed(ctx context.Context, w *world) (reconcile.Result, error) {
	r.watch(w)
	// While pods roll, the roller writes to the MeshTrust's status all the time. What
	// loses to it is noted at a later look; a run that is under way does not wait.
	noted := errors.Join(r.noteSchedule(ctx, w), r.markOwn(ctx, w))
	if noted != nil && (w.run == nil || !apierrors.IsConflict(noted)) {
		return again(noted)
	}
	if err := r.tidy(ctx, w); err != nil {
		return again(err)
	}
	if w.run == nil {
		if opened, err := r.open(ctx, w); opened || err != nil {
			return again(err)
		}
	}
	return r.step(ctx, w)
}

// step decides, with facts as good as the decision needs, and carries it out.
func (r *Reconciler) step(ctx context.Context, w *world) (reconcile.Result, error) {
	now := r.Clock.Now()
	d := lifecycle.Next(w.facts, now)
	if d.NeedLive {
		fresh, err := r.look(ctx, w.mt.Name, true)
		if err != nil {
			return reconcile.Result{}, err
		}
		if !fresh.whole() || fresh.runUID() != w.runUID() {
			return reconcile.Result{RequeueAfter: soon}, nil
		}
		w, now = fresh, r.Clock.Now()
		d = lifecycle.Next(w.facts, now)
	}
	if err := r.store(ctx, w, d, now); err != nil {
		return again(err)
	}
	r.Reporter.decided(w.mt, w.run, d, now)
	acted := r.act(ctx, w, d)
	if acted == nil && d.Released {
		acted = r.release(ctx, w.run)
	}
	if acted != nil {
		return again(acted)
	}
	return reconcile.Result{RequeueAfter: after(w, d, now)}, nil
}

// again turns a Conflict into another look: whoever wrote knows better.
func again(err error) (reconcile.Result, error) {
	if err == nil || apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: soon}, nil
	}
	return reconcile.Result{}, err
}

// after is when to look again although nothing changes.
func after(w *world, d lifecycle.Decision, now time.Time) time.Duration {
	wait := restEvery
	switch {
	case len(d.Actions) > 0:
		wait = soon
	case w.run != nil && d.State.Outcome == "":
		wait = lookEvery
	}
	for _, at := range []time.Time{d.Again, w.openAgain} {
		if !at.IsZero() {
			wait = min(wait, max(at.Sub(now), 50*time.Millisecond))
		}
	}
	return wait
}

// act makes the writes of a decision, in order, up to the first that fails.
func (r *Reconciler) act(ctx context.Context, w *world, d lifecycle.Decision) error {
	for _, a := range d.Actions {
		if err := r.inForce(ctx, w); err != nil {
			return err
		}
		if err := r.Store.Do(ctx, w.mt, a); err != nil {
			r.Reporter.failed(w, d.Reason, a, err)
			return fmt.Errorf("carrying out %s: %w", a.Verb, err)
		}
		r.Reporter.acted(w, d.Reason, a)
	}
	return nil
}

// inForce returns a Conflict when the MeshTrust or the run is not as it was
// decided on: another controller has taken over, or the user said otherwise.
func (r *Reconciler) inForce(ctx context.Context, w *world) error {
	var mt v1alpha1.MeshTrust
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(w.mt), &mt); err != nil {
		return fmt.Errorf("reading MeshTrust %s: %w", w.mt.Name, err)
	}
	if mt.UID != w.mt.UID || mt.Generation != w.mt.Generation || !mt.DeletionTimestamp.IsZero() {
		return superseded("meshtrusts", mt.Name)
	}
	if w.run == nil {
		return r.noneBegan(ctx, w)
	}
	var run v1alpha1.AnchorRotation
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(w.run), &run); err != nil {
		return fmt.Errorf("reading AnchorRotation %s: %w", w.run.Name, err)
	}
	if run.UID != w.run.UID || run.ResourceVersion != w.run.ResourceVersion {
		return superseded("anchorrotations", run.Name)
	}
	return nil
}

// noneBegan returns a Conflict when there is a run that the look, which found none
// under way, did not see. What that one relies on, such as a renewal that it found
// held back or the copy of the anchor's Secret, may be just what was to be let go,
// and it would not have written to it, so that no resourceVersion tells.
func (r *Reconciler) noneBegan(ctx context.Context, w *world) error {
	runs, err := r.runsOf(ctx, w.mt.Name)
	if err != nil {
		return err
	}
	for i := range runs {
		if !slices.ContainsFunc(w.runs, func(x v1alpha1.AnchorRotation) bool { return x.UID == runs[i].UID }) {
			return superseded("anchorrotations", runs[i].Name)
		}
	}
	return nil
}

func superseded(resource, name string) error {
	group := v1alpha1.GroupVersion.WithResource(resource).GroupResource()
	return apierrors.NewConflict(group, name, fmt.Errorf("it changed since it was decided on"))
}

// watch asks to be told when a Certificate in question changes.
func (r *Reconciler) watch(w *world) {
	if r.Certificates == nil {
		return
	}
	namespaces := map[string]bool{}
	for _, list := range [][]lifecycle.Certificate{w.facts.Anchors, w.facts.Issuers} {
		for i := range list {
			namespaces[list[i].Ref.Namespace] = true
		}
	}
	for namespace := range namespaces {
		// What the watch holds is not used, nor does its failure matter: all is
		// read at every look, and there is one in time without it.
		_, _ = r.Certificates.List(published.Ref{Resource: certificates, Namespace: namespace}, r.Clock.Now())
	}
}

// eventTypeOf is Warning for what calls for somebody.
func eventTypeOf(bad bool) string {
	if bad {
		return corev1.EventTypeWarning
	}
	return corev1.EventTypeNormal
}
