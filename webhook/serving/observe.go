package serving

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Keys of the Secret. The first three are as kubernetes.io/tls has them.
const (
	caKey         = "ca.crt"
	nextCertKey   = "next-tls.crt"
	nextKeyKey    = "next-tls.key"
	nextCAKey     = "next-ca.crt"
	previousCAKey = "previous-ca.crt"
)

// observed is what was read, with what is needed to write it back.
type observed struct {
	facts      Facts
	secret     *corev1.Secret                                          // nil when there is none
	mutating   *admissionregistrationv1.MutatingWebhookConfiguration   // without webhooks when there is none
	validating *admissionregistrationv1.ValidatingWebhookConfiguration // likewise
}

// observe reads the configurations before the Secret: a caBundle is written
// with the version read here, so a write that follows from an old Secret cannot
// undo one that followed from a newer.
func (k *Keeper) observe(ctx context.Context) (o observed, err error) {
	o.facts = Facts{Serving: k.serving, Bundles: map[string][]byte{}}
	if err := k.observeConfigurations(ctx, &o); err != nil {
		return o, err
	}
	if k.options.Dir != "" {
		o.facts.State.Current, err = readDir(k.options.Dir)
		return o, err
	}
	o.secret, err = k.client.CoreV1().Secrets(k.options.Namespace).Get(ctx, k.options.Secret, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		o.secret = nil
	case err != nil:
		return o, fmt.Errorf("reading the serving certificate's Secret: %w", err)
	default:
		o.facts.State, o.facts.Exists = stateOf(o.secret.Data), true
	}
	o.facts.NextSince = k.nextPublishedSince(o.facts)
	return o, nil
}

func (k *Keeper) observeConfigurations(ctx context.Context, o *observed) error {
	api := k.client.AdmissionregistrationV1()
	var err error
	o.mutating, err = api.MutatingWebhookConfigurations().Get(ctx, k.options.Mutating, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		o.mutating, o.facts.Missing = &admissionregistrationv1.MutatingWebhookConfiguration{}, k.options.Mutating
	case err != nil:
		return fmt.Errorf("reading webhook configuration %s: %w", k.options.Mutating, err)
	default:
		for i := range o.mutating.Webhooks {
			o.facts.Bundles[o.mutating.Webhooks[i].Name] = o.mutating.Webhooks[i].ClientConfig.CABundle
		}
	}
	o.validating, err = api.ValidatingWebhookConfigurations().Get(ctx, k.options.Validating, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		o.validating, o.facts.Missing = &admissionregistrationv1.ValidatingWebhookConfiguration{}, k.options.Validating
	case err != nil:
		return fmt.Errorf("reading webhook configuration %s: %w", k.options.Validating, err)
	default:
		for i := range o.validating.Webhooks {
			o.facts.Bundles[o.validating.Webhooks[i].Name] = o.validating.Webhooks[i].ClientConfig.CABundle
		}
	}
	return nil
}

// nextPublishedSince remembers since when the next CA is in every caBundle.
func (k *Keeper) nextPublishedSince(f Facts) time.Time {
	ca := f.State.Next.CA
	everywhere := len(ca) > 0 && f.Missing == ""
	for _, bundle := range f.Bundles {
		everywhere = everywhere && bytes.Contains(bundle, ca)
	}
	switch {
	case !everywhere:
		k.nextCA, k.nextSince = nil, time.Time{}
	case !bytes.Equal(k.nextCA, ca):
		k.nextCA, k.nextSince = ca, k.clock.Now()
	}
	return k.nextSince
}

func stateOf(data map[string][]byte) State {
	return State{
		Current:  Generation{CA: data[caKey], Cert: data[corev1.TLSCertKey], Key: data[corev1.TLSPrivateKeyKey]},
		Next:     Generation{CA: data[nextCAKey], Cert: data[nextCertKey], Key: data[nextKeyKey]},
		Previous: data[previousCAKey],
	}
}

func (s State) data() map[string][]byte {
	data := map[string][]byte{
		caKey: s.Current.CA, corev1.TLSCertKey: s.Current.Cert, corev1.TLSPrivateKeyKey: s.Current.Key,
	}
	if !s.Next.Empty() {
		data[nextCAKey], data[nextCertKey], data[nextKeyKey] = s.Next.CA, s.Next.Cert, s.Next.Key
	}
	if len(s.Previous) > 0 {
		data[previousCAKey] = s.Previous
	}
	return data
}

// readDir reads a pair as a mounted kubernetes.io/tls Secret shows it; files
// that are not there yet are no error.
func readDir(dir string) (g Generation, err error) {
	for name, into := range map[string]*[]byte{corev1.TLSCertKey: &g.Cert, corev1.TLSPrivateKeyKey: &g.Key} {
		*into, err = os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Generation{}, fmt.Errorf("reading the serving certificate: %w", err)
		}
	}
	return g, nil
}
