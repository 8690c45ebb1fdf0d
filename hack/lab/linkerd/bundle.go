package linkerd

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab/identity"
)

//go:embed bundle.yaml
var bundleYAML string

// createBundle publishes the anchor, and returns when the bundle is that of an old
// mesh: it holds one anchor, and what runs has surely read it.
//
// A cert-manager whose caches lag issues a Certificate that it has just issued a
// second time, half a second later. So what was seen is looked at once more.
func (m *Mesh) createBundle(ctx context.Context) (err error) {
	if m.options.Foreign {
		if m.foreign, err = newRoot("root.elsewhere.example"); err != nil {
			return err
		}
	}
	if m.options.Writer != v1alpha1.BundleWriterReanchor {
		if err := m.apply(ctx, bundleYAML); err != nil {
			return err
		}
	}
	for {
		var published string
		err := await(ctx, "the published bundle", func(ctx context.Context) (err error) {
			published, err = m.publish(ctx)
			return err
		})
		if err != nil {
			return err
		}
		if err := season(ctx, m.options.Times.File+time.Second); err != nil {
			return err
		}
		if now, err := m.publish(ctx); err == nil && now == published {
			return nil
		}
	}
}

func season(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// publish offers the present anchor to the bundle and returns it, or an error
// while the bundle has others or the issuer is not the anchor's.
func (m *Mesh) publish(ctx context.Context) (anchor string, err error) {
	if anchor, err = m.Anchor(ctx); err != nil {
		return "", err
	}
	if err := m.offer(ctx); err != nil {
		return "", err
	}
	published, err := m.Published(ctx)
	if err != nil {
		return "", err
	}
	want := 1
	if m.foreign != "" {
		want = 2
	}
	if !published.Has(anchor) || len(published) != want {
		return "", fmt.Errorf("it holds %s, the anchor is %.8s", published, anchor)
	}
	if _, err := m.SignedBy(ctx); err != nil { // the foreign anchor's key is nobody's
		return "", errors.Join(err, m.RenewNow(ctx, m.IssuerKey()))
	}
	return anchor, nil
}

// offer has the anchor where the bundle is made from.
func (m *Mesh) offer(ctx context.Context) error {
	switch {
	case m.options.Writer == v1alpha1.BundleWriterReanchor:
		return m.publishPlain(ctx)
	case !m.generations():
		return m.keepPrevious(ctx)
	}
	return nil // trust-manager looks for its label
}

// publishPlain writes the bundle as an installation without trust-manager has it.
func (m *Mesh) publishPlain(ctx context.Context) error {
	secret, err := m.secret(ctx, m.AnchorKey())
	if err != nil {
		return err
	}
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: m.Mesh, Name: m.Bundle}}
	if _, err := controllerutil.CreateOrUpdate(ctx, m.Client, cm, func() error {
		cm.Data = map[string]string{identity.BundleKey: string(secret.Data[corev1.TLSCertKey]) + m.foreign}
		return nil
	}); err != nil {
		return fmt.Errorf("publishing the bundle: %w", err)
	}
	// Handed over: nobody owns it.
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"managedFields":[{}]}}`))
	if err := m.Client.Patch(ctx, cm, patch); err != nil {
		return fmt.Errorf("handing the bundle over: %w", err)
	}
	return nil
}

// keepPrevious copies type and data of the anchor's Secret over the previous
// one, as the documentation has it done by hand.
func (m *Mesh) keepPrevious(ctx context.Context) error {
	anchor, err := m.secret(ctx, m.AnchorKey())
	if err != nil {
		return err
	}
	kept := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: TrustNamespace, Name: m.Previous}}
	if _, err := controllerutil.CreateOrUpdate(ctx, m.Client, kept, func() error {
		kept.Type, kept.Data = anchor.Type, anchor.Data
		return nil
	}); err != nil {
		return fmt.Errorf("keeping the anchor: %w", err)
	}
	return nil
}
