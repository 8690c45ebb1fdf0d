package main

import (
	"bytes"
	"os"
	"path/filepath"
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

// As kubectl does: the first file that sets the current context wins, and one that
// does not exist is passed over.
func TestAListOfKubeconfigsIsMerged(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("apiVersion: v1\nkind: Config\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	contexts := write("contexts", "current-context: b\ncontexts:\n- name: b\n  context: {cluster: b, user: me}\n")
	clusters := write("clusters", "current-context: a\nclusters:\n- name: b\n  cluster: {server: 'https://b.example:6443'}\nusers:\n- name: me\n  user: {token: t}\n")
	list := strings.Join([]string{filepath.Join(dir, "none"), contexts, clusters}, string(filepath.ListSeparator))
	config, err := clusterConfig(list)
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "https://b.example:6443" || config.BearerToken != "t" || config.UserAgent != "reanchor" {
		t.Errorf("host %q, token %q, user agent %q", config.Host, config.BearerToken, config.UserAgent)
	}
	// One that is named alone must be there.
	if _, err := clusterConfig(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("a file that does not exist: %v", err)
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
