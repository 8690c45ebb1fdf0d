package serving

import (
	"bytes"
	"context"
	"fmt"
	"maps"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/reanchor/reanchor/bundle"
)

// fieldManager is the owner of what a Keeper writes.
const fieldManager = "reanchor-webhook"

// store writes the state into the Secret that was read, or creates it. When
// another replica was faster, it fails with a conflict.
func (k *Keeper) store(ctx context.Context, read *corev1.Secret, s State) error {
	secrets := k.client.CoreV1().Secrets(k.options.Namespace)
	if read == nil {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: k.options.Secret, Namespace: k.options.Namespace},
			Type:       corev1.SecretTypeTLS, Data: s.data(),
		}
		if _, err := secrets.Create(ctx, secret, metav1.CreateOptions{FieldManager: fieldManager}); err != nil {
			return fmt.Errorf("creating the serving certificate's Secret: %w", sealed(err))
		}
		return nil
	}
	secret := read.DeepCopy()
	for _, key := range []string{nextCAKey, nextCertKey, nextKeyKey, previousCAKey} {
		delete(secret.Data, key)
	}
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	maps.Copy(secret.Data, s.data())
	if _, err := secrets.Update(ctx, secret, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil {
		return fmt.Errorf("writing the serving certificate's Secret: %w", sealed(err))
	}
	return nil
}

// sealed takes away an answer's text when it quotes a certificate or a key. What
// was refused may be the Secret with the serving key, and the webhook of a policy
// that refuses it may quote it.
func sealed(err error) error {
	if !bundle.QuotesPEM(err.Error()) {
		return err
	}
	return fmt.Errorf("refused as %q; the message is left out, since it quotes a certificate or a key", apierrors.ReasonForError(err))
}

// publishValidating makes every caBundle of the configuration the given one; nil
// leaves them alone. It reports whether it wrote anything.
func (k *Keeper) publishValidating(ctx context.Context, c *admissionregistrationv1.ValidatingWebhookConfiguration, caBundle []byte) (bool, error) {
	different := false
	for i := range c.Webhooks {
		different = replaceBundle(&c.Webhooks[i].ClientConfig, caBundle) || different
	}
	if !different {
		return false, nil
	}
	_, err := k.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Update(ctx, c, metav1.UpdateOptions{FieldManager: fieldManager})
	return k.published(c.Name, err)
}

// publishMutating is publishValidating for the other one.
func (k *Keeper) publishMutating(ctx context.Context, c *admissionregistrationv1.MutatingWebhookConfiguration, caBundle []byte) (bool, error) {
	different := false
	for i := range c.Webhooks {
		different = replaceBundle(&c.Webhooks[i].ClientConfig, caBundle) || different
	}
	if !different {
		return false, nil
	}
	_, err := k.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Update(ctx, c, metav1.UpdateOptions{FieldManager: fieldManager})
	return k.published(c.Name, err)
}

func (k *Keeper) published(name string, err error) (bool, error) {
	if err != nil {
		return false, fmt.Errorf("writing the caBundle of %s: %w", name, sealed(err))
	}
	k.log.Info("Wrote the caBundle", "configuration", name)
	return true, nil
}

func replaceBundle(c *admissionregistrationv1.WebhookClientConfig, caBundle []byte) bool {
	if caBundle == nil || bytes.Equal(c.CABundle, caBundle) {
		return false
	}
	c.CABundle = caBundle
	return true
}

// watch wakes Run whenever one of the configurations changes. What changed is
// read anew then; the watch itself is no source of facts.
func (k *Keeper) watch(ctx context.Context) error {
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { k.Wake() },
		UpdateFunc: func(any, any) { k.Wake() },
		DeleteFunc: func(any) { k.Wake() },
	}
	mutating, validating := k.factory(k.options.Mutating), k.factory(k.options.Validating)
	for _, informer := range []cache.SharedIndexInformer{
		mutating.Admissionregistration().V1().MutatingWebhookConfigurations().Informer(),
		validating.Admissionregistration().V1().ValidatingWebhookConfigurations().Informer(),
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return fmt.Errorf("watching the webhook configurations: %w", err)
		}
	}
	mutating.Start(ctx.Done())
	validating.Start(ctx.Done())
	return nil
}

// factory watches one object by name, which is all that RBAC permits.
func (k *Keeper) factory(name string) informers.SharedInformerFactory {
	return informers.NewSharedInformerFactoryWithOptions(k.client, 0,
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
		}))
}
