package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
)

// The Deployment that is created while everything looks on.
const (
	shop    = "shop"
	checkIn = "web"
	replica = 2
)

// stamp: a new pod says which bundle it carries.
func (w *world) stamp(ctx context.Context) error {
	heading(w.out, "Stamp")
	step(w.out, fmt.Sprintf("deploying %s/%s, %d pods", shop, checkIn, replica))
	if err := w.createNamespace(ctx, shop); err != nil {
		return err
	}
	d := linkerd.Deployment(linkerd.Workload{Namespace: shop, Kind: "Deployment", Name: checkIn, Pods: replica}, false)
	if err := w.client.Create(ctx, d); err != nil {
		return fmt.Errorf("creating a Deployment: %w", err)
	}
	var pods []corev1.Pod
	err := w.await(ctx, time.Minute, "its pods to be ready", func() (bool, error) {
		var err error
		pods, err = w.pods(ctx, client.InNamespace(shop))
		return len(pods) == replica && !slices.ContainsFunc(pods, unready), err
	})
	if err != nil {
		return err
	}
	set, err := w.published(ctx)
	if err != nil {
		return err
	}
	if err := judgeStamps(pods, set); err != nil {
		return err
	}
	step(w.out, fmt.Sprintf("both carry the stamp %s, good until %s", short(set.Hash()), pods[0].Annotations[v1alpha1.TrustBundleNotAfterAnnotation]))
	return nil
}

func unready(p corev1.Pod) bool {
	return p.DeletionTimestamp != nil || !slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func short(hash string) string { return hash[:15] + "..." }

// deny: a pod whose only anchor has expired is refused.
func (w *world) deny(ctx context.Context) error {
	heading(w.out, "Deny")
	expired, err := expiredAnchor()
	if err != nil {
		return err
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: shop, Name: "left-behind", Labels: map[string]string{linkerd.ControlPlaneLabel: w.mesh.Mesh}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "linkerd-proxy", Image: "proxy",
			Env: []corev1.EnvVar{{Name: anchorsVariable, Value: expired}}}}},
	}
	step(w.out, "creating a pod that was injected by hand long ago; the API server answers:")
	message, err := judgeDenial(w.client.Create(ctx, pod))
	if err != nil {
		return err
	}
	step(w.out, "  "+message)
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
