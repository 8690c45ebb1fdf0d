package webhook_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	admissionv1 "k8s.io/api/admission/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/webhook"
)

const maxBody = webhook.MaxBody

func handlers(t testing.TB, s *webhook.Snapshot) (stamp, validate http.Handler, registry *prometheus.Registry) {
	t.Helper()
	registry = prometheus.NewRegistry()
	metrics, err := webhook.NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	if s != nil {
		metrics.Snapshot(s)
	}
	sources := webhook.Sources{Snapshot: func() *webhook.Snapshot { return s }, Clock: clocktesting.NewFakePassiveClock(now), Metrics: metrics}
	stamp, validate = webhook.NewHandlers(sources)
	return stamp, validate, registry
}

func call(h http.Handler, body io.Reader) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/", body)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func reviewText(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile("../mesh/testdata/review-" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAHandlerAnswersWithAReviewOfTheSameRequest(t *testing.T) {
	ca := root(t, "a", -1, 1e15)
	stamp, validate, _ := handlers(t, webhook.NewSnapshot(world(linkerd([]*bundletest.CA{ca})), nil))
	for name, h := range map[string]http.Handler{"stamp": stamp, "validate": validate} {
		w := call(h, strings.NewReader(reviewText(t, "bare-pod")))
		var review admissionv1.AdmissionReview
		if err := json.Unmarshal(w.Body.Bytes(), &review); err != nil || w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
			t.Fatalf("%s: %d %s %v", name, w.Code, w.Body, err)
		}
		if review.Response.UID == "" || !review.Response.Allowed || (review.Response.Patch != nil) != (name == "stamp") {
			t.Errorf("%s: %s", name, w.Body)
		}
	}
}

func requestMetrics(t testing.TB, r *prometheus.Registry) []*dto.Metric {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "reanchor_admission_requests_total" {
			return f.GetMetric()
		}
	}
	return nil
}

// series is the number of counters of requests.
func series(t testing.TB, r *prometheus.Registry) int { return len(requestMetrics(t, r)) }

// errorsCounted is how many requests were counted as refused.
func errorsCounted(t testing.TB, r *prometheus.Registry) (n float64) {
	for _, m := range requestMetrics(t, r) {
		for _, l := range m.GetLabel() {
			if l.GetValue() == string(webhook.Failed) {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// endless is a body that never ends; reading more of it than is bounded fails
// the test.
type endless struct {
	t    *testing.T
	read int
}

func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	if e.read > maxBody+(17<<20) {
		e.t.Error("the body is read without end")
		return 0, io.EOF
	}
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestAHandlerRefusesWhatItCannotRead(t *testing.T) {
	s := webhook.NewSnapshot(world(), nil)
	good := reviewText(t, "bare-pod")
	text := func(s string) func() io.Reader { return func() io.Reader { return strings.NewReader(s) } }
	for name, tc := range map[string]struct {
		body func() io.Reader // each handler gets a body of its own
		code int
		says string
	}{
		"nothing":   {text(""), http.StatusBadRequest, "ends too early"},
		"truncated": {text(good[:3000]), http.StatusBadRequest, "not valid JSON"},
		"a broken body": {func() io.Reader {
			return io.MultiReader(strings.NewReader(good[:3000]), iotest.ErrReader(errors.New("reset")))
		}, http.StatusBadRequest, "ended too early"},
		"10 MB":           {text(strings.Repeat(" ", 10<<20)), http.StatusRequestEntityTooLarge, "over 7340032 bytes"},
		"without an end":  {func() io.Reader { return &endless{t: t} }, http.StatusRequestEntityTooLarge, "over 7340032 bytes"},
		"not a pod":       {text(strings.ReplaceAll(good, `"pods"`, `"services"`)), http.StatusBadRequest, "v1 pods"},
		"another version": {text(strings.ReplaceAll(good, "admission.k8s.io/v1", "admission.k8s.io/v1beta1")), http.StatusBadRequest, "admission.k8s.io/v1"},
		"duplicate keys":  {text(strings.Replace(good, `"operation"`, `"uid":"x","operation"`, 1)), http.StatusBadRequest, `second member "uid"`},
		"many containers": {text(reviewOf("u", `{"spec":{"containers":[`+strings.Repeat("{},", 2000)+`{}]}}`)), http.StatusBadRequest, "more than 1024 containers"},
		"invalid UTF-8":   {text(strings.Replace(good, "CREATE", "CR\xffATE", 1)), http.StatusBadRequest, "UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			stamp, validate, registry := handlers(t, s)
			for kind, h := range map[string]http.Handler{"stamp": stamp, "validate": validate} {
				w := call(h, tc.body())
				if w.Code != tc.code || !strings.Contains(w.Body.String(), tc.says) || w.Body.Len() > 300 {
					t.Errorf("%s answers %d %.300s", kind, w.Code, w.Body)
				}
			}
			if n := errorsCounted(t, registry); n != 2 {
				t.Errorf("%v of two refusals are counted", n)
			}
		})
	}
}

func TestAHandlerRefusesOtherMethodsAndTypes(t *testing.T) {
	stamp, _, _ := handlers(t, webhook.NewSnapshot(world(), nil))
	for name, tc := range map[string]struct {
		method, content string
		code            int
	}{
		"GET":                   {http.MethodGet, "application/json", http.StatusMethodNotAllowed},
		"YAML":                  {http.MethodPost, "application/yaml", http.StatusUnsupportedMediaType},
		"no type":               {http.MethodPost, "", http.StatusUnsupportedMediaType},
		"JSON with a parameter": {http.MethodPost, "application/json; charset=utf-8", http.StatusOK},
	} {
		r := httptest.NewRequest(tc.method, "/", strings.NewReader(reviewText(t, "bare-pod")))
		r.Header.Set("Content-Type", tc.content)
		w := httptest.NewRecorder()
		stamp.ServeHTTP(w, r)
		if w.Code != tc.code {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
}

func TestAHandlerWithoutASnapshotIsUnavailable(t *testing.T) {
	_, validate, _ := handlers(t, nil)
	if w := call(validate, strings.NewReader(reviewText(t, "bare-pod"))); w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestEveryDecisionHasACounterThatBeganAtZero(t *testing.T) {
	ca, expired := root(t, "a", -1, 1e15), root(t, "old", -2e13, -1e13)
	s := webhook.NewSnapshot(world(linkerd([]*bundletest.CA{ca})), nil)
	stamp, validate, registry := handlers(t, s)
	preset := series(t, registry)
	if preset < 20 {
		t.Errorf("only %d counters are preset", preset)
	}
	for _, text := range []string{ca.PEM(), expired.PEM(), "", "garbage", ca.PEM()[:90], bundletest.Unparsable(3), ca.PEM() + expired.PEM()} {
		pod, err := json.Marshal(carrying(t, text))
		if err != nil {
			t.Fatal(err)
		}
		body := reviewOf("u", string(pod))
		for _, h := range []http.Handler{stamp, validate} {
			if w := call(h, strings.NewReader(body)); w.Code != http.StatusOK {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
	}
	call(validate, strings.NewReader("{"))
	call(validate, strings.NewReader(reviewText(t, "unmeshed-pod")))
	if after := series(t, registry); after != preset {
		t.Errorf("%d counters appeared that were not preset", after-preset)
	}
}

func TestRequestsLeaveNothingBehindInEachOther(t *testing.T) {
	// The memory of a request is used for the next one.
	stamp, _, _ := handlers(t, webhook.NewSnapshot(world(linkerd(nil)), nil))
	type expected struct{ body, uid, hash string }
	var all []expected
	for i := range 8 {
		ca := root(t, fmt.Sprint("ca", i), -time.Hour, time.Hour)
		pod, err := json.Marshal(carrying(t, ca.PEM()))
		if err != nil {
			t.Fatal(err)
		}
		uid := strings.Repeat(fmt.Sprint(i), 36)
		all = append(all, expected{reviewOf(uid, string(pod)), uid, bundle.Of(ca.Cert).Hash()})
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 200 {
				e := all[(g+i*3)%len(all)]
				w := call(stamp, strings.NewReader(e.body))
				var review admissionv1.AdmissionReview
				if err := json.Unmarshal(w.Body.Bytes(), &review); err != nil || string(review.Response.UID) != e.uid || !strings.Contains(string(review.Response.Patch), e.hash) {
					t.Errorf("%d %s %v", w.Code, w.Body, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func reviewOf(uid, pod string) string {
	return `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"` + uid + `","operation":"CREATE","namespace":"emoji",` +
		`"kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},"object":` + pod + `}}`
}
