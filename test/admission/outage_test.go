package admission

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/hack/local"
)

// revive starts every replica that is not running, when the test ends at the
// latest.
func revive(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := shared.startReplicas(ctx); err != nil {
			t.Error(err)
		}
	})
}

func TestWithEveryReplicaDeadOnlyMeshedPodsWait(t *testing.T) {
	valid := root(t, "valid", -time.Hour, time.Hour)
	linkerd(t, "outage", v1alpha1.AdmissionSpec{}, bundle.Of(valid.Cert))
	ns := namespace(t, "outage", nil)
	out := namespace(t, "outage-opted-out", map[string]string{v1alpha1.AdmissionLabel: v1alpha1.AdmissionDisabled})
	plane := namespace(t, "outage-control-plane", map[string]string{"linkerd.io/is-control-plane": "true"})
	for _, system := range []string{"linkerd", "cert-manager", "reanchor-probe"} {
		namespace(t, system, nil)
	}
	waitServiceAccount(t, systemNamespace)
	meshed := func(namespace string) *corev1.Pod { return carrying(t, namespace, "outage", valid.PEM()) }
	optedOut := meshed(ns)
	optedOut.Annotations[v1alpha1.OptOutAnnotation] = "admission"
	revive(t)
	for _, r := range shared.replicas {
		r.kill()
	}
	_, _, err := create(t, meshed(ns))
	if err == nil || !strings.Contains(err.Error(), `failed calling webhook "validate.reanchor.dev"`) {
		t.Fatalf("a meshed pod: %v, want the API server's own error", err)
	}
	for name, pod := range map[string]*corev1.Pod{
		"an unmeshed pod": fixture(t, "unmeshed-pod", ns), "a pod without labels and annotations": plain(ns), "a pod that opted out": optedOut,
		"a pod of a namespace that opted out": meshed(out), "a pod of kube-system": meshed("kube-system"),
		"a pod of the control plane": meshed("linkerd"), "a pod of a control plane under another name": meshed(plane),
		"a pod of cert-manager": meshed("cert-manager"), "a probe of an injector": meshed("reanchor-probe"),
		// Its namespace enforces PodSecurity, so a plain pod stands for a meshed one.
		"a pod of Reanchor's own": restricted(systemNamespace),
	} {
		created, _, err := create(t, pod)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = shared.client.Delete(t.Context(), created)
	}
	if err := shared.replicas[0].start(); err != nil {
		t.Fatal(err)
	}
	if err := shared.replicas[0].waitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	created, _, err := create(t, meshed(ns))
	if err != nil {
		t.Fatalf("one replica is ready again, and a meshed pod is not created: %v", err)
	}
	if len(stampOf(created)) != 3 {
		t.Error("it is not stamped")
	}
}

// restricted is a meshed pod, by its label, that PodSecurity restricted admits.
func restricted(namespace string) *corev1.Pod {
	yes, no, user := true, false, int64(1000)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "p-", Namespace: namespace, Labels: map[string]string{v1alpha1.MeshLabel: "outage"}},
		Spec: corev1.PodSpec{
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: &yes, RunAsUser: &user, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{Name: "a", Image: "a", SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			}}},
		},
	}
}

func TestAReplicaThatIsAskedToEndServesOnForAWhile(t *testing.T) {
	revive(t)
	r := shared.replicas[0]
	r.kill()
	if err := r.start("--shutdown-delay", "15s"); err != nil {
		t.Fatal(err)
	}
	if err := r.waitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.stop(func(p *local.Process) {
			if err := p.Signal(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
		})
	}()
	eventually(t, 12*time.Second, func() string {
		if err := r.get("/readyz"); err == nil || !strings.Contains(err.Error(), "ending") {
			return "it is still ready: " + errorText(err)
		}
		return ""
	})
	if status, body := post(t, "https://"+r.webhook+"/validate", "application/json", strings.NewReader("{}")); status != http.StatusBadRequest {
		t.Errorf("while ending it answers %d %s", status, body)
	}
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Error("it does not end")
	}
}

// post sends a body and returns the status and the answer.
func post(t *testing.T, url, contentType string, body io.Reader) (int, string) {
	t.Helper()
	client := &http.Client{
		Timeout:   20 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
	}
	response, err := client.Post(url, contentType, body)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestTheProgramRefusesBadInputAndLivesOn(t *testing.T) {
	r := shared.replicas[0]
	const good = `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":"CREATE","namespace":"n",` +
		`"kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},` +
		`"object":{"apiVersion":"v1","kind":"Pod","metadata":{}}}}`
	for name, tc := range map[string]struct {
		body   string
		status int
	}{
		"a good review":   {good, http.StatusOK},
		"truncated":       {good[:100], http.StatusBadRequest},
		"10 MB":           {strings.Repeat(" ", 10<<20), http.StatusRequestEntityTooLarge},
		"not a pod":       {strings.ReplaceAll(good, "pods", "services"), http.StatusBadRequest},
		"another version": {strings.Replace(good, "k8s.io/v1", "k8s.io/v1beta1", 1), http.StatusBadRequest},
		"duplicate keys":  {strings.Replace(good, `"uid":"u"`, `"uid":"u","uid":"v"`, 1), http.StatusBadRequest},
		"invalid UTF-8":   {strings.Replace(good, `"uid":"u"`, "\"uid\":\"\xff\"", 1), http.StatusBadRequest},
		"nested brackets": {strings.Repeat("[", 1<<20), http.StatusBadRequest},
		"nothing":         {"", http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"/stamp", "/validate"} {
				status, body := post(t, "https://"+r.webhook+path, "application/json", bytes.NewReader([]byte(tc.body)))
				if status != tc.status || len(body) > 500 || strings.Contains(body, "goroutine") {
					t.Errorf("%s answers %d %.200s, want %d", path, status, body, tc.status)
				}
			}
		})
	}
	t.Run("10 MB without a length", func(t *testing.T) {
		status, _ := post(t, "https://"+r.webhook+"/validate", "application/json", io.LimitReader(spaces{}, 10<<20))
		if status != http.StatusRequestEntityTooLarge {
			t.Errorf("status %d", status)
		}
	})
	t.Run("another content type", func(t *testing.T) {
		if status, _ := post(t, "https://"+r.webhook+"/validate", "application/yaml", strings.NewReader(good)); status != http.StatusUnsupportedMediaType {
			t.Errorf("status %d", status)
		}
	})
	if strings.Contains(r.log(), "panic") {
		t.Errorf("it panicked: %s", r.log())
	}
	if err := r.get("/readyz"); err != nil {
		t.Errorf("it is not ready any more: %v", err)
	}
}

type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestAnEmptiedCABundleIsRepaired(t *testing.T) {
	for name, patch := range map[string]string{
		"emptied":            `[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]`,
		"another's":          fmt.Sprintf(`[{"op":"replace","path":"/webhooks/0/clientConfig/caBundle","value":%q}]`, base64PEM(root(t, "x", 0, time.Hour).PEM())),
		"applied once again": `[{"op":"replace","path":"/webhooks/0/clientConfig","value":{"url":"` + shared.balancer.url(0) + `/PATH"}}]`,
	} {
		for path, registration := range registrations() {
			t.Run(registration.GetName()+" "+name, func(t *testing.T) {
				before := currentBundle(t, registration)
				if before == "" {
					t.Fatal("there is no caBundle")
				}
				patched := registration.DeepCopy()
				change := client.RawPatch(types.JSONPatchType, []byte(strings.Replace(patch, "PATH", path, 1)))
				if err := shared.client.Patch(t.Context(), patched, change); err != nil {
					t.Fatal(err)
				}
				if bundleIn(t, patched) == before {
					t.Fatal("the patch did nothing")
				}
				eventually(t, time.Minute, func() string {
					if currentBundle(t, registration) != before {
						return "the caBundle is not what it was"
					}
					return ""
				})
			})
		}
	}
}

// Others write to the same objects, each in its own rhythm. The write of a caBundle
// loses to whoever wrote after the look at the configuration, so the two must be close
// to each other, also when there was much to look at before.
func TestACABundleIsRepairedAmongWritesOfOthers(t *testing.T) {
	showLogs(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, registration := range registrations() {
		wg.Go(func() { touch(ctx, t, registration) })
	}
	time.Sleep(3 * time.Second) // a client that may not ask often has used up what it saved
	for _, registration := range registrations() {
		before := currentBundle(t, registration)
		emptied := client.RawPatch(types.JSONPatchType, []byte(`[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]`))
		if err := shared.client.Patch(t.Context(), registration, emptied); err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Minute, func() string {
			if currentBundle(t, registration) != before {
				return "the caBundle of " + registration.GetName() + " is not what it was"
			}
			return ""
		})
	}
}

// touch changes an annotation five times a second until the context ends.
func touch(ctx context.Context, t *testing.T, o client.Object) {
	for i := 0; ctx.Err() == nil; i++ {
		patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{"example.com/touched":"%d"}}}`, i))
		if err := shared.client.Patch(ctx, o.DeepCopyObject().(client.Object), patch); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func TestALostSecretIsRestoredFromWhatIsServed(t *testing.T) {
	secrets := shared.kube.CoreV1().Secrets(systemNamespace)
	before, err := secrets.Get(t.Context(), servingSecret, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := secrets.Delete(t.Context(), servingSecret, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, func() string {
		after, err := secrets.Get(t.Context(), servingSecret, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if !bytes.Equal(after.Data[corev1.TLSCertKey], before.Data[corev1.TLSCertKey]) {
			return "it holds another certificate"
		}
		return ""
	})
	// A replica that has not seen yet that a caBundle was repaired is not ready.
	eventually(t, time.Minute, func() string {
		for _, r := range shared.replicas {
			if err := r.get("/readyz"); err != nil {
				return err.Error()
			}
		}
		return ""
	})
}
