package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/hack/lab/linkerd"
)

func (h *hand) restartControlPlane(ctx context.Context) error {
	return h.restart(ctx, h.options.ControlPlane)
}

func (h *hand) restartDataPlane(ctx context.Context) error {
	namespaces, err := h.meshed(ctx)
	if err != nil {
		return err
	}
	return h.restart(ctx, namespaces...)
}

func (h *hand) restartEverything(ctx context.Context) error {
	namespaces, err := h.meshed(ctx)
	if err != nil {
		return err
	}
	return h.restart(ctx, append(namespaces, h.options.ControlPlane)...)
}

// meshed are the namespaces of the mesh's pods, the control plane's left out.
func (h *hand) meshed(ctx context.Context) ([]string, error) {
	var pods corev1.PodList
	if err := h.client.List(ctx, &pods, client.MatchingLabels{linkerd.ControlPlaneLabel: h.options.ControlPlane}); err != nil {
		return nil, fmt.Errorf("listing the mesh's pods: %w", err)
	}
	var out []string
	for i := range pods.Items {
		if ns := pods.Items[i].Namespace; ns != h.options.ControlPlane {
			out = append(out, ns)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// restart is "kubectl rollout restart deploy,statefulset,daemonset" in each
// namespace, and then "kubectl rollout status" of all.
func (h *hand) restart(ctx context.Context, namespaces ...string) error {
	all, err := h.workloads(ctx, namespaces)
	if err != nil {
		return err
	}
	patch := fmt.Appendf(nil, `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":%q}}}}}`, time.Now().Format(time.RFC3339Nano))
	for _, w := range all {
		if err := h.client.Patch(ctx, w, client.RawPatch("application/merge-patch+json", patch)); err != nil {
			return fmt.Errorf("restarting %T %s/%s: %w", w, w.GetNamespace(), w.GetName(), err)
		}
	}
	return wait(ctx, func() error {
		for _, w := range all {
			if err := h.client.Get(ctx, client.ObjectKeyFromObject(w), w); err != nil {
				return fmt.Errorf("reading %T %s/%s: %w", w, w.GetNamespace(), w.GetName(), err)
			}
			if !complete(w) {
				return fmt.Errorf("%T %s/%s is still rolling", w, w.GetNamespace(), w.GetName())
			}
		}
		return nil
	})
}

func (h *hand) workloads(ctx context.Context, namespaces []string) ([]client.Object, error) {
	var out []client.Object
	for _, ns := range namespaces {
		var deployments appsv1.DeploymentList
		var statefulSets appsv1.StatefulSetList
		var daemonSets appsv1.DaemonSetList
		for _, list := range []client.ObjectList{&deployments, &statefulSets, &daemonSets} {
			if err := h.client.List(ctx, list, client.InNamespace(ns)); err != nil {
				return nil, fmt.Errorf("listing workloads of namespace %s: %w", ns, err)
			}
		}
		for i := range deployments.Items {
			out = append(out, &deployments.Items[i])
		}
		for i := range statefulSets.Items {
			out = append(out, &statefulSets.Items[i])
		}
		for i := range daemonSets.Items {
			out = append(out, &daemonSets.Items[i])
		}
	}
	return out, nil
}

// complete judges as "kubectl rollout status" does.
func complete(w client.Object) bool {
	switch w := w.(type) {
	case *appsv1.Deployment:
		s := w.Status
		return s.ObservedGeneration >= w.Generation && all(*w.Spec.Replicas, s.UpdatedReplicas, s.Replicas, s.AvailableReplicas)
	case *appsv1.StatefulSet:
		s := w.Status
		return s.ObservedGeneration >= w.Generation && all(*w.Spec.Replicas, s.ReadyReplicas) && s.UpdateRevision == s.CurrentRevision
	case *appsv1.DaemonSet:
		s := w.Status
		return s.ObservedGeneration >= w.Generation && all(s.DesiredNumberScheduled, s.UpdatedNumberScheduled, s.NumberAvailable)
	default:
		return false
	}
}

// all reports whether every count is what is wanted.
func all(want int32, counts ...int32) bool {
	return !slices.ContainsFunc(counts, func(n int32) bool { return n != want })
}
