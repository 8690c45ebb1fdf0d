package serving_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"

	"github.com/reanchor/reanchor/webhook/serving"
	"github.com/reanchor/reanchor/webhook/webhooktest"
)

func configurations(bundle []byte) []runtime.Object {
	client := admissionregistrationv1.WebhookClientConfig{CABundle: bundle}
	return []runtime.Object{
		&admissionregistrationv1.MutatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: "stamp"}, Webhooks: []admissionregistrationv1.MutatingWebhook{{Name: "a", ClientConfig: client}},
		},
		&admissionregistrationv1.ValidatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: "validate"}, Webhooks: []admissionregistrationv1.ValidatingWebhook{{Name: "b", ClientConfig: client}},
		},
	}
}

// keep runs a Keeper until the test ends.
func keep(t *testing.T, client *fake.Clientset, dir string) *serving.Keeper {
	t.Helper()
	return run(t, client, serving.Options{Dir: dir}, logr.Discard())
}

// run is keep with more options and a log.
func run(t *testing.T, client *fake.Clientset, o serving.Options, log logr.Logger) *serving.Keeper {
	t.Helper()
	o.Policy = policy()
	o.Names, o.Interval, o.Pause = []string{"localhost"}, 20*time.Millisecond, 20*time.Millisecond
	o.Namespace, o.Secret, o.Mutating, o.Validating = "system", "tls", "stamp", "validate"
	k := serving.NewKeeper(client, o, clock.RealClock{}, log)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- k.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return k
}

// readiness waits until what Ready says contains the text; empty for ready.
func readiness(t *testing.T, k *serving.Keeper, want string) {
	t.Helper()
	end := time.Now().Add(time.Minute)
	for {
		err := k.Ready()
		if (err == nil && want == "") || (err != nil && want != "" && strings.Contains(err.Error(), want)) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("readiness is %v, want %q", err, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func served(t *testing.T, k *serving.Keeper) []byte {
	t.Helper()
	c, err := k.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return c.Certificate[0]
}

func TestFilesOfOthersAreReloadedAndNothingIsWritten(t *testing.T) {
	dir := t.TempDir()
	write := func(g serving.Generation) {
		t.Helper()
		for name, text := range map[string][]byte{"tls.crt": g.Cert, "tls.key": g.Key} {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	generation := func() serving.Generation {
		t.Helper()
		g, err := serving.Issue([]string{"localhost"}, time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	first, second := generation(), generation()
	client := fake.NewClientset(configurations(first.CA)...)
	var log webhooktest.Log
	k := run(t, client, serving.Options{Dir: dir}, log.Logger(0))
	if _, err := k.GetCertificate(nil); err == nil {
		t.Error("there is a certificate before there are files")
	}
	readiness(t, k, "no serving certificate")
	write(first)
	readiness(t, k, "")
	before := served(t, k)
	write(second)
	// No API server would believe these yet.
	const kept = "Still serving the certificate from before"
	for end := time.Now().Add(time.Minute); !strings.Contains(log.String(), kept); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the log does not say that the new files are not served")
		}
	}
	for passes, end := len(client.Actions()), time.Now().Add(time.Minute); len(client.Actions()) < passes+8; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it looks no more")
		}
	}
	readiness(t, k, "")
	if !bytes.Equal(before, served(t, k)) {
		t.Error("the new files are served before the caBundle knows them")
	}
	for _, o := range configurations(second.CA) {
		gvr := admissionregistrationv1.SchemeGroupVersion.WithResource("mutatingwebhookconfigurations")
		if _, ok := o.(*admissionregistrationv1.ValidatingWebhookConfiguration); ok {
			gvr = admissionregistrationv1.SchemeGroupVersion.WithResource("validatingwebhookconfigurations")
		}
		if err := client.Tracker().Update(gvr, o, ""); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(time.Minute); bytes.Equal(before, served(t, k)); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the new files are not served though the caBundle knows them")
		}
	}
	readiness(t, k, "")
	if n := strings.Count(log.String(), kept); n != 1 {
		t.Errorf("the log says it %d times: %s", n, log.String())
	}
	for _, a := range client.Actions() {
		if a.GetVerb() != "get" && a.GetVerb() != "list" && a.GetVerb() != "watch" || a.GetResource().Resource == "secrets" {
			t.Errorf("it did %s %s", a.GetVerb(), a.GetResource().Resource)
		}
	}
}

func TestAReplicaIsNotReadyUntilItIsRegistered(t *testing.T) {
	client := fake.NewClientset()
	k := keep(t, client, "")
	readiness(t, k, "does not exist")
	for _, o := range configurations(nil) {
		if err := client.Tracker().Add(o); err != nil {
			t.Fatal(err)
		}
	}
	readiness(t, k, "")
	secret, err := client.CoreV1().Secrets("system").Get(t.Context(), "tls", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	validating, err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), "validate", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(validating.Webhooks[0].ClientConfig.CABundle, secret.Data["ca.crt"]) || len(secret.Data["tls.key"]) == 0 {
		t.Error("the caBundle is not that of the Secret")
	}
}

func TestAReplicaThatLosesARaceTakesWhatTheOtherWrote(t *testing.T) {
	client := fake.NewClientset(configurations(nil)...)
	other, err := serving.Issue([]string{"localhost"}, time.Now(), policy().Lifetime)
	if err != nil {
		t.Fatal(err)
	}
	raced := false
	client.PrependReactor("create", "secrets", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if raced {
			return false, nil, nil
		}
		raced = true
		theirs := a.(clienttesting.CreateAction).GetObject().DeepCopyObject().(*corev1.Secret)
		theirs.Data = map[string][]byte{"ca.crt": other.CA, "tls.crt": other.Cert, "tls.key": other.Key}
		if err := client.Tracker().Add(theirs); err != nil {
			return true, nil, err
		}
		return true, nil, apierrors.NewAlreadyExists(a.GetResource().GroupResource(), theirs.Name)
	})
	k := keep(t, client, "")
	readiness(t, k, "")
	want, err := other.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(served(t, k), want.Certificate[0]) {
		t.Error("it does not serve what the other replica wrote")
	}
}

// Whoever edits the Secret on Windows changes the ends of its lines, and no
// certificate by that.
func TestACAWithOtherLineEndsIsFoundInTheCABundles(t *testing.T) {
	old, err := serving.Issue([]string{"localhost"}, time.Now().Add(-70*24*time.Hour), policy().Lifetime)
	if err != nil {
		t.Fatal(err)
	}
	next, err := serving.Issue([]string{"localhost"}, time.Now(), policy().Lifetime)
	if err != nil {
		t.Fatal(err)
	}
	secret := secretOf(old)
	secret.Data["next-tls.crt"], secret.Data["next-tls.key"] = next.Cert, next.Key
	secret.Data["next-ca.crt"] = bytes.ReplaceAll(next.CA, []byte("\n"), []byte("\r\n"))
	k := keep(t, fake.NewClientset(append(configurations(nil), secret)...), "")
	readiness(t, k, "")
	until(t, "the next certificate is served", func() bool { return bytes.Equal(served(t, k), leafOf(t, next)) })
}
