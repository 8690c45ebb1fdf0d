package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/hack/local"
)

// stamp: every meshed pod says which bundle it carries.
func (w *world) stamp(ctx context.Context) error {
	heading(w.out, "Stamp")
	if err := local.Apply(ctx, w.client, meshTrustYAML); err != nil {
		return err
	}
	if err := w.awaitConverged(ctx, time.Minute); err != nil {
		return err
	}
	step(w.out, fmt.Sprintf("deploying %d workloads of %d pods in %d namespaces", namespaces*perNamespace, replicas, namespaces))
	if err := w.deploy(ctx); err != nil {
		return err
	}
	if err := w.awaitPods(ctx); err != nil {
		return err
	}
	set, err := w.published(ctx)
	if err != nil {
		return err
	}
	w.stamped, err = w.countStamped(ctx, set)
	if err != nil {
		return err
	}
	step(w.out, fmt.Sprintf("%d pods carry the stamp %s", w.stamped, set.Hash()[:15]+"..."))
	return nil
}

// awaitPods waits until the application runs as it should, with no old pod left.
func (w *world) awaitPods(ctx context.Context) error {
	const want = namespaces * perNamespace * replicas
	return w.await(ctx, 2*time.Minute, fmt.Sprintf("%d ready pods", want), func() (bool, error) {
		pods, err := w.pods(ctx)
		unready := slices.ContainsFunc(pods, func(p corev1.Pod) bool {
			return p.DeletionTimestamp != nil || !slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
			})
		})
		return len(pods) == want && !unready, err
	})
}

// countStamped checks each pod's stamp against what it really carries, and that
// against the published bundle.
func (w *world) countStamped(ctx context.Context, published bundle.Set) (int, error) {
	pods, err := w.pods(ctx)
	if err != nil {
		return 0, err
	}
	for i := range pods {
		carried, err := carries(&pods[i])
		switch {
		case err != nil:
			return 0, err
		case !carried.Equal(published):
			return 0, fmt.Errorf("pod %s carries %d anchors, not the published %d", pods[i].Name, carried.Len(), published.Len())
		case pods[i].Annotations[v1alpha1.TrustBundleHashAnnotation] != carried.Hash():
			return 0, fmt.Errorf("pod %s has the stamp %q and carries %s", pods[i].Name, pods[i].Annotations[v1alpha1.TrustBundleHashAnnotation], carried.Hash())
		}
	}
	return len(pods), nil
}

// carries reads a pod's anchors where its proxy does.
func carries(pod *corev1.Pod) (bundle.Set, error) {
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, e := range c.Env {
			if e.Name == anchorsVariable {
				return bundle.Parse([]byte(e.Value))
			}
		}
	}
	return bundle.Set{}, fmt.Errorf("pod %s has no proxy", pod.Name)
}

const anchorsVariable = "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"

// deny: a pod whose only anchor has expired is refused.
func (w *world) deny(ctx context.Context) error {
	heading(w.out, "Deny")
	expired, err := expiredAnchor()
	if err != nil {
		return err
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop-1", Name: "left-behind",
			Labels: map[string]string{"linkerd.io/control-plane-ns": "linkerd"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "linkerd-proxy", Image: "proxy",
			Env: []corev1.EnvVar{{Name: anchorsVariable, Value: expired}}}}},
	}
	step(w.out, "creating a pod that was injected by hand long ago; the API server answers:")
	var status apierrors.APIStatus
	switch err := w.client.Create(ctx, pod); {
	case err == nil:
		return errors.New("the pod with an expired bundle was admitted")
	case !apierrors.IsForbidden(err) || !errors.As(err, &status):
		return fmt.Errorf("the pod with an expired bundle was not denied but: %w", err)
	default:
		step(w.out, "  "+status.Status().Message)
	}
	w.denied++
	return nil
}

func expiredAnchor() (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", fmt.Errorf("making a key: %w", err)
	}
	end := time.Now().Add(-6 * 24 * time.Hour)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root.linkerd.cluster.local"},
		NotBefore: end.Add(-365 * 24 * time.Hour), NotAfter: end, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return "", fmt.Errorf("making a certificate: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), nil
}

// roll: a new anchor widens the bundle, and every workload is rolled once.
func (w *world) roll(ctx context.Context) error {
	heading(w.out, "Roll")
	before, err := w.pods(ctx)
	if err != nil {
		return err
	}
	if err := w.issueAnchor(ctx, 2); err != nil {
		return err
	}
	if err := w.awaitAnchors(ctx, 2); err != nil {
		return err
	}
	step(w.out, "trust-manager has published both; every running pod is stale now")
	if err := w.watch(ctx); err != nil {
		return err
	}
	if err := w.awaitPods(ctx); err != nil {
		return err
	}
	return w.checkRolled(ctx, before)
}

// checkRolled asks the cluster, not Reanchor: all pods are new and carry both
// anchors, and every Deployment has had just one roll.
func (w *world) checkRolled(ctx context.Context, before []corev1.Pod) error {
	set, err := w.published(ctx)
	if err != nil {
		return err
	}
	if _, err := w.countStamped(ctx, set); err != nil {
		return err
	}
	after, err := w.pods(ctx)
	if err != nil {
		return err
	}
	for i := range after {
		if slices.ContainsFunc(before, func(p corev1.Pod) bool { return p.UID == after[i].UID }) {
			return fmt.Errorf("pod %s was not replaced", after[i].Name)
		}
	}
	return w.countRolled(ctx)
}

// countRolled counts the Deployments; one that was not rolled just once is a
// fault.
func (w *world) countRolled(ctx context.Context) error {
	var sets appsv1.ReplicaSetList
	if err := w.client.List(ctx, &sets); err != nil {
		return fmt.Errorf("listing ReplicaSets: %w", err)
	}
	revisions := map[client.ObjectKey]int{}
	for i := range sets.Items {
		if ref := metav1.GetControllerOf(&sets.Items[i]); ref != nil {
			revisions[client.ObjectKey{Namespace: sets.Items[i].Namespace, Name: ref.Name}]++
		}
	}
	for key, n := range revisions {
		if n != 2 {
			return fmt.Errorf("the Deployment %s has %d revisions, not the first and one roll", key, n)
		}
	}
	w.rolled = len(revisions)
	if want := namespaces * perNamespace; w.rolled != want {
		return fmt.Errorf("%d workloads were rolled, not %d", w.rolled, want)
	}
	return nil
}

func converged(mt *v1alpha1.MeshTrust, hash string) bool {
	return mt.Status.Bundle != nil && mt.Status.Bundle.Hash == hash &&
		apimeta.IsStatusConditionTrue(mt.Status.Conditions, v1alpha1.ConditionConverged)
}

func (w *world) awaitConverged(ctx context.Context, within time.Duration) error {
	return w.await(ctx, within, "Reanchor to know the mesh", func() (bool, error) {
		mt, err := w.meshTrust(ctx)
		if err != nil {
			return false, err
		}
		set, err := w.published(ctx)
		return err == nil && converged(mt, set.Hash()), err
	})
}
