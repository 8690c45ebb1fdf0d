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
	validating *admissionregistrationv1.ValidatingWebhookConfiguration // without webhooks when there is none
	mutating   *admissionregistrationv1.MutatingWebhookConfiguration   // likewise, and when it cannot be read
	// stampErr says why it cannot: no pod waits for the stamp, nor does the rest.
	stampErr error
}

// observe reads the configurations before the Secret: a caBundle is written
// with the version read here, so a write that follows from an old Secret cannot
// undo one that followed from a newer.
func (k *Keeper) observe(ctx context.Context) (o observed, err error) {
	o.facts.Serving = k.serving
	if err := k.observeValidating(ctx, &o); err != nil {
		return o, err
	}
	k.observeMutating(ctx, &o)
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

func (k *Keeper) observeValidating(ctx context.Context, o *observed) error {
	name, into := k.options.Validating, &o.facts.Registered.Validating
	read, err := k.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		into.Missing, read = missing(name), &admissionregistrationv1.ValidatingWebhookConfiguration{}
	case err != nil:
		return fmt.Errorf("reading webhook configuration %s: %w", name, err)
	}
	o.validating, into.Bundles = read, make(map[string][]byte, len(read.Webhooks))
	for i := range read.Webhooks {
		into.Bundles[read.Webhooks[i].Name] = read.Webhooks[i].ClientConfig.CABundle
	}
	return nil
}

func (k *Keeper) observeMutating(ctx context.Context, o *observed) {
	name, into := k.options.Mutating, &o.facts.Registered.Mutating
	read, err := k.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		into.Missing, read = missing(name), &admissionregistrationv1.MutatingWebhookConfiguration{}
	case err != nil:
		o.stampErr = fmt.Errorf("reading webhook configuration %s: %w", name, err)
		into.Missing, read = o.stampErr.Error(), &admissionregistrationv1.MutatingWebhookConfiguration{}
	}
	o.mutating, into.Bundles = read, make(map[string][]byte, len(read.Webhooks))
	for i := range read.Webhooks {
		into.Bundles[read.Webhooks[i].Name] = read.Webhooks[i].ClientConfig.CABundle
	}
}

func missing(name string) string { return "the webhook configuration " + name + " does not exist" }

// nextPublishedSince remembers since when the next CA is in every caBundle of the
// validating configuration.
func (k *Keeper) nextPublishedSince(f Facts) time.Time {
	ca := f.State.Next.CA
	switch {
	case len(ca) == 0 || !f.Registered.Validating.holds(ca):
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
