package rotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/owner"
	"github.com/reanchor/reanchor/rotation/published"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// actWithin is how long a decision may be acted on: it may be void by then in ways
// that nothing asks about (package rollout, "What the caller owes"; the simulation
// there has the same bound).
const actWithin = 5 * time.Second

// errVoid says that what was decided does not hold any more. No action of it is
// carried out; the next look decides anew.
var errVoid = fmt.Errorf("what was decided is void: %w", owner.ErrSuperseded)

// outcomeWithin is how soon the outcome of a write or a probe is looked at.
const outcomeWithin = time.Second

// act carries out the decision, whose state is stored, and returns how soon to look
// again; 0 when nothing was done that asks for it. The probes come last: their burst
// takes time, which the actions have not got.
func (r *Reconciler) act(ctx context.Context, mt *v1alpha1.MeshTrust, o *observation, d rollout.Decision) (soon time.Duration, faults error) {
	if due := r.due(mt.Name, d.Actions); len(due) > 0 {
		faults = r.write(ctx, mt, o, due)
	}
	soon = r.again(mt.Name, d.Actions)
	if d.Probe && r.fence.probe(ctx, mt.Name, o, r.clock.Now()) {
		soon = outcomeWithin
	}
	return soon, faults
}

// due leaves out the actions that were refused a moment ago.
func (r *Reconciler) due(name string, actions []rollout.Action) []rollout.Action {
	now := r.clock.Now()
	return slices.DeleteFunc(slices.Clone(actions), func(a rollout.Action) bool { return r.memory.wait(name, a.Key, now) > 0 })
}

// again is how soon actions have an outcome or may be tried again; 0 without any.
func (r *Reconciler) again(name string, actions []rollout.Action) time.Duration {
	now, soon := r.clock.Now(), time.Duration(0)
	for _, a := range actions {
		wait := cmp.Or(r.memory.wait(name, a.Key, now), outcomeWithin)
		if soon == 0 || wait < soon {
			soon = wait
		}
	}
	return soon
}

// write carries out the actions, one after the other, while the decision holds.
func (r *Reconciler) write(ctx context.Context, mt *v1alpha1.MeshTrust, o *observation, actions []rollout.Action) error {
	if err := r.confirm(ctx, o); err != nil {
		return unlessVoid(ctx, err)
	}
	o.writer.InForce = func(ctx context.Context) error { return r.inForce(ctx, mt, o) }
	var faults []error
	for _, a := range actions {
		written, err := o.writer.Do(ctx, a)
		switch {
		case errors.Is(err, errVoid):
			return errors.Join(append(faults, unlessVoid(ctx, err))...)
		case errors.Is(err, owner.ErrRefused):
			r.memory.wasRefused(mt.Name, a.Key, refusal(err), r.clock.Now())
		case errors.Is(err, owner.ErrSuperseded):
			r.memory.notNeeded(mt.Name, a.Key)
			log.FromContext(ctx).V(1).Info("action not needed any more", "workload", a.Key.String(), "why", err.Error())
		case err != nil:
			faults = append(faults, err)
		default:
			r.reporter.acted(mt, a, o.finder(ctx))
			r.memory.wrote(mt.Name, a, written, r.clock.Now())
		}
	}
	return errors.Join(faults...)
}

// unlessVoid returns the error, and nil when it merely says that the decision is
// void.
func unlessVoid(ctx context.Context, err error) error {
	if !errors.Is(err, errVoid) {
		return err
	}
	log.FromContext(ctx).V(1).Info("decision not carried out", "why", err.Error())
	return nil
}

// confirm asks the API server, once before the first write, whether bundle and
// issuer are those that were delivered: a watch may be behind.
func (r *Reconciler) confirm(ctx context.Context, o *observation) error {
	return confirmed(r.published.Confirm(ctx, r.live, &o.spec, r.clock.Now()))
}

// confirmRecord makes sure, where the status would name another bundle or issuer than
// before, that these are the ones which the API server holds. A leader that slept
// reads the MeshTrust anew when it wakes up, and what its watches delivered before:
// it would put the old issuer on record again, and whoever corrects that would have it
// replaced a second time, after a rotation has shown that its leaves have ended.
//
// Only what would be new is confirmed, which has been read: what cannot be read must
// not keep the status from saying so. Nor must the lack of a right to list: then
// nothing is written but the status.
func (r *Reconciler) confirmRecord(ctx context.Context, before, mt *v1alpha1.MeshTrust, o *observation) error {
	issuer := issuerOnRecord(mt)
	newBundle, newIssuer := beginsRecord(before, mt), issuer != "" && issuer != issuerOnRecord(before)
	var err error
	if newBundle {
		err = r.published.ConfirmBundle(ctx, r.live, o.spec.Bundle, r.clock.Now())
	}
	if newIssuer && err == nil {
		err = r.published.ConfirmIssuer(ctx, r.live, o.spec.Issuer, r.clock.Now())
	}
	switch {
	case apierrors.IsForbidden(err):
		return nil
	case err == nil && (newBundle || newIssuer) && r.differs(o):
		return fmt.Errorf("%w: bundle or issuer changed since", errVoid)
	default:
		return confirmed(err)
	}
}

// confirmed is the error of a question whether what was read is what there is.
func confirmed(err error) error {
	switch {
	case errors.Is(err, published.ErrChanged), errors.Is(err, published.ErrSyncing):
		return fmt.Errorf("%w: %w", errVoid, err)
	case err != nil:
		return fmt.Errorf("confirming bundle and issuer: %w", err)
	default:
		return nil
	}
}

// differs reports whether bundle or issuer were delivered otherwise since.
func (r *Reconciler) differs(o *observation) bool {
	now := r.clock.Now()
	return r.published.Bundle(o.spec.Bundle, now).Differs(o.bundle) || r.published.Issuer(o.spec.Issuer, now).Differs(o.issuer)
}

// beginsRecord reports whether a status begins a record of a bundle: of another than
// before, or of the same after it was interrupted.
func beginsRecord(before, mt *v1alpha1.MeshTrust) bool {
	return mt.Status.HistoryTotal != before.Status.HistoryTotal
}

func issuerOnRecord(mt *v1alpha1.MeshTrust) string {
	if mt.Status.Issuer == nil {
		return ""
	}
	return mt.Status.Issuer.Fingerprint
}

// inForce returns an error when what was decided does not hold any more. The
// MeshTrust is not as it was stored with the decision: another controller took
// over while this one slept, or the user said otherwise, such as suspend. Bundle or
// issuer are others by now, so that I9 would have to be judged again. A window has
// opened or closed. Or too much time has passed.
func (r *Reconciler) inForce(ctx context.Context, stored *v1alpha1.MeshTrust, o *observation) error {
	var live v1alpha1.MeshTrust
	err := r.live.Get(ctx, client.ObjectKeyFromObject(stored), &live)
	switch {
	case apierrors.IsNotFound(err), err == nil && (live.UID != stored.UID || live.ResourceVersion != stored.ResourceVersion):
		return fmt.Errorf("%w: MeshTrust %s changed since", errVoid, stored.Name)
	case err != nil:
		return fmt.Errorf("reading MeshTrust %s: %w", stored.Name, err)
	case r.differs(o):
		return fmt.Errorf("%w: bundle or issuer changed since", errVoid)
	case !o.until.IsZero() && !r.clock.Now().Before(o.until):
		return fmt.Errorf("%w: a window has opened or closed since", errVoid)
	case r.clock.Since(o.decidedAt) > actWithin:
		return fmt.Errorf("%w: it was decided more than %s ago", errVoid, actWithin)
	default:
		return nil
	}
}

// finder finds workloads as they were observed.
func (o *observation) finder(ctx context.Context) finder {
	return func(key rollout.Key) *corev1.ObjectReference {
		found, err := o.writer.Reader.Read(ctx, key, owner.Surroundings{})
		if err != nil {
			return referenceTo(key, "") // an event without the UID is better than none
		}
		return referenceTo(key, found.UID)
	}
}

// refusal is the part of an error that names what refused.
func refusal(err error) string {
	_, by, _ := strings.Cut(err.Error(), owner.ErrRefused.Error()+": ")
	return cmp.Or(by, "a PodDisruptionBudget")
}
