package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/hack/lab/injector"
	"github.com/reanchor/reanchor/hack/local"
)

//go:embed world.yaml
var worldYAML []byte

//go:embed anchor.yaml
var anchorYAML []byte

//go:embed meshtrust.yaml
var meshTrustYAML []byte

// The application: so many Deployments of so many pods in each namespace.
const (
	namespaces   = 4
	perNamespace = 3
	replicas     = 3
)

// world is the demo's cluster, and what was counted in it.
type world struct {
	client client.Client
	out    io.Writer

	stamped, denied, rolled int
}

// prepare makes the mesh's certificates and waits for its trust bundle.
func (w *world) prepare(ctx context.Context) error {
	heading(w.out, "A mesh: anchor, issuer and trust bundle by cert-manager and trust-manager")
	label := []byte(`{"metadata":{"labels":{"linkerd.io/is-control-plane":"true"}}}`)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "linkerd"}}
	if err := w.client.Patch(ctx, ns, client.RawPatch("application/merge-patch+json", label)); err != nil {
		return fmt.Errorf("labelling the control plane's namespace: %w", err)
	}
	if err := local.Apply(ctx, w.client, worldYAML); err != nil {
		return err
	}
	if err := w.issueAnchor(ctx, 1); err != nil {
		return err
	}
	if err := w.awaitAnchors(ctx, 1); err != nil {
		return err
	}
	return w.await(ctx, time.Minute, "the issuer's certificate", func() (bool, error) {
		var s corev1.Secret
		err := w.client.Get(ctx, client.ObjectKey{Namespace: "linkerd", Name: "linkerd-identity-issuer"}, &s)
		return err == nil && len(s.Data["tls.crt"]) > 0, client.IgnoreNotFound(err)
	})
}

// issueAnchor lets cert-manager issue one more generation of the anchor.
func (w *world) issueAnchor(ctx context.Context, generation int) error {
	step(w.out, "cert-manager issues anchor generation "+strconv.Itoa(generation))
	return local.Apply(ctx, w.client, bytes.ReplaceAll(anchorYAML, []byte("GENERATION"), []byte(strconv.Itoa(generation))))
}

// published is the trust bundle as trust-manager wrote it.
func (w *world) published(ctx context.Context) (bundle.Set, error) {
	var cm corev1.ConfigMap
	err := w.client.Get(ctx, client.ObjectKey{Namespace: "linkerd", Name: injector.BundleConfigMap}, &cm)
	if err != nil || cm.Data[injector.BundleKey] == "" {
		return bundle.Set{}, client.IgnoreNotFound(err)
	}
	return bundle.Parse([]byte(cm.Data[injector.BundleKey]))
}

func (w *world) awaitAnchors(ctx context.Context, count int) error {
	return w.await(ctx, time.Minute, fmt.Sprintf("a trust bundle of %d anchors", count), func() (bool, error) {
		set, err := w.published(ctx)
		return set.Len() == count, err
	})
}

// deploy creates the application in namespaces that are injected.
func (w *world) deploy(ctx context.Context) error {
	for n := range namespaces {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("shop-%d", n+1), Annotations: map[string]string{"linkerd.io/inject": "enabled"},
		}}
		if err := w.client.Create(ctx, ns); err != nil {
			return fmt.Errorf("creating namespace %s: %w", ns.Name, err)
		}
		for d := range perNamespace {
			if err := w.client.Create(ctx, deployment(ns.Name, fmt.Sprintf("web-%d", d+1))); err != nil {
				return fmt.Errorf("creating a Deployment in %s: %w", ns.Name, err)
			}
		}
	}
	return nil
}

func deployment(namespace, name string) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(replicas)),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web"}}},
			},
		},
	}
}

// pods returns the application's pods, whether they all run, and an error.
func (w *world) pods(ctx context.Context) ([]corev1.Pod, error) {
	var list corev1.PodList
	if err := w.client.List(ctx, &list, client.MatchingLabels{"linkerd.io/control-plane-ns": "linkerd"}); err != nil {
		return nil, fmt.Errorf("listing pods: %w", err)
	}
	return list.Items, nil
}

func (w *world) meshTrust(ctx context.Context) (*v1alpha1.MeshTrust, error) {
	var mt v1alpha1.MeshTrust
	if err := w.client.Get(ctx, client.ObjectKey{Name: "linkerd"}, &mt); err != nil {
		return nil, fmt.Errorf("reading the MeshTrust: %w", err)
	}
	return &mt, nil
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
		case <-time.After(100 * time.Millisecond):
		}
	}
}
