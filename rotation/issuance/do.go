package issuance

import (
	"context"
	"fmt"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/lifecycle"
	"github.com/reanchor/reanchor/rotation/owner"
)

// writing is one Do in the making.
type writing struct {
	*Store
	lifecycle.Action
	mesh     string
	spec     v1alpha1.MeshTrustSpec
	rotation *v1alpha1.RotationSpec
}

// Do carries out one action. The error is a Conflict (apierrors.IsConflict) when
// the world is not that on which the action was decided, and nothing was written
// then. No error holds text of a certificate or a key.
func (s *Store) Do(ctx context.Context, mt *v1alpha1.MeshTrust, a lifecycle.Action) error {
	w := &writing{Store: s, Action: a, mesh: mt.Name, spec: mt.EffectiveSpec()}
	if w.rotation = w.spec.Rotation; w.rotation == nil {
		return fmt.Errorf("carrying out %s: MeshTrust %s has no spec.rotation", a.Verb, mt.Name)
	}
	do, ok := w.verbs()[a.Verb]
	if !ok {
		return fmt.Errorf("carrying out %q: no such verb", a.Verb)
	}
	return owner.Sealed(do(ctx))
}

func (w *writing) verbs() map[lifecycle.Verb]func(context.Context) error {
	return map[lifecycle.Verb]func(context.Context) error{
		lifecycle.WriteArchive:    w.writeArchive,
		lifecycle.WriteCarrier:    w.writeCarrier,
		lifecycle.WriteBundle:     w.writeBundle,
		lifecycle.CreateAnchor:    w.createAnchor,
		lifecycle.DeleteAnchor:    w.deleteAnchor,
		lifecycle.LabelAnchor:     w.labelAnchor,
		lifecycle.HoldRenewal:     w.holdRenewal,
		lifecycle.Renew:           w.renew,
		lifecycle.KeepAnchor:      w.keepAnchor,
		lifecycle.DropKept:        w.dropKept,
		lifecycle.PointIssuer:     w.pointIssuer,
		lifecycle.RestartIdentity: w.restartIdentity,
	}
}
