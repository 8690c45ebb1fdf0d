package published

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/fake"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlfake "sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle/bundletest"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func encoded(text string) any { return base64.StdEncoding.EncodeToString([]byte(text)) }

func object(kind, namespace, name string, fields map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": kind}}
	for k, v := range fields {
		u.Object[k] = v
	}
	u.SetNamespace(namespace)
	u.SetName(name)
	return u
}

func TestPrivateKeysAreDroppedWhileASecretIsDecoded(t *testing.T) {
	root := bundletest.NewRoot(t, "root", bundletest.From(now, time.Hour)).PEM()
	const secret = "SECRET"
	key := "-----BEGIN PRIVATE KEY-----\n" + secret + "\n-----END PRIVATE KEY-----\n"
	certificates := map[string]any{"tls.crt": encoded(root), "ca.crt": encoded(root + root), "crt.pem": encoded("# ours\n" + root)}
	keys := map[string]any{
		"tls.key": encoded(key), "tls-combined.pem": encoded(key + root), "chain.pem": encoded(root + key),
		"ec.crt":      encoded(root + "-----BEGIN EC PRIVATE KEY-----\n" + secret),
		"openssh":     encoded(root + "-----BEGIN OPENSSH PRIVATE KEY-----\n" + secret),
		"encrypted":   encoded(root + "-----BEGIN ENCRYPTED PRIVATE KEY-----\n" + secret),
		"key.der":     encoded("\x30\x82" + secret),
		"store.crt":   encoded("\xfe\xed\xfe\xed" + secret),
		"password":    encoded(secret),
		"not base64":  secret + " BEGIN CERTIFICATE",
		"not text":    []any{secret},
		"truststore":  encoded(""),
		"nearly.cert": encoded("-----BEGIN CERTIFICAT" + secret),
	}
	data := map[string]any{}
	maps.Copy(data, certificates)
	maps.Copy(data, keys)
	object := object("Secret", "linkerd", "linkerd-identity-issuer", map[string]any{"type": "kubernetes.io/tls", "data": data})
	object.SetAnnotations(map[string]string{"kubectl.kubernetes.io/last-applied-configuration": `{"data":{"tls.key":"SECRET"}}`})
	object.Object["stringData"] = map[string]any{"tls.key": secret}
	kept, err := withoutKeys(object)
	if err != nil {
		t.Fatal(err)
	}
	u := kept.(*unstructured.Unstructured)
	want := maps.Clone(certificates)
	for name := range keys {
		want[name] = ""
	}
	if diff := cmp.Diff(want, u.Object["data"]); diff != "" {
		t.Errorf("of the values it keeps (-want +got):\n%s", diff)
	}
	if text := fmt.Sprint(u.Object); strings.Contains(text, secret) {
		t.Errorf("a private key was kept: %s", text)
	}
	again, err := withoutKeys(u)
	if err != nil || fmt.Sprint(again.(*unstructured.Unstructured).Object) != fmt.Sprint(u.Object) {
		t.Errorf("applying it twice is not applying it once: %v", err)
	}
}

func TestWhenAnObjectWasWritten(t *testing.T) {
	u := object("ConfigMap", "linkerd", "roots", nil)
	u.SetCreationTimestamp(metav1.NewTime(now))
	if at, known := WrittenAt(u); known || !at.Equal(now) {
		t.Errorf("without managed fields the creation is all that is known, got %s %v", at, known)
	}
	earlier, later := metav1.NewTime(now.Add(time.Hour)), metav1.NewTime(now.Add(2*time.Hour))
	u.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "a", Time: &later}, {Manager: "b", Time: &earlier}, {Manager: "c"}})
	if at, known := WrittenAt(u); !known || !at.Equal(later.Time) {
		t.Errorf("got %s %v, want the latest of the managers' times", at, known)
	}
}

// watching returns a Watcher over the objects that runs until the test ends.
func watching(t *testing.T, objects ...runtime.Object) *Watcher {
	t.Helper()
	client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		configMaps: "ConfigMapList", secrets: "SecretList", clusterTrustBundles: "ClusterTrustBundleList", certificateRequests: "CertificateRequestList",
	}, objects...)
	w := NewWatcher(client, func() {})
	go w.Start(t.Context())
	return w
}

// settled reads until the watch has delivered.
func settled[T any](t *testing.T, read func() (T, bool)) T {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		got, ok := read()
		if ok {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatal("the watch delivers nothing")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestBundlesAreReadOrSayWhatIsWrong(t *testing.T) {
	valid := bundletest.NewRoot(t, "root", bundletest.From(now.Add(-time.Hour), 24*time.Hour))
	expired := bundletest.NewRoot(t, "root", bundletest.From(now.Add(-2*time.Hour), time.Hour))
	configMap := func(text string) runtime.Object {
		return object("ConfigMap", "linkerd", "roots", map[string]any{"data": map[string]any{"ca-bundle.crt": text}})
	}
	fromConfigMap := v1alpha1.BundleSpec{ConfigMapRef: &v1alpha1.KeyRef{Namespace: "linkerd", Name: "roots", Key: "ca-bundle.crt"}}
	for name, tc := range map[string]struct {
		objects []runtime.Object
		spec    v1alpha1.BundleSpec
		want    v1alpha1.Reason
		anchors int
	}{
		"a ConfigMap with an anchor":     {[]runtime.Object{configMap(valid.PEM())}, fromConfigMap, v1alpha1.BundleUsable, 1},
		"no ConfigMap":                   {nil, fromConfigMap, v1alpha1.BundleNotFound, 0},
		"a ConfigMap without the key":    {[]runtime.Object{object("ConfigMap", "linkerd", "roots", nil)}, fromConfigMap, v1alpha1.BundleKeyMissing, 0},
		"text without certificates":      {[]runtime.Object{configMap("soon")}, fromConfigMap, v1alpha1.BundleEmpty, 0},
		"damaged PEM":                    {[]runtime.Object{configMap(valid.PEM()[:200])}, fromConfigMap, v1alpha1.BundleInvalid, 0},
		"anchors that have all expired":  {[]runtime.Object{configMap(expired.PEM())}, fromConfigMap, v1alpha1.BundleExpired, 1},
		"binary data of a ConfigMap":     {[]runtime.Object{object("ConfigMap", "linkerd", "roots", map[string]any{"binaryData": map[string]any{"ca-bundle.crt": encoded(valid.PEM())}})}, fromConfigMap, v1alpha1.BundleUsable, 1},
		"a Secret":                       {[]runtime.Object{object("Secret", "erlang", "ca", map[string]any{"data": map[string]any{"ca.crt": encoded(valid.PEM()), "tls.key": encoded("x")}})}, v1alpha1.BundleSpec{SecretRef: &v1alpha1.KeyRef{Namespace: "erlang", Name: "ca", Key: "ca.crt"}}, v1alpha1.BundleUsable, 1},
		"a Secret's key and chain":       {[]runtime.Object{object("Secret", "erlang", "ca", map[string]any{"data": map[string]any{"tls-combined.pem": encoded("-----BEGIN PRIVATE KEY-----\n" + valid.PEM())}})}, v1alpha1.BundleSpec{SecretRef: &v1alpha1.KeyRef{Namespace: "erlang", Name: "ca", Key: "tls-combined.pem"}}, v1alpha1.BundleEmpty, 0},
		"a spec that names no object":    {nil, v1alpha1.BundleSpec{}, v1alpha1.InvalidSpec, 0},
		"another ConfigMap is not taken": {[]runtime.Object{object("ConfigMap", "other", "roots", map[string]any{"data": map[string]any{"ca-bundle.crt": valid.PEM()}})}, fromConfigMap, v1alpha1.BundleNotFound, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := watching(t, tc.objects...)
			got := settled(t, func() (Bundle, bool) { b := w.Bundle(tc.spec, now); return b, b.Reason != "" })
			if got.Reason != tc.want || got.Set.Len() != tc.anchors {
				t.Errorf("got %s with %d anchors, want %s with %d", got.Reason, got.Set.Len(), tc.want, tc.anchors)
			}
			if got.Message == "" || strings.Contains(got.Message, "BEGIN") {
				t.Errorf("the message is %q", got.Message)
			}
		})
	}
}

func TestIssuersAreReadOrSayWhatIsWrong(t *testing.T) {
	root := bundletest.NewRoot(t, "root", bundletest.From(now.Add(-time.Hour), 24*time.Hour))
	first := root.Intermediate("first", bundletest.From(now.Add(-time.Hour), time.Hour))
	second := root.Intermediate("second", bundletest.From(now.Add(-time.Minute), time.Hour))
	secret := func(data map[string]any) runtime.Object {
		return object("Secret", "linkerd", "issuer", map[string]any{"data": data})
	}
	request := func(name, certificate, revision, issued string) runtime.Object {
		u := object("CertificateRequest", "linkerd", name, map[string]any{"apiVersion": "cert-manager.io/v1", "status": map[string]any{"certificate": encoded(issued)}})
		u.SetAnnotations(map[string]string{certificateNameAnnotation: certificate, certificateRevisionAnnotation: revision})
		return u
	}
	fromSecret := v1alpha1.IssuerSpec{SecretRef: &v1alpha1.KeyRef{Namespace: "linkerd", Name: "issuer"}}
	fromCertificate := v1alpha1.IssuerSpec{CertificateRef: &v1alpha1.ObjectRef{Namespace: "linkerd", Name: "issuer"}}
	for name, tc := range map[string]struct {
		objects []runtime.Object
		spec    v1alpha1.IssuerSpec
		want    v1alpha1.Reason
		subject string
	}{
		"a Secret of cert-manager":                  {[]runtime.Object{secret(map[string]any{"tls.crt": encoded(first.PEM()), "tls.key": encoded("x")})}, fromSecret, "", "CN=first"},
		"a Secret of Linkerd's own scheme":          {[]runtime.Object{secret(map[string]any{"crt.pem": encoded(second.PEM())})}, fromSecret, "", "CN=second"},
		"a Secret without a certificate":            {[]runtime.Object{secret(nil)}, fromSecret, v1alpha1.IssuerNotFound, ""},
		"no Secret":                                 {nil, fromSecret, v1alpha1.IssuerNotFound, ""},
		"a Secret with garbage":                     {[]runtime.Object{secret(map[string]any{"tls.crt": encoded("garbage")})}, fromSecret, v1alpha1.IssuerInvalid, ""},
		"the newest request of a Certificate":       {[]runtime.Object{request("b", "issuer", "2", second.PEM()), request("a", "issuer", "10", first.PEM())}, fromCertificate, "", "CN=first"},
		"a request of another Certificate":          {[]runtime.Object{request("a", "other", "1", first.PEM())}, fromCertificate, v1alpha1.IssuerNotFound, ""},
		"a request that is not fulfilled is passed": {[]runtime.Object{request("a", "issuer", "1", first.PEM()), request("b", "issuer", "2", "")}, fromCertificate, "", "CN=first"},
	} {
		t.Run(name, func(t *testing.T) {
			w := watching(t, tc.objects...)
			got := settled(t, func() (Issuer, bool) { i := w.Issuer(tc.spec, now); return i, i.Reason != "" || len(i.Chain) > 0 })
			subject := ""
			if len(got.Chain) > 0 {
				subject = got.Chain[0].Subject.String()
			}
			if got.Reason != tc.want || subject != tc.subject {
				t.Errorf("got %q %s, want %q %s", got.Reason, subject, tc.want, tc.subject)
			}
		})
	}
	if got := watching(t).Issuer(v1alpha1.IssuerSpec{None: true}, now); !got.None {
		t.Error("a mesh may have no issuer")
	}
}

// The issuer may be read from the requests of a Certificate, of which any may be the
// newest. Those of other Certificates, and of none, may come and go all the time.
func TestRequestsOfACertificateAreConfirmed(t *testing.T) {
	of := func(certificate, name, resourceVersion string) *unstructured.Unstructured {
		u := object("CertificateRequest", "linkerd", name, map[string]any{"apiVersion": "cert-manager.io/v1"})
		u.SetResourceVersion(resourceVersion)
		if certificate != "" {
			u.SetAnnotations(map[string]string{certificateNameAnnotation: certificate})
		}
		return u
	}
	request := func(name, resourceVersion string) *unstructured.Unstructured {
		return of("issuer", name, resourceVersion)
	}
	roots := func() *unstructured.Unstructured {
		u := object("ConfigMap", "linkerd", "roots", nil)
		u.SetResourceVersion("1")
		return u
	}
	spec := &v1alpha1.MeshTrustSpec{
		Bundle: v1alpha1.BundleSpec{ConfigMapRef: &v1alpha1.KeyRef{Namespace: "linkerd", Name: "roots", Key: "ca-bundle.crt"}},
		Issuer: v1alpha1.IssuerSpec{CertificateRef: &v1alpha1.ObjectRef{Namespace: "linkerd", Name: "issuer"}},
	}
	for name, tc := range map[string]struct {
		delivered, held []*unstructured.Unstructured
		want            error
	}{
		"as they were delivered": {[]*unstructured.Unstructured{request("a", "1"), request("b", "2")}, []*unstructured.Unstructured{request("b", "2"), request("a", "1")}, nil},
		"one is new":             {[]*unstructured.Unstructured{request("a", "1")}, []*unstructured.Unstructured{request("a", "1"), request("b", "2")}, ErrChanged},
		"one was fulfilled":      {[]*unstructured.Unstructured{request("a", "1")}, []*unstructured.Unstructured{request("a", "2")}, ErrChanged},
		"one is gone":            {[]*unstructured.Unstructured{request("a", "1"), request("b", "2")}, []*unstructured.Unstructured{request("b", "2")}, ErrChanged},
		"one was made again":     {[]*unstructured.Unstructured{madeAs("first", request("a", "1"))}, []*unstructured.Unstructured{madeAs("second", request("a", "1"))}, ErrChanged},
		"one was given away":     {[]*unstructured.Unstructured{request("a", "1")}, []*unstructured.Unstructured{of("other", "a", "2")}, ErrChanged},
		"one was taken over":     {[]*unstructured.Unstructured{of("other", "a", "1")}, []*unstructured.Unstructured{request("a", "2")}, ErrChanged},
		"others came and went": {
			[]*unstructured.Unstructured{request("a", "1"), of("other", "b", "2"), of("", "c", "3"), of("", "d", "4")},
			[]*unstructured.Unstructured{request("a", "1"), of("other", "b", "5"), of("", "d", "6"), of("", "e", "7")}, nil,
		},
		"others came while one was fulfilled": {
			[]*unstructured.Unstructured{request("a", "1")}, []*unstructured.Unstructured{request("a", "2"), of("", "b", "3")}, ErrChanged,
		},
		"all are others'": {[]*unstructured.Unstructured{of("", "a", "1")}, []*unstructured.Unstructured{of("", "a", "2")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			objects := []runtime.Object{roots()}
			for _, u := range tc.delivered {
				objects = append(objects, u)
			}
			w := watching(t, objects...)
			got := settled(t, func() (error, bool) {
				err := w.Confirm(t.Context(), holding(t, append(tc.held, roots())...), spec, now)
				return err, !errors.Is(err, ErrSyncing)
			})
			if !errors.Is(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// madeAs gives an object a UID.
func madeAs(uid types.UID, u *unstructured.Unstructured) *unstructured.Unstructured {
	u.SetUID(uid)
	return u
}

// holding is an API server with the objects.
func holding(t *testing.T, objects ...*unstructured.Unstructured) client.Reader {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	requests := schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: "CertificateRequest"}
	scheme.AddKnownTypeWithName(requests, &unstructured.Unstructured{})
	scheme.AddKnownTypeWithName(requests.GroupVersion().WithKind(requests.Kind+"List"), &unstructured.UnstructuredList{})
	builder := ctrlfake.NewClientBuilder().WithScheme(scheme).
		WithIndex(&corev1.ConfigMap{}, "metadata.name", func(o client.Object) []string { return []string{o.GetName()} })
	for _, u := range objects {
		builder = builder.WithObjects(u)
	}
	return builder.Build()
}
