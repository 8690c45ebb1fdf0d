package webhook_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/webhook"
)

// failures are the requests that were answered with an HTTP error, by reason.
func failures(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	for _, m := range requestMetrics(t, r) {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if n := m.GetCounter().GetValue(); n > 0 && labels["decision"] == string(webhook.Failed) {
			out[labels["reason"]] += n
		}
	}
	return out
}

// An operator looks for a caller that writes nonsense when requests cannot be
// read, and for the replica's own state when it cannot judge them.
func TestARequestAtABadTimeIsNotCountedAsOneThatCannotBeRead(t *testing.T) {
	good := reviewText(t, "bare-pod")
	for name, tc := range map[string]struct {
		snapshot *webhook.Snapshot
		answers  func(h http.Handler) int
		code     int
		want     v1alpha1.Reason
	}{
		"nothing was read of the cluster yet": {nil, func(h http.Handler) int {
			return call(h, strings.NewReader(good)).Code
		}, http.StatusServiceUnavailable, v1alpha1.Unavailable},
		"too many large requests": {webhook.NewSnapshot(world(), nil), oneTooMany(t), http.StatusServiceUnavailable, v1alpha1.Unavailable},
		"garbage": {webhook.NewSnapshot(world(), nil), func(h http.Handler) int {
			return call(h, strings.NewReader("{")).Code
		}, http.StatusBadRequest, v1alpha1.BadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			_, validate, registry := handlers(t, tc.snapshot)
			preset := series(t, registry)
			if code := tc.answers(validate); code != tc.code {
				t.Errorf("answered with %d", code)
			}
			if got := failures(t, registry); len(got) != 1 || got[string(tc.want)] != 1 {
				t.Errorf("counted as %v, want one %s", got, tc.want)
			}
			if series(t, registry) != preset {
				t.Error("its counter did not begin at 0")
			}
		})
	}
}

// oneTooMany sends a large request whose client goes while as many others as may
// be read at a time never end.
func oneTooMany(t *testing.T) func(http.Handler) int {
	const large, atATime = 1 << 20, 4
	return func(h http.Handler) int {
		for range atATime {
			in, out := io.Pipe()
			t.Cleanup(func() { _ = out.Close() })
			go call(h, in)
			if _, err := out.Write(make([]byte, large)); err != nil {
				t.Error(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader(strings.Repeat(" ", large)))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
}
