// Package manifests holds the installation of the admission edge, as kustomize
// applies it, for tests and for labs in which the webhook is a plain process.
// What a webhook is called for is said in these files and nowhere else.
package manifests

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	strictyaml "sigs.k8s.io/yaml"
)

//go:embed *.yaml
var files embed.FS

// Read returns one file of the installation, such as "rbac.yaml".
func Read(name string) ([]byte, error) { return files.ReadFile(name) }

// Documents returns the objects of a file, one YAML text each.
func Documents(name string) ([][]byte, error) {
	text, err := Read(name)
	if err != nil {
		return nil, err
	}
	reader := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(text)))
	var documents [][]byte
	for {
		document := make([]byte, len(text))
		n, err := reader.Read(document)
		if errors.Is(err, io.EOF) {
			return documents, nil
		}
		if err != nil {
			return nil, fmt.Errorf("splitting %s: %w", name, err)
		}
		documents = append(documents, document[:n])
	}
}

// Configurations returns the two registrations.
func Configurations() (*admissionregistrationv1.MutatingWebhookConfiguration, *admissionregistrationv1.ValidatingWebhookConfiguration, error) {
	var mutating admissionregistrationv1.MutatingWebhookConfiguration
	if err := decode("mutating.yaml", &mutating); err != nil {
		return nil, nil, err
	}
	var validating admissionregistrationv1.ValidatingWebhookConfiguration
	if err := decode("validating.yaml", &validating); err != nil {
		return nil, nil, err
	}
	return &mutating, &validating, nil
}

// ConfigurationsFor returns the two registrations for a webhook that the API
// server reaches by a URL, such as "https://localhost:9443", instead of the
// Service. Everything else is as installed.
func ConfigurationsFor(url string) (*admissionregistrationv1.MutatingWebhookConfiguration, *admissionregistrationv1.ValidatingWebhookConfiguration, error) {
	mutating, validating, err := Configurations()
	if err != nil {
		return nil, nil, err
	}
	for i := range mutating.Webhooks {
		mutating.Webhooks[i].ClientConfig = atURL(url, mutating.Webhooks[i].ClientConfig)
	}
	for i := range validating.Webhooks {
		validating.Webhooks[i].ClientConfig = atURL(url, validating.Webhooks[i].ClientConfig)
	}
	return mutating, validating, nil
}

func atURL(url string, c admissionregistrationv1.WebhookClientConfig) admissionregistrationv1.WebhookClientConfig {
	if c.Service != nil && c.Service.Path != nil {
		url += *c.Service.Path
	}
	return admissionregistrationv1.WebhookClientConfig{URL: &url}
}

func decode(name string, into any) error {
	text, err := Read(name)
	if err != nil {
		return err
	}
	if err := strictyaml.UnmarshalStrict(text, into); err != nil {
		return fmt.Errorf("decoding %s: %w", name, err)
	}
	return nil
}
