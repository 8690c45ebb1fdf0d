package main

import (
	"context"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/lab/kubelet"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
	"github.com/reanchor/reanchor/hack/local"
)

// The application, and how late the lab's nodes show what changed. A cluster is
// slower, by a minute or two for a mounted file.
const (
	workloads      = 12
	namespaces     = 4
	rate           = 60 // handshakes a second
	environmentLag = 200 * time.Millisecond
	fileLag        = 2 * time.Second
)

// times are short ones, so that a rotation takes minutes and not two days.
func times() linkerd.Times {
	return linkerd.Times{
		Leaf: 20 * time.Second, Environment: time.Second, File: 6 * time.Second,
		InjectorLags: []time.Duration{time.Second, 2 * time.Second, 4 * time.Second},
		IdentityLags: []time.Duration{0, time.Second},
	}
}

// world is the demo's cluster, and what was counted in it.
type world struct {
	client client.Client
	mesh   *linkerd.Mesh
	out    io.Writer

	stamped, denied, rolled int
}

// prepare makes a mesh that runs, and tells Reanchor of it.
func (w *world) prepare(ctx context.Context, l *lab.Lab, k *kubelet.Kubelet) (err error) {
	heading(w.out, "A mesh: anchor, issuer and trust bundle by cert-manager and trust-manager; proxies that talk")
	startCtx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	w.mesh, err = linkerd.Start(startCtx, l.Config(), linkerd.Options{
		Layout: v1alpha1.LayoutGenerations, Workloads: workloads, Namespaces: namespaces, Rate: rate, Times: times(), Kubelet: k,
	})
	if err != nil {
		return err
	}
	step(w.out, fmt.Sprintf("%d workloads in %d namespaces, %d handshakes a second between random pods", workloads, namespaces, rate))
	if err := local.ApplyFile(ctx, w.client, "manifests/controller/rotation/generations/rbac.yaml"); err != nil {
		return err
	}
	trust := w.mesh.MeshTrust()
	trust.Spec.Rollout.MaxConcurrent = new(intstr.FromInt32(6))
	trust.Spec.Rollout.MaxConcurrentPerNamespace = new(int32(2))
	if err := w.client.Create(ctx, trust); err != nil {
		return fmt.Errorf("creating the MeshTrust: %w", err)
	}
	return w.await(ctx, time.Minute, "Reanchor to know the mesh", func() (bool, error) {
		mt, err := w.meshTrust(ctx)
		return err == nil && apimeta.IsStatusConditionTrue(mt.Status.Conditions, v1alpha1.ConditionConverged), err
	})
}

// published is the trust bundle as trust-manager wrote it.
func (w *world) published(ctx context.Context) (bundle.Set, error) {
	var cm corev1.ConfigMap
	if err := w.client.Get(ctx, w.mesh.BundleKey(), &cm); err != nil {
		return bundle.Set{}, fmt.Errorf("reading the trust bundle: %w", err)
	}
	return bundle.Parse([]byte(cm.Data[bundleKey]))
}

const bundleKey = "ca-bundle.crt"

// pods returns those of the mesh that its injector made members.
func (w *world) pods(ctx context.Context, scope ...client.ListOption) ([]corev1.Pod, error) {
	var list corev1.PodList
	if err := w.client.List(ctx, &list, append(scope, client.MatchingLabels{linkerd.ControlPlaneLabel: w.mesh.Mesh})...); err != nil {
		return nil, fmt.Errorf("listing pods: %w", err)
	}
	return list.Items, nil
}

func (w *world) meshTrust(ctx context.Context) (*v1alpha1.MeshTrust, error) {
	var mt v1alpha1.MeshTrust
	if err := w.client.Get(ctx, client.ObjectKey{Name: w.mesh.Mesh}, &mt); err != nil {
		return nil, fmt.Errorf("reading the MeshTrust: %w", err)
	}
	return &mt, nil
}

// createNamespace makes one in which pods are injected.
func (w *world) createNamespace(ctx context.Context, name string) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"linkerd.io/inject": "enabled"}}}
	if err := w.client.Create(ctx, ns); err != nil {
		return fmt.Errorf("creating namespace %s: %w", name, err)
	}
	return nil
}

// await looks until what is wanted is there.
func (w *world) await(ctx context.Context, within time.Duration, what string, done func() (bool, error)) error {
	deadline := time.Now().Add(within)
	for {
		ok, err := done()
		switch {
		case err != nil:
			return fmt.Errorf("waiting for %s: %w", what, err)
		case ok:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("waiting for %s: not there after %s", what, within)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}
