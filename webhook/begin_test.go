package webhook_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/webhook"
	"github.com/reanchor/reanchor/webhook/serving"
	"github.com/reanchor/reanchor/webhook/webhooktest"
)

// apiServer is as much of an API server as a replica needs that reads no cluster
// of any size: the kinds, lists that are empty, and what is registered.
type apiServer struct {
	mu         sync.Mutex
	kubernetes string // its version
	failing    int    // the status with which it answers everything, 0 for none
	withCRDs   bool
	// noRotations says that of the CRDs that of AnchorRotations is missing.
	noRotations bool
	objects     map[string][]any // by the path of their list
	registered  map[string]any   // objects by path
	warning     string
}

func (a *apiServer) change(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.warning != "" {
		w.Header().Set("Warning", `299 - "`+a.warning+`"`)
	}
	if a.failing != 0 {
		answer(w, a.failing, status(a.failing))
		return
	}
	if object, ok := a.registered[r.URL.Path]; ok {
		answer(w, http.StatusOK, object)
		return
	}
	switch path := r.URL.Path; {
	case path == "/version":
		answer(w, http.StatusOK, version.Info{GitVersion: a.kubernetes})
	case path == "/api":
		answer(w, http.StatusOK, metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}})
	case path == "/apis":
		answer(w, http.StatusOK, a.groups())
	case path == "/api/v1":
		answer(w, http.StatusOK, kinds("v1", metav1.APIResource{Name: "namespaces", Kind: "Namespace"}))
	case path == "/apis/reanchor.dev/v1alpha1" && a.withCRDs:
		answer(w, http.StatusOK, a.ourKinds())
	case a.noRotations && strings.HasSuffix(path, "/anchorrotations"):
		answer(w, http.StatusNotFound, status(http.StatusNotFound))
	case r.URL.Query().Has("watch"):
		// As one that streams no lists: clients then list.
		answer(w, http.StatusUnprocessableEntity, status(http.StatusUnprocessableEntity))
	case path == "/apis/reanchor.dev/v1alpha1/meshtrusts":
		answer(w, http.StatusOK, a.list(path, "reanchor.dev/v1alpha1", "MeshTrustList"))
	case path == "/apis/reanchor.dev/v1alpha1/anchorrotations":
		answer(w, http.StatusOK, a.list(path, "reanchor.dev/v1alpha1", "AnchorRotationList"))
	case path == "/api/v1/namespaces":
		answer(w, http.StatusOK, a.list(path, "meta.k8s.io/v1", "PartialObjectMetadataList"))
	default:
		answer(w, http.StatusNotFound, status(http.StatusNotFound))
	}
}

func (a *apiServer) groups() metav1.APIGroupList {
	list := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
	if a.withCRDs {
		v := metav1.GroupVersionForDiscovery{GroupVersion: "reanchor.dev/v1alpha1", Version: "v1alpha1"}
		list.Groups = append(list.Groups, metav1.APIGroup{Name: "reanchor.dev", Versions: []metav1.GroupVersionForDiscovery{v}, PreferredVersion: v})
	}
	return list
}

func kinds(groupVersion string, resources ...metav1.APIResource) metav1.APIResourceList {
	for i := range resources {
		resources[i].Verbs = metav1.Verbs{"list", "watch"}
	}
	return metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: groupVersion, APIResources: resources}
}

func (a *apiServer) ourKinds() metav1.APIResourceList {
	all := []metav1.APIResource{{Name: "meshtrusts", Kind: "MeshTrust"}, {Name: "anchorrotations", Kind: "AnchorRotation"}}
	if a.noRotations {
		all = all[:1]
	}
	return kinds("reanchor.dev/v1alpha1", all...)
}

func (a *apiServer) list(path, apiVersion, kind string) map[string]any {
	items := append([]any{}, a.objects[path]...)
	return map[string]any{"kind": kind, "apiVersion": apiVersion, "metadata": map[string]string{"resourceVersion": "1"}, "items": items}
}

func status(code int) metav1.Status {
	reason := map[int]metav1.StatusReason{
		http.StatusForbidden: metav1.StatusReasonForbidden, http.StatusNotFound: metav1.StatusReasonNotFound,
		http.StatusServiceUnavailable: metav1.StatusReasonServiceUnavailable, http.StatusUnprocessableEntity: metav1.StatusReasonInvalid,
	}[code]
	return metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Code: int32(code), Reason: reason, Message: "answered with " + http.StatusText(code),
	}
}

func answer(w http.ResponseWriter, code int, object any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(object)
}

// freeAddress is one that nobody listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// listen serves the API at the address until the test ends.
func listen(t *testing.T, address string, a *apiServer) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: a}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
}

// replica runs a replica until the test ends, or it does.
type replica struct {
	*webhook.Server
	webhooks, health string // addresses
	ended            chan error
}

func begin(t *testing.T, address, certificates string, log logr.Logger) *replica {
	t.Helper()
	webhooks, health := freeAddress(t), freeAddress(t)
	server, err := webhook.NewServer(&rest.Config{Host: "http://" + address}, webhook.Options{
		Address: webhooks, HealthAddress: health, Log: log, Clock: clock.RealClock{},
		Serving: serving.Options{
			Policy: serving.Policy{
				Names: []string{"localhost"}, Lifetime: time.Hour, RenewBefore: time.Minute, Pause: time.Millisecond, Interval: 20 * time.Millisecond,
			},
			Namespace: "system", Secret: "tls", Mutating: "stamp", Validating: "validate", Dir: certificates,
		},
	})
	if err != nil {
		t.Fatalf("without an API server it is not even built: %v", err)
	}
	r := &replica{Server: server, webhooks: webhooks, health: health, ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.ended <- server.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

// says waits until what Ready says contains all the words; none for ready.
func (r *replica) says(t *testing.T, words ...string) {
	t.Helper()
	has := func(err error) bool {
		if err == nil || len(words) == 0 {
			return err == nil && len(words) == 0
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				return false
			}
		}
		return true
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		select {
		case err := <-r.ended:
			t.Fatalf("it has ended: %v", err)
		default:
		}
		if err := r.Ready(); has(err) {
			return
		} else if time.Now().After(end) {
			t.Fatalf("readiness is %v, want %q", err, words)
		}
	}
}

// gauge is the line of a gauge among the metrics.
func (r *replica) gauge(t *testing.T, name string) string {
	t.Helper()
	response, err := http.Get("http://" + r.health + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, name+" ") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// After a power cut a replica is up before its API server. If it ended, it would
// be minutes until the kubelet starts it again, and meshed pods would wait.
func TestAReplicaWaitsForItsAPIServer(t *testing.T) {
	address, api := freeAddress(t), &apiServer{kubernetes: "v1.36.0", registered: map[string]any{}}
	g, err := serving.Issue([]string{"localhost"}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	r := begin(t, address, writePair(t, g), logr.Discard())
	r.says(t, "cannot be asked yet", "connection refused")
	api.failing = http.StatusServiceUnavailable
	listen(t, address, api)
	r.says(t, "cannot be asked yet", "unable to handle the request")
	// Its roles are not read yet.
	api.change(func() { api.failing = http.StatusForbidden })
	r.says(t, "cannot be asked yet", "HTTP status 403")
	// Nor are its CRDs.
	api.change(func() { api.failing = 0 })
	r.says(t, "cannot be asked yet", "install Reanchor's CRDs first")
	api.change(func() { api.withCRDs = true })
	r.says(t, "the webhook configuration validate does not exist")
}

// AnchorRotations can only add denials: that nobody can create one must not keep
// meshed pods from being created.
func TestAReplicaWithoutTheKindOfRotationsJudgesAndPicksItUpLater(t *testing.T) {
	g, err := serving.Issue([]string{"localhost"}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	today := time.Now()
	published := bundletest.NewRoot(t, "published", bundletest.From(today.Add(-time.Hour), 2*time.Hour))
	other := bundletest.NewRoot(t, "other", bundletest.From(today.Add(-time.Hour), 2*time.Hour))
	mt := linkerd([]*bundletest.CA{published}, verifiedBy(published))
	mt.Status.History[0].PublishedAt, mt.Status.History[0].LastSeen = metav1.NewTime(today.Add(-time.Hour)), metav1.NewTime(today)
	const ours, validating = "/apis/reanchor.dev/v1alpha1/", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/validate"
	address, api := freeAddress(t), &apiServer{
		kubernetes: "v1.36.0", withCRDs: true, noRotations: true,
		registered: map[string]any{validating: &admissionregistrationv1.ValidatingWebhookConfiguration{
			Webhooks: []admissionregistrationv1.ValidatingWebhook{{Name: "v", ClientConfig: admissionregistrationv1.WebhookClientConfig{CABundle: g.CA}}},
		}},
		objects: map[string][]any{
			ours + "meshtrusts":      {mt},
			ours + "anchorrotations": {entered(rotation(v1alpha1.PhaseSwitchIssuer, ""), v1alpha1.PhaseSwitchIssuer)},
		},
	}
	listen(t, address, api)
	var log webhooktest.Log
	r := begin(t, address, writePair(t, g), log.Logger(0))
	r.says(t)
	pod, err := json.Marshal(carrying(t, other.PEM()))
	if err != nil {
		t.Fatal(err)
	}
	body := reviewOf("u", string(pod))
	if answer := r.judges(t, body); !strings.Contains(answer, `"allowed":true`) {
		t.Errorf("without a rotation it answers %s", answer)
	}
	api.change(func() { api.noRotations = false })
	for end := time.Now().Add(30 * time.Second); !strings.Contains(r.judges(t, body), "IssuerNotTrusted"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the rotation is not seen: %s", r.judges(t, body))
		}
	}
	if n := strings.Count(log.String(), "There is no kind AnchorRotation"); n != 1 {
		t.Errorf("the log says %d times that the kind is missing: %s", n, log.String())
	}
}

// judges is the answer of the validating webhook.
func (r *replica) judges(t *testing.T, body string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true, DisableKeepAlives: true}}
	response, err := client.Post("https://"+r.webhooks+webhook.ValidatePath, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.ProtoMajor != 1 {
		t.Errorf("it answers over %s", response.Proto)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What passes by itself is waited for, and nothing else.
func TestAReplicaEndsWhereWaitingDoesNotHelp(t *testing.T) {
	for name, tc := range map[string]struct {
		api  *apiServer
		says string
	}{
		"an API server that is too old":      {&apiServer{kubernetes: "v1.29.3"}, "this API server is Kubernetes v1.29.3, and Reanchor's webhooks need 1.30 or later"},
		"one that does not say what it is":   {&apiServer{kubernetes: "?"}, "reading the version of the API server"},
		"a server of something else instead": {&apiServer{failing: http.StatusNotFound}, "asking for the version of the API server"},
	} {
		t.Run(name, func(t *testing.T) {
			address := freeAddress(t)
			listen(t, address, tc.api)
			r := begin(t, address, "", logr.Discard())
			select {
			case err := <-r.ended:
				if err == nil || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "\n") {
					t.Errorf("it ends with %v, want %q", err, tc.says)
				}
			case <-time.After(20 * time.Second):
				t.Errorf("it goes on, and says %v", r.Ready())
			}
		})
	}
}

func TestTheGaugesSayWhatAReplicaIsReadyFor(t *testing.T) {
	g, err := serving.Issue([]string{"localhost"}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	address, api := freeAddress(t), &apiServer{kubernetes: "v1.36.0", withCRDs: true, registered: map[string]any{}}
	r := begin(t, address, writePair(t, g), logr.Discard())
	r.says(t, "cannot be asked yet")
	const ready, stamp = "reanchor_webhook_ready", "reanchor_webhook_stamp_reachable"
	if got := r.gauge(t, ready); got != ready+" 0" {
		t.Errorf("before there is an API server: %q", got)
	}
	const paths = "/apis/admissionregistration.k8s.io/v1/"
	client := admissionregistrationv1.WebhookClientConfig{CABundle: g.CA}
	validating := &admissionregistrationv1.ValidatingWebhookConfiguration{Webhooks: []admissionregistrationv1.ValidatingWebhook{{Name: "v", ClientConfig: client}}}
	mutating := &admissionregistrationv1.MutatingWebhookConfiguration{Webhooks: []admissionregistrationv1.MutatingWebhook{{Name: "m", ClientConfig: client}}}
	api.registered[paths+"validatingwebhookconfigurations/validate"] = validating
	listen(t, address, api)
	r.says(t) // without the stamp, too: no pod waits for that
	r.shows(t, ready+" 1", stamp+" 0")
	api.change(func() { api.registered[paths+"mutatingwebhookconfigurations/stamp"] = mutating })
	r.shows(t, ready+" 1", stamp+" 1")
	api.change(func() { delete(api.registered, paths+"validatingwebhookconfigurations/validate") })
	r.says(t, "validate does not exist")
	r.shows(t, ready+" 0", stamp+" 1")
}

// shows waits until the gauges are as given.
func (r *replica) shows(t *testing.T, lines ...string) {
	t.Helper()
	for _, want := range lines {
		name, _, _ := strings.Cut(want, " ")
		for end := time.Now().Add(20 * time.Second); r.gauge(t, name) != want; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("it shows %q, want %q", r.gauge(t, name), want)
			}
		}
	}
}

// An API server passes on what the webhook of a policy warns of.
func TestAWarningOfTheAPIServerThatQuotesACertificateIsNotTold(t *testing.T) {
	ca := bundletest.NewRoot(t, "root", bundletest.From(time.Now(), time.Hour))
	pem := strings.ReplaceAll(ca.PEM(), "\n", " ")
	for name, tc := range map[string]struct{ warning, says string }{
		"one that quotes a certificate": {"refused tomorrow: " + pem, "left out"},
		"another":                       {"this API is old", "this API is old"},
	} {
		t.Run(name, func(t *testing.T) {
			address := freeAddress(t)
			listen(t, address, &apiServer{kubernetes: "v1.36.0", warning: tc.warning})
			var log webhooktest.Log
			r := begin(t, address, "", log.Logger(9))
			r.says(t, "install Reanchor's CRDs first")
			text := log.String()
			if !strings.Contains(text, tc.says) || strings.Contains(text, "BEGIN CERT") || strings.Contains(text, "refused tomorrow") {
				t.Errorf("the log says %s", text)
			}
		})
	}
}

// writePair writes a generation as a mounted Secret shows it.
func writePair(t *testing.T, g serving.Generation) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string][]byte{"tls.crt": g.Cert, "tls.key": g.Key} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
