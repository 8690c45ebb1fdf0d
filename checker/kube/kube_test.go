package kube_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/checkertest"
	"github.com/reanchor/reanchor/checker/decode"
	"github.com/reanchor/reanchor/checker/kube"
)

// server answers lists in pages, as an API server does, and records what it was
// asked.
type server struct {
	secrets    []corev1.Secret
	configMaps []corev1.ConfigMap
	asked      []string
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	s.asked = append(s.asked, r.URL.Path+" "+q.Get("fieldSelector")+" "+q.Get("labelSelector"))
	from, _ := strconv.Atoi(q.Get("continue"))
	limit, _ := strconv.Atoi(q.Get("limit"))
	w.Header().Set("Content-Type", "application/json")
	switch {
	case strings.HasSuffix(r.URL.Path, "/secrets"):
		list := corev1.SecretList{TypeMeta: metav1.TypeMeta{Kind: "SecretList", APIVersion: "v1"}}
		list.Items, list.Continue = page(s.secrets, from, limit)
		json.NewEncoder(w).Encode(list)
	case strings.HasSuffix(r.URL.Path, "/configmaps"):
		list := corev1.ConfigMapList{TypeMeta: metav1.TypeMeta{Kind: "ConfigMapList", APIVersion: "v1"}}
		list.Items, list.Continue = page(s.configMaps, from, limit)
		json.NewEncoder(w).Encode(list)
	default:
		w.WriteHeader(http.StatusForbidden)
	}
}

func page[T any](all []T, from, limit int) ([]T, string) {
	to := min(from+limit, len(all))
	if to == len(all) {
		return all[from:to], ""
	}
	return all[from:to], strconv.Itoa(to)
}

func reader(t *testing.T, s http.Handler) kube.Reader {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	if err != nil {
		t.Fatal(err)
	}
	return kube.Reader{Client: client, Decoder: decode.New(nil)}
}

func issue(t *testing.T) *checkertest.Pair {
	t.Helper()
	p, err := checkertest.Issue(checkertest.Spec{CN: "a", NotAfter: time.Now().Add(time.Hour), CA: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func secret(t *testing.T, name string, cert, key *checkertest.Pair) corev1.Secret {
	t.Helper()
	keyPEM, err := key.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	return corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{"tls.crt": cert.CertPEM(), "tls.key": keyPEM, "ca.crt": cert.CertPEM()},
	}
}

func TestSecretsOfAllPagesAreRead(t *testing.T) {
	pair := issue(t)
	s := &server{}
	for i := range 120 {
		s.secrets = append(s.secrets, secret(t, "s"+strconv.Itoa(i), pair, pair))
	}
	files := reader(t, s).Read(t.Context(), kube.Request{Secrets: []string{"*"}, Selector: "team=a"})
	if len(files) != 240 || len(s.asked) != 3 {
		t.Errorf("%d files in %d pages, want 240 in 3", len(files), len(s.asked))
	}
	if want := "/api/v1/secrets type=kubernetes.io/tls team=a"; s.asked[0] != want {
		t.Errorf("asked %q, want %q: other Secrets are nobody's business", s.asked[0], want)
	}
}

func TestASecretsKeyIsComparedWithItsCertificate(t *testing.T) {
	pair := issue(t)
	s := &server{secrets: []corev1.Secret{secret(t, "good", pair, pair), secret(t, "bad", pair, issue(t))}}
	files := reader(t, s).Read(t.Context(), kube.Request{Secrets: []string{"ns"}})
	report := checker.Check(checker.Facts{Files: files}, time.Now(), checker.DefaultPolicy())
	var got []string
	for f := range report.All() {
		if f.ID == checker.KeyMismatch {
			got = append(got, f.Path)
		}
	}
	if diff := cmp.Diff([]string{"ns/bad#tls.crt"}, got); diff != "" {
		t.Errorf("key_mismatch at (-want +got):\n%s", diff)
	}
}

func TestOnlyEntriesWithCertificatesOfAConfigMapAreRead(t *testing.T) {
	pair := issue(t)
	s := &server{configMaps: []corev1.ConfigMap{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c"},
		Data:       map[string]string{"b.pem": string(pair.CertPEM()), "a.pem": string(pair.CertPEM()), "readme": "-----BEGIN SOMETHING"},
	}}}
	files := reader(t, s).Read(t.Context(), kube.Request{ConfigMaps: []string{"ns"}})
	var keys []string
	for _, f := range files {
		keys = append(keys, f.Path+" "+f.Key)
	}
	if diff := cmp.Diff([]string{"ns/c a.pem", "ns/c b.pem"}, keys); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestANamespaceThatMayNotBeListedIsSaidAndHidesNoOther(t *testing.T) {
	pair := issue(t)
	open := &server{secrets: []corev1.Secret{secret(t, "s", pair, pair)}}
	some := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/team-a/") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		open.ServeHTTP(w, r)
	})
	files := reader(t, some).Read(t.Context(), kube.Request{Secrets: []string{"team-a", "team-b"}, ConfigMaps: []string{"team-a"}})
	report := checker.Check(checker.Facts{Files: files}, time.Now(), checker.DefaultPolicy())
	if report.Summary.Certificates != 1 {
		t.Errorf("%d certificates, want that of team-b", report.Summary.Certificates)
	}
	var got []string
	for _, f := range report.Findings {
		what, _, _ := strings.Cut(f.Message, ": ")
		got = append(got, f.Severity.String()+" "+string(f.ID)+" "+f.Path+" "+what)
	}
	want := []string{
		`unknown unreadable team-a listing the TLS Secrets of namespace "team-a"`,
		`unknown unreadable team-a listing the ConfigMaps of namespace "team-a"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
