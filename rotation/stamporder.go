package rotation

import (
	"context"
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
)

const (
	// stampWebhook is the name of the webhook that stamps, and stampConfiguration
	// that of its configuration, unless the installation chose another
	// (manifests/webhook/mutating.yaml).
	stampWebhook       = "stamp.reanchor.dev"
	stampConfiguration = "zz-reanchor-stamp"
)

// stampOrder is the order of the mutating webhooks, as far as it concerns the
// stamp. API servers call them in the order of their configurations' names.
type stampOrder struct {
	// stamp is the configuration of the webhook that stamps.
	stamp string
	// after are the configurations whose webhooks change new pods after they were
	// stamped: if one of them is an injector, its pods carry no stamp, because a
	// webhook that its match conditions skipped is not called again.
	after []string
}

func (r *Reconciler) stampOrder(ctx context.Context) (stampOrder, error) {
	var list admissionregistrationv1.MutatingWebhookConfigurationList
	if err := r.client.List(ctx, &list); err != nil {
		return stampOrder{}, fmt.Errorf("listing mutating webhooks: %w", err)
	}
	return stampOrderOf(list.Items), nil
}

func stampOrderOf(configurations []admissionregistrationv1.MutatingWebhookConfiguration) stampOrder {
	order := stampOrder{stamp: stampConfiguration}
	for i := range configurations {
		if slices.ContainsFunc(configurations[i].Webhooks, stamps) {
			order.stamp = configurations[i].Name
		}
	}
	for i := range configurations {
		c := &configurations[i]
		if strings.Compare(c.Name, order.stamp) > 0 && slices.ContainsFunc(c.Webhooks, changesPods) {
			order.after = append(order.after, c.Name)
		}
	}
	slices.Sort(order.after)
	return order
}

func stamps(w admissionregistrationv1.MutatingWebhook) bool { return w.Name == stampWebhook }

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
