package owner

import (
	"context"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// rolloutKind is Argo's Rollout. Its types are not linked: a few fields are
// read and one is written.
var rolloutKind = schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: kindRollout}

// rollout reads an Argo Rollout. Its restart (spec.restartAt) replaces every
// pod created before that time without a change of the template, so it is
// judged by its pods; status.observedGeneration is a number in text. The phase is
// Progressing while an update or a restart is under way, and not while it is paused
// at a step or has failed (CalculateRolloutPhase in Argo's rolloututil.go).
func (r Reader) rollout(ctx context.Context, o *Owner) error {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(rolloutKind)
	if err := r.get(ctx, o, u, "rollouts"); err != nil || o.Spec.Unreadable != "" {
		return err
	}
	r.describe(o, u, templateAt(u, "spec", "template"))
	o.APIVersion = u.GetAPIVersion()
	o.Spec.Desired = number(u, 1, "spec", "replicas")
	o.Spec.Paused, _, _ = unstructured.NestedBool(u.Object, "spec", "paused")
	if text, ok, _ := unstructured.NestedString(u.Object, "spec", "restartAt"); ok {
		o.RestartAt, _ = time.Parse(time.RFC3339, text)
	}
	observed, _, _ := unstructured.NestedString(u.Object, "status", "observedGeneration")
	generation, err := strconv.ParseInt(observed, 10, 64)
	o.State = withoutRollout(err == nil && generation >= u.GetGeneration(), o.Spec.Desired,
		number(u, 0, "status", "replicas"), number(u, 0, "status", "availableReplicas"))
	phase, _, _ := unstructured.NestedString(u.Object, "status", "phase")
	o.State.Progressing = phase == "Progressing"
	return nil
}

func number(u *unstructured.Unstructured, otherwise int, path ...string) int {
	n, ok, err := unstructured.NestedInt64(u.Object, path...)
	if !ok || err != nil {
		return otherwise
	}
	return int(n)
}
