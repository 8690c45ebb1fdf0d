package nudge

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// askTimeout bounds one question to the webhook.
const askTimeout = 3 * time.Second

// Asker asks the validating webhook as the API server would: at the address and
// with the CA that its configuration names.
type Asker struct {
	// Reader reads the configuration.
	Reader client.Reader
	// Name is the configuration's.
	Name string
}

// Answers returns nil when a webhook answers over a TLS connection that
// verifies. What it answers does not matter: the question is no review.
func (a Asker) Answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var configuration admissionregistrationv1.ValidatingWebhookConfiguration
	if err := a.Reader.Get(ctx, client.ObjectKey{Name: a.Name}, &configuration); err != nil {
		return fmt.Errorf("reading ValidatingWebhookConfiguration %s: %w", a.Name, err)
	}
	if len(configuration.Webhooks) == 0 {
		return fmt.Errorf("reading ValidatingWebhookConfiguration %s: it has no webhook", a.Name)
	}
	url, roots, err := target(configuration.Webhooks[0].ClientConfig)
	if err != nil {
		return err
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(nil))
	if err != nil {
		return fmt.Errorf("asking the webhook: %w", err)
	}
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return fmt.Errorf("asking the webhook: %w", err)
	}
	return answer.Body.Close()
}

func target(c admissionregistrationv1.WebhookClientConfig) (url string, roots *x509.CertPool, err error) {
	roots = x509.NewCertPool()
	if !roots.AppendCertsFromPEM(c.CABundle) {
		return "", nil, errors.New("asking the webhook: its configuration has no caBundle")
	}
	switch {
	case c.URL != nil:
		return *c.URL, roots, nil
	case c.Service == nil:
		return "", nil, errors.New("asking the webhook: its configuration names no address")
	}
	port, path := int32(443), "/"
	if c.Service.Port != nil {
		port = *c.Service.Port
	}
	if c.Service.Path != nil {
		path = *c.Service.Path
	}
	return fmt.Sprintf("https://%s.%s.svc:%d%s", c.Service.Name, c.Service.Namespace, port, path), roots, nil
}
