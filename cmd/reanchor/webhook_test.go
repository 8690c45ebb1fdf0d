package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestAllFaultsOfTheWebhooksFlagsAreSaidAtOnce(t *testing.T) {
	var out, errs bytes.Buffer
	err := run(t.Context(), []string{
		"webhook", "--certificate-life", "1h", "--certificate-renewal", "2h", "--certificate-check", "0s",
		"--address", "nowhere", "--shutdown-delay=-1s",
	}, streams{&out, &errs})
	if err == nil {
		t.Fatal("they are accepted")
	}
	for _, want := range []string{"--certificate-check must be more than 0", "--certificate-life must be longer", "--address: write HOST:PORT", "--shutdown-delay must not be negative"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestTheWebhookSaysHowToFindTheAPIServer(t *testing.T) {
	t.Setenv("KUBECONFIG", "")
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	var out, errs bytes.Buffer
	err := run(t.Context(), []string{"webhook"}, streams{&out, &errs})
	if err == nil || !strings.Contains(err.Error(), "set --kubeconfig outside a cluster") {
		t.Errorf("%v", err)
	}
}
