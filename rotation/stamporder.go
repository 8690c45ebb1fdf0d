package rotation

import (
	"context"
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
)

// stampConfiguration is the name of the stamping webhook's configuration
// (manifests/webhook/mutating.yaml). API servers call mutating webhooks in the
// order of their configurations' names.
const stampConfiguration = "zz-reanchor-stamp"

// stampOrder returns the configurations whose webhooks change new pods after
// they were stamped: if one of them is an injector, its pods carry no stamp,
// because a webhook that its match conditions skipped is not called again.
func (r *Reconciler) stampOrder(ctx context.Context) ([]string, error) {
	var list admissionregistrationv1.MutatingWebhookConfigurationList
	if err := r.client.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("listing mutating webhooks: %w", err)
	}
	return afterStamp(list.Items), nil
}

func afterStamp(configurations []admissionregistrationv1.MutatingWebhookConfiguration) []string {
	var out []string
	for i := range configurations {
		c := &configurations[i]
		if strings.Compare(c.Name, stampConfiguration) > 0 && slices.ContainsFunc(c.Webhooks, changesPods) {
			out = append(out, c.Name)
		}
	}
	slices.Sort(out)
	return out
}

// changesPods reports whether a webhook is called when pods are created.
func changesPods(w admissionregistrationv1.MutatingWebhook) bool {
	return slices.ContainsFunc(w.Rules, func(r admissionregistrationv1.RuleWithOperations) bool {
		return matches(r.APIGroups, "") && matches(r.Resources, "pods") &&
			matches(r.Operations, admissionregistrationv1.Create)
	})
}

func matches[S ~string](patterns []S, value S) bool {
	return slices.Contains(patterns, value) || slices.Contains(patterns, "*") || slices.Contains(patterns, "*/*")
}
