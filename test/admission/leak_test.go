package admission

import (
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
)

// What the webhook says of pods, and of its own certificate, holds no
// certificate and no key (I6): neither its log, also when it says all that it
// has to say, nor its metrics, nor its answers.
func TestNoCertificateOrKeyLeaksFromTheWebhook(t *testing.T) {
	revive(t)
	// A rotation of the serving certificate belongs to it.
	restart(t, "--verbosity", "1", "--certificate-life", "24s", "--certificate-renewal", "20s", "--certificate-pause", "1s")
	defer restart(t)
	valid, expired := root(t, "valid", -time.Hour, time.Hour), root(t, "expired", -2*time.Hour, -time.Hour)
	linkerd(t, "leaks", v1alpha1.AdmissionSpec{}, bundle.Of(valid.Cert))
	ns := namespace(t, "leaks", nil)
	keys := servingKeys(t, 2)

	var answers []string
	for _, text := range []string{valid.PEM(), expired.PEM(), "", "hello", bundletest.Unparsable(1), valid.PEM()[:300], expired.PEM() + valid.KeyPEM(), valid.KeyPEM()} {
		_, warned, err := create(t, carrying(t, ns, "leaks", text))
		answers = append(answers, append(warned, errorText(err))...)
	}
	// What cannot be read, with a certificate in it.
	for _, r := range shared.replicas {
		_, body := post(t, "https://"+r.webhook+"/validate", "application/json", strings.NewReader(`{"request":"`+strings.ReplaceAll(valid.PEM(), "\n", `\n`)))
		answers = append(answers, body)
	}
	places := map[string]string{"the answers": strings.Join(answers, "\n")}
	for _, r := range shared.replicas {
		text, err := metricsText(r)
		if err != nil {
			t.Fatal(err)
		}
		places["the metrics of "+r.webhook], places["the log of "+r.webhook] = text, r.log()
	}
	forbidden := append([]string{"BEGIN CERT", "PRIVATE KEY"}, inner(keys)...)
	forbidden = append(forbidden, inner([]string{valid.PEM(), expired.PEM(), valid.KeyPEM()})...)
	for place, text := range places {
		if len(text) < 300 {
			t.Errorf("%s is empty: %q", place, text)
		}
		for _, secret := range forbidden {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s holds %q: ...%s...", place, secret, text[max(0, i-200):min(len(text), i+60)])
			}
		}
	}
}

// servingKeys waits until so many serving certificates were in use and returns
// all that their Secret held meanwhile.
func servingKeys(t *testing.T, count int) []string {
	t.Helper()
	held, leaves := map[string]bool{}, map[string]bool{}
	eventually(t, time.Minute, func() string {
		secret, err := shared.kube.CoreV1().Secrets(systemNamespace).Get(t.Context(), servingSecret, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		leaves[string(secret.Data[corev1.TLSCertKey])] = true
		for _, value := range secret.Data {
			held[string(value)] = true
		}
		if len(leaves) < count {
			return "the serving certificate was not rotated yet"
		}
		return ""
	})
	var out []string
	for text := range held {
		out = append(out, text)
	}
	return out
}

// inner returns for each PEM text what is the same however it is wrapped: the
// middle of one of its lines, and of the base64 of all of it.
func inner(texts []string) []string {
	var out []string
	for _, text := range texts {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			continue
		}
		der := base64.StdEncoding.EncodeToString(block.Bytes)
		out = append(out, der[64:96], base64.StdEncoding.EncodeToString([]byte(text))[80:128])
	}
	return out
}
