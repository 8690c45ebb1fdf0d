package rotation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/inventory"
	"github.com/reanchor/reanchor/rotation/published"
	"github.com/reanchor/reanchor/rotation/record"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// Zones returns a time zone by its IANA name.
type Zones func(name string) (*time.Location, error)

// Reconciler reconciles MeshTrusts.
type Reconciler struct {
	client    client.Client
	live      client.Reader
	published *published.Watcher
	inventory *inventory.Index
	fence     *fence
	memory    *memory
	zones     Zones
	noFence   bool
	reporter  *reporter
	clock     clock.PassiveClock
	// naming makes one step of reading the meshes and telling the inventory of
	// them, so that no older list comes after a newer one.
	naming sync.Mutex

	// ledSince is when the first reconcile began.
	ledOnce  sync.Once
	ledSince time.Time
}

// Limits of how often a status is written and looked at.
const (
	// statusEvery is the least time between two writes of a status in which
	// only counts changed.
	statusEvery = 2 * time.Second
	// lookEvery is how long a mesh in which nothing happens is left alone.
	lookEvery = 30 * time.Second
	// overtakenPause is how long whoever was faster is given to be seen.
	overtakenPause = 100 * time.Millisecond
)

// Reconcile compares the pods of one mesh with its bundle and takes the next
// steps.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	if err := r.setMeshes(ctx); err != nil {
		return reconcile.Result{}, err
	}
	if wait := r.settling(); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	var mt v1alpha1.MeshTrust
	if err := r.live.Get(ctx, req.NamespacedName, &mt); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(req.Name)
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("reading MeshTrust %s: %w", req.Name, err)
	}
	if !mt.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil
	}
	before := mt.DeepCopy()
	winner, err := r.contested(ctx, &mt)
	if err != nil {
		return reconcile.Result{}, err
	}
	if winner != "" {
		return r.refuse(ctx, before, &mt, yields(winner))
	}
	if mt.Spec.Profile == v1alpha1.ProfileEnvoyGateway {
		return r.refuse(ctx, before, &mt, rollout.Hold{Reason: v1alpha1.ProfileUnsupported,
			Message: "this version does not support the profile EnvoyGateway; nothing is looked at"})
	}
	return r.step(ctx, before, &mt)
}

// settleAfterLead is how long a controller that took the lead looks on before it
// decides: its caches may be a moment behind the last writes of its predecessor.
const settleAfterLead = 2 * time.Second

// settling returns how long that still lasts. Reconciles begin with the lead.
func (r *Reconciler) settling() time.Duration {
	r.ledOnce.Do(func() { r.ledSince = r.clock.Now() })
	return settleAfterLead - r.clock.Since(r.ledSince)
}

// step observes, decides, stores the decision and carries it out.
func (r *Reconciler) step(ctx context.Context, before, mt *v1alpha1.MeshTrust) (reconcile.Result, error) {
	now := r.clock.Now()
	o, wait, err := r.observe(ctx, mt, now)
	var spec specError
	switch {
	case errors.As(err, &spec):
		if err := r.confirmRecord(ctx, before, mt, o); err != nil {
			return soonIfVoid(ctx, err)
		}
		return r.refuse(ctx, before, mt, rollout.Hold{Reason: v1alpha1.InvalidSpec, Message: spec.Error()})
	case err != nil:
		return reconcile.Result{}, err
	case wait != "":
		log.FromContext(ctx).V(1).Info("waiting", "for", string(wait))
		return reconcile.Result{RequeueAfter: time.Second}, nil
	}
	now = r.clock.Now() // reading may have taken a while, and windows close by the clock
	d := rollout.Next(o.facts, now)
	o.decidedAt, o.until = now, d.Until
	render(mt, o, d, now)
	if err := r.confirmRecord(ctx, before, mt, o); err != nil {
		return soonIfVoid(ctx, err)
	}
	stored, err := r.store(ctx, before, mt, len(d.Actions) > 0)
	switch {
	case apierrors.IsConflict(err):
		// Another controller wrote, or the user did: what was decided is void.
		return reconcile.Result{RequeueAfter: overtakenPause}, nil
	case err != nil:
		return reconcile.Result{}, err
	}
	r.reporter.decided(before, mt, d, o.finder(ctx))
	soon, err := r.act(ctx, mt, o, d)
	return reconcile.Result{RequeueAfter: after(d, soon, stored, now)}, err
}

// soonIfVoid asks for another look where the error says that what was observed does
// not hold any more.
func soonIfVoid(ctx context.Context, err error) (reconcile.Result, error) {
	if err := unlessVoid(ctx, err); err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: overtakenPause}, nil
}

// after is when to look again although nothing changes: soon, unless that is 0, since
// the outcome of a write or a probe is to be looked at.
func after(d rollout.Decision, soon time.Duration, stored bool, now time.Time) time.Duration {
	wait := lookEvery
	if !stored {
		wait = statusEvery
	}
	if soon > 0 {
		wait = min(wait, soon)
	}
	if !d.Again.IsZero() {
		wait = min(wait, max(d.Again.Sub(now), 50*time.Millisecond))
	}
	return wait
}

// store writes the status, unless it is as before, or differs in counts only
// and was written a moment ago. It reports whether it is up to date.
func (r *Reconciler) store(ctx context.Context, before, mt *v1alpha1.MeshTrust, must bool) (bool, error) {
	if equality.Semantic.DeepEqual(before.Status, mt.Status) {
		return true, nil
	}
	if !must && !material(before, mt) && !r.reporter.statusDue(mt.Name, r.clock.Now()) {
		return false, nil
	}
	if err := record.UpdateStatus(ctx, r.client, mt); err != nil {
		return false, fmt.Errorf("writing the status of MeshTrust %s: %w", mt.Name, err)
	}
	r.reporter.statusWritten(mt.Name, r.clock.Now())
	return true, nil
}

// material reports whether two statuses differ in more than counts.
func material(before, after *v1alpha1.MeshTrust) bool {
	return !equality.Semantic.DeepEqual(essence(before), essence(after))
}

// essence is the status without what changes with every pod.
func essence(mt *v1alpha1.MeshTrust) v1alpha1.MeshTrustStatus {
	s := *mt.Status.DeepCopy()
	s.Pods, s.Workloads, s.EarliestTrustExpiry = v1alpha1.PodCounts{}, v1alpha1.WorkloadCounts{}, nil
	s.Rollout.ETA, s.Rollout.Deadline = nil, nil
	for i := range s.Rollout.InProgress {
		w := &s.Rollout.InProgress[i]
		w.Left, w.ProgressAt, w.Message = 0, nil, ""
	}
	for i := range s.Conditions {
		s.Conditions[i].Message = ""
	}
	return s
}

// setMeshes tells the inventory which meshes there are. Of those that claim the
// same pods only the oldest counts.
func (r *Reconciler) setMeshes(ctx context.Context) error {
	r.naming.Lock()
	defer r.naming.Unlock()
	all, err := r.list(ctx)
	if err != nil {
		return err
	}
	var meshes []mesh.Mesh
	for i := range all {
		if rival(all[:i], &all[i]) == "" {
			meshes = append(meshes, mesh.FromMeshTrust(&all[i]))
		}
	}
	r.inventory.SetMeshes(meshes...)
	return nil
}

// list returns the MeshTrusts, the oldest first.
func (r *Reconciler) list(ctx context.Context) ([]v1alpha1.MeshTrust, error) {
	var list v1alpha1.MeshTrustList
	if err := r.client.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("listing MeshTrusts: %w", err)
	}
	slices.SortFunc(list.Items, older)
	return list.Items, nil
}

func (r *Reconciler) forget(name string) {
	r.memory.forget(name)
	r.fence.forget(name)
	r.reporter.forget(name)
}
