package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/hack/lab/identity"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
)

// patience bounds every wait: a step that takes longer has failed.
const patience = 15 * time.Minute

// hand does the steps.
type hand struct {
	options options
	client  client.Client
	// dropped is the anchor that copyPrevious wrote over.
	dropped []byte
}

func (h *hand) anchorKey() client.ObjectKey {
	return client.ObjectKey{Namespace: linkerd.TrustNamespace, Name: h.options.Anchor}
}

func (h *hand) renewAnchor(ctx context.Context) error { return h.renew(ctx, h.anchorKey()) }

func (h *hand) renewIssuer(ctx context.Context) error {
	return h.renew(ctx, client.ObjectKey{Namespace: h.options.ControlPlane, Name: h.options.Issuer})
}

// renew is "cmctl renew", and waits for the new certificate.
func (h *hand) renew(ctx context.Context, key client.ObjectKey) error {
	before, err := h.certificate(ctx, key)
	if err != nil {
		return err
	}
	if err := linkerd.Renew(ctx, h.client, key); err != nil {
		return err
	}
	return wait(ctx, func() error {
		now, err := h.certificate(ctx, key)
		if err == nil && bytes.Equal(now, before) {
			err = errors.New("cert-manager has not renewed it yet")
		}
		return err
	})
}

// certificate is the text of a Secret's tls.crt.
func (h *hand) certificate(ctx context.Context, key client.ObjectKey) ([]byte, error) {
	var s corev1.Secret
	if err := h.client.Get(ctx, key, &s); err != nil {
		return nil, fmt.Errorf("reading Secret %s: %w", key, err)
	}
	return bytes.TrimSpace(s.Data[corev1.TLSCertKey]), nil
}

// copyPrevious copies type and data of the anchor's Secret over the previous one.
func (h *hand) copyPrevious(ctx context.Context) error {
	var anchor, previous corev1.Secret
	if err := h.client.Get(ctx, h.anchorKey(), &anchor); err != nil {
		return fmt.Errorf("reading the anchor: %w", err)
	}
	key := client.ObjectKey{Namespace: linkerd.TrustNamespace, Name: h.options.Previous}
	if err := h.client.Get(ctx, key, &previous); err != nil {
		return fmt.Errorf("reading the previous anchor: %w", err)
	}
	h.dropped = bytes.TrimSpace(previous.Data[corev1.TLSCertKey])
	previous.Data = anchor.Data
	if err := h.client.Update(ctx, &previous); err != nil {
		return fmt.Errorf("writing the previous anchor: %w", err)
	}
	return nil
}

// awaitWide waits until the bundle holds the anchor and the previous one.
func (h *hand) awaitWide(ctx context.Context) error {
	previous, err := h.certificate(ctx, client.ObjectKey{Namespace: linkerd.TrustNamespace, Name: h.options.Previous})
	if err != nil {
		return err
	}
	return h.awaitBundle(ctx, func(text, anchor []byte) bool { return bytes.Contains(text, anchor) && bytes.Contains(text, previous) })
}

// awaitNarrow waits until it holds the anchor, and no more the one that was the
// previous.
func (h *hand) awaitNarrow(ctx context.Context) error {
	return h.awaitBundle(ctx, func(text, anchor []byte) bool {
		return bytes.Contains(text, anchor) && !bytes.Contains(text, h.dropped)
	})
}

func (h *hand) awaitBundle(ctx context.Context, fits func(text, anchor []byte) bool) error {
	return wait(ctx, func() error {
		// It is read each time: cert-manager may issue it a second time.
		anchor, err := h.certificate(ctx, h.anchorKey())
		if err != nil {
			return err
		}
		var cm corev1.ConfigMap
		if err := h.client.Get(ctx, client.ObjectKey{Namespace: h.options.ControlPlane, Name: h.options.Bundle}, &cm); err != nil {
			return fmt.Errorf("reading the bundle: %w", err)
		}
		if !fits([]byte(cm.Data[identity.BundleKey]), anchor) {
			return errors.New("trust-manager has not written it yet")
		}
		return nil
	})
}

func (h *hand) propagate(ctx context.Context) error { return pause(ctx, h.options.Propagation) }

func (h *hand) sleep(ctx context.Context) error { return pause(ctx, h.options.Sleep) }

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// wait asks until the answer is nil.
func wait(ctx context.Context, ask func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := ask()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}
