package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/hack/lab/linkerd"
	"github.com/reanchor/reanchor/hack/local"
)

// The serving certificate is cert-manager's, as manifests/webhook/cert-manager
// has it: the webhook may write nothing. Leaf and CA are renewed, and though the
// caBundle follows at once and the mounted files late, not one pod waits. The
// lab has no cainjector and no mounts, so the test does what they do.
func TestAWebhookWithACertificateOfCertManagerServesThroughItsRenewals(t *testing.T) {
	m := newMesh(t, meshOptions{spec: quick()})
	ns := m.namespace("apps")
	m.awaitConverged(time.Minute, m.root)
	text, err := os.ReadFile("../../manifests/webhook/cert-manager/certificates.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// The lab's API server calls localhost.
	const service = "dnsNames: [reanchor-webhook.reanchor-system.svc"
	if !bytes.Contains(text, []byte(service)) {
		t.Fatal("the certificate's names are not where they were")
	}
	text = bytes.Replace(text, []byte(service), []byte(service+", localhost"), 1)
	if err := local.Apply(t.Context(), env.client, text); err != nil {
		t.Fatal(err)
	}
	issuedForGood(t, "reanchor-system", "reanchor-webhook-ca")
	renewIn(t, "reanchor-system", "reanchor-webhook") // it may be of an earlier issue of the CA
	w := m.externalWebhook(ns)
	eventually(t, time.Minute, func() error { return m.admitted(ns, true) })

	failures := m.createAllTheTime(ns)
	first := w.seen()
	renewIn(t, "reanchor-system", "reanchor-webhook")
	second := w.awaitLeaf(first.leaf)
	if second.ca != first.ca {
		t.Error("a renewed leaf changed the caBundle")
	}
	renewIn(t, "reanchor-system", "reanchor-webhook-ca")
	renewIn(t, "reanchor-system", "reanchor-webhook")
	third := w.awaitLeaf(second.leaf)
	if third.ca == second.ca {
		t.Error("the CA was not renewed")
	}
	failures()
	eventually(t, time.Minute, func() error { return m.admitted(ns, true) })
}

// external is a webhook whose certificate others keep.
type external struct {
	t       *testing.T
	address string
}

// served is what an API server meets: the CA that it is told of, and the leaf;
// issued is the leaf that the webhook is to serve.
type served struct{ ca, leaf, issued [sha256.Size]byte }

func (w *external) seen() served {
	w.t.Helper()
	c, err := tls.Dial("tcp", w.address, &tls.Config{InsecureSkipVerify: true}) // it is looked at, not trusted
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	s := get(w.t, "reanchor-system", "reanchor-webhook-cert", &corev1.Secret{})
	block, _ := pem.Decode(s.Data["tls.crt"])
	if block == nil {
		w.t.Fatal("the webhook's Secret holds no certificate")
	}
	return served{
		ca: sha256.Sum256(s.Data["ca.crt"]), leaf: sha256.Sum256(c.ConnectionState().PeerCertificates[0].Raw), issued: sha256.Sum256(block.Bytes),
	}
}

func (w *external) awaitLeaf(old [sha256.Size]byte) (now served) {
	w.t.Helper()
	eventually(w.t, time.Minute, func() error {
		if now = w.seen(); now.leaf == old || now.leaf != now.issued {
			return fmt.Errorf("the leaf is not the one that was issued yet")
		}
		return nil
	})
	return now
}

// externalWebhook runs the webhook for a namespace, with what keeps its files
// and the caBundle, and under a role that lets it write nothing.
func (m *meshWorld) externalWebhook(namespace string) *external {
	m.t.Helper()
	m.readOnlyAccount("reanchor-webhook-external")
	port, configurations := m.register(namespace)
	dir := m.t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	m.t.Cleanup(func() { cancel(); wait.Wait() })
	injected := make(chan struct{})
	var once sync.Once
	wait.Go(func() {
		inject(ctx, configurations, func() { once.Do(func() { close(injected) }) })
	})
	wait.Go(func() { mount(ctx, dir) })
	select {
	case <-injected:
	case <-time.After(time.Minute):
		m.t.Fatal("cert-manager has issued nothing")
	}
	address := net.JoinHostPort("127.0.0.1", port)
	m.replicaOfTheWebhook(replica{address: address, account: "reanchor-webhook-external", more: []string{"--certificate-dir", dir}})
	return &external{t: m.t, address: address}
}

// readOnlyAccount is a service account with the webhook's cluster role, without
// its writes.
func (m *meshWorld) readOnlyAccount(name string) {
	m.t.Helper()
	role := &rbacv1.ClusterRole{}
	m.install("rbac.yaml", role)
	var rules []rbacv1.PolicyRule
	for _, rule := range role.Rules {
		rule.Verbs = slices.DeleteFunc(rule.Verbs, func(v string) bool { return v == "update" })
		rules = append(rules, rule)
	}
	for _, o := range []client.Object{
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "reanchor-system", Name: name}},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "reanchor-system", Name: name}},
		},
	} {
		create(m.t, o)
		m.t.Cleanup(func() { env.client.Delete(context.Background(), o) })
	}
}

// inject is what cainjector does: it writes the CA beside the leaf into every
// caBundle, at once.
func inject(ctx context.Context, configurations []client.Object, done func()) {
	var last []byte
	for every(ctx, 50*time.Millisecond) {
		var s corev1.Secret
		err := env.client.Get(ctx, client.ObjectKey{Namespace: "reanchor-system", Name: "reanchor-webhook-cert"}, &s)
		if err != nil || len(s.Data["ca.crt"]) == 0 || bytes.Equal(s.Data["ca.crt"], last) {
			continue
		}
		patch, err := json.Marshal([]map[string]any{{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": s.Data["ca.crt"]}})
		if err != nil {
			return
		}
		written := true
		for _, o := range configurations {
			o := o.DeepCopyObject().(client.Object)
			written = env.client.Patch(ctx, o, client.RawPatch(types.JSONPatchType, patch)) == nil && written
		}
		if written {
			last = s.Data["ca.crt"]
			done()
		}
	}
}

// mount is what a kubelet does: it shows the Secret's files, seconds late, and
// both of a pair at the same moment.
func mount(ctx context.Context, dir string) {
	const lag = 3 * time.Second
	version := 0
	last, since := "", time.Time{}
	for every(ctx, 100*time.Millisecond) {
		var s corev1.Secret
		if err := env.client.Get(ctx, client.ObjectKey{Namespace: "reanchor-system", Name: "reanchor-webhook-cert"}, &s); err != nil || len(s.Data["tls.crt"]) == 0 {
			continue
		}
		if now := string(s.Data["tls.crt"]); now != last {
			last, since = now, time.Now()
		}
		if since.IsZero() || version > 0 && time.Since(since) < lag {
			continue
		}
		version++
		since = time.Time{}
		data := filepath.Join(dir, fmt.Sprintf("..%d", version))
		if os.Mkdir(data, 0o700) != nil || os.WriteFile(filepath.Join(data, "tls.crt"), s.Data["tls.crt"], 0o600) != nil ||
			os.WriteFile(filepath.Join(data, "tls.key"), s.Data["tls.key"], 0o600) != nil {
			return
		}
		_ = os.Symlink(data, filepath.Join(dir, "..next"))
		_ = os.Rename(filepath.Join(dir, "..next"), filepath.Join(dir, "..data"))
		for _, name := range []string{"tls.crt", "tls.key"} {
			_ = os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)) // it is there from the second time on
		}
	}
}

// every waits, and reports whether to go on.
func every(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// issuedForGood waits until cert-manager has issued a certificate, and does not
// issue it a second time.
func issuedForGood(t *testing.T, namespace, name string) {
	t.Helper()
	if _, err := linkerd.Settled(t.Context(), env.client, client.ObjectKey{Namespace: namespace, Name: name}); err != nil {
		t.Fatal(err)
	}
}

// renewIn has cert-manager renew a certificate, as "cmctl renew" does, and waits
// until it has for good.
func renewIn(t *testing.T, namespace, name string) {
	t.Helper()
	read := func() (*unstructured.Unstructured, int64) {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: "Certificate"})
		get(t, namespace, name, u)
		revision, _, _ := unstructured.NestedInt64(u.Object, "status", "revision")
		return u, revision
	}
	before := int64(0)
	eventually(t, time.Minute, func() error {
		u, revision := read()
		if strings.Contains(fmt.Sprint(u.Object["status"]), "type:Issuing") {
			return fmt.Errorf("Certificate %s is being issued", name)
		}
		before = revision
		conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
		conditions = append(conditions, map[string]any{
			"type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "by a test",
			"lastTransitionTime": time.Now().UTC().Format(time.RFC3339), "observedGeneration": u.GetGeneration(),
		})
		if err := unstructured.SetNestedSlice(u.Object, conditions, "status", "conditions"); err != nil {
			return err
		}
		return env.client.Status().Update(t.Context(), u)
	})
	eventually(t, time.Minute, func() error {
		if _, now := read(); now <= before {
			return fmt.Errorf("Certificate %s is still of revision %d", name, now)
		}
		return nil
	})
	issuedForGood(t, namespace, name)
}

// createAllTheTime makes dry runs of meshed pods until the returned function is
// called, which fails the test if one of them failed or there were too few.
func (m *meshWorld) createAllTheTime(namespace string) func() {
	ctx, cancel := context.WithCancel(context.Background())
	var done atomic.Int64
	var first atomic.Pointer[error]
	var wait sync.WaitGroup
	wait.Go(func() {
		for every(ctx, 50*time.Millisecond) {
			pod := meshed(namespace)
			err := env.client.Create(context.WithoutCancel(ctx), pod, client.DryRunAll)
			if err == nil && pod.Annotations["reanchor.dev/trust-bundle-hash"] == "" {
				err = fmt.Errorf("a pod came back without a stamp")
			}
			if err != nil {
				first.CompareAndSwap(nil, &err)
			}
			done.Add(1)
		}
	})
	m.t.Cleanup(func() { cancel(); wait.Wait() })
	return func() {
		m.t.Helper()
		cancel()
		wait.Wait()
		if err := first.Load(); err != nil {
			m.t.Errorf("a pod was refused or not stamped meanwhile: %v", *err)
		}
		if n := done.Load(); n < 50 {
			m.t.Errorf("%d creations are too few to tell", n)
		}
	}
}
