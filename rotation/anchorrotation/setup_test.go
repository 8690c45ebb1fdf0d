package anchorrotation

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// What lies before the API server answers in its place when that is down, by a clock
// of its own.
func TestTheTimeIsTheAPIServersOrUnknown(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		code int
		date string
		want time.Time
	}{
		"its answer":                 {http.StatusOK, at.Format(http.TimeFormat), at},
		"one of a load balancer":     {http.StatusServiceUnavailable, at.Format(http.TimeFormat), time.Time{}},
		"one that refuses":           {http.StatusForbidden, at.Format(http.TimeFormat), time.Time{}},
		"an answer without the time": {http.StatusOK, "soon", time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasSuffix(r.URL.Path, "/version") {
					t.Errorf("it asks for %s", r.URL.Path)
				}
				w.Header().Set("Date", tc.date)
				w.WriteHeader(tc.code)
			}))
			defer server.Close()
			got, err := serverTime(&rest.Config{Host: server.URL}, server.Client())(t.Context())
			if !got.Equal(tc.want) || (err != nil) != tc.want.IsZero() {
				t.Errorf("got %s, error %v, want %s", got, err, tc.want)
			}
		})
	}
}
