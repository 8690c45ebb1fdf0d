package own

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// remove deletes what the demo created, and with the namespaces and the CRDs all
// that is in them, and waits until it is gone. What is not marked as the demo's
// is left alone.
func (w *world) remove(ctx context.Context) error {
	w.heading("Removing all of it again")
	var faults []error
	for _, o := range w.clusterScoped() {
		if err := w.removeOne(ctx, o); err != nil {
			faults = append(faults, err)
		}
	}
	for _, o := range w.clusterScoped() {
		err := w.await(ctx, 2*time.Minute, "the end of "+o.GetName(), func() (bool, error) {
			err := w.client.Get(ctx, client.ObjectKeyFromObject(o), o)
			if err == nil && o.GetLabels()[managedBy] != demo {
				return true, nil // it never was ours
			}
			return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
		})
		if err != nil {
			faults = append(faults, fmt.Errorf("%w; --remove tries again", err))
		}
	}
	return errors.Join(faults...)
}

func (w *world) removeOne(ctx context.Context, o client.Object) error {
	err := w.client.Get(ctx, client.ObjectKeyFromObject(o), o)
	switch {
	case apierrors.IsNotFound(err), err == nil && o.GetLabels()[managedBy] != demo:
		return nil
	case err != nil:
		return fmt.Errorf("removing %s: %w", o.GetName(), err)
	}
	uid := types.UID(o.GetUID())
	if err := w.client.Delete(ctx, o, client.Preconditions{UID: &uid}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("removing %s: %w", o.GetName(), err)
	}
	w.step(o.GetName())
	return nil
}
