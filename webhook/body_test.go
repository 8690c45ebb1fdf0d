package webhook_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/reanchor/reanchor/webhook"
)

// largeReview is one of about so many bytes.
func largeReview(size int) string {
	return reviewOf("u", `{"apiVersion":"v1","kind":"Pod","metadata":{"x":"`+strings.Repeat("x", size)+`"}}`)
}

func TestLargeBodiesTakeTurns(t *testing.T) {
	stamp, validate, _ := handlers(t, webhook.NewSnapshot(world(), nil))
	large := largeReview(2 << 20)
	var wg sync.WaitGroup
	for i := range 40 { // 80 MiB, of which 32 have room
		h := []http.Handler{stamp, validate}[i%2]
		wg.Go(func() {
			body := io.Reader(strings.NewReader(large))
			if i%4 == 0 {
				body = io.MultiReader(body) // does not say how long it is
			}
			if w := call(h, body); w.Code != http.StatusOK {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	wg.Wait()
}

// stalled begins a request with a body that says it is large, and never comes. It
// returns the first line of the answer when there is one.
func stalled(t *testing.T, server *httptest.Server, path string) (answer <-chan string) {
	t.Helper()
	conn, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{", path, maxBody); err != nil {
		t.Fatal(err)
	}
	line := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(conn)
		first, _, _ := strings.Cut(string(text), "\r\n")
		line <- first
	}()
	return line
}

// bothWebhooks serves them as a replica does.
func bothWebhooks(t *testing.T) *httptest.Server {
	t.Helper()
	m, err := webhook.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	s := webhook.NewSnapshot(world(), nil)
	stamp, validate := webhook.NewHandlers(webhook.Sources{Snapshot: func() *webhook.Snapshot { return s }, Clock: clock.RealClock{}, Metrics: m})
	mux := http.NewServeMux()
	mux.Handle(webhook.StampPath, stamp)
	mux.Handle(webhook.ValidatePath, validate)
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	return server
}

// post returns the status of the answer; 0 when there is none within the time.
func post(t *testing.T, server *httptest.Server, body string, within time.Duration) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+webhook.ValidatePath, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := server.Client().Do(r)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// Nobody needs a right to begin a request and then send nothing.
func TestBodiesThatNeverComeHoldNoPlaceForLong(t *testing.T) {
	server := bothWebhooks(t)
	small, large := reviewText(t, "bare-pod"), largeReview(5<<20)
	if code := post(t, server, large, 10*time.Second); code != http.StatusOK {
		t.Fatalf("a large pod is answered with %d", code)
	}
	began := time.Now()
	var answers []<-chan string
	for range 4 { // as many of that size as there may be, at the other webhook
		answers = append(answers, stalled(t, server, webhook.StampPath))
	}
	for post(t, server, large, 600*time.Millisecond) != 0 {
		if time.Since(began) > time.Second {
			t.Fatal("they hold no place at all")
		}
	}
	if code := post(t, server, small, 10*time.Second); code != http.StatusOK {
		t.Errorf("a pod of the usual size is answered with %d", code)
	}
	for i, answer := range answers {
		select {
		case a := <-answer:
			t.Errorf("a pod of the usual size waited for stalled body %d, which got %q", i, a)
		default:
		}
	}
	for code := 0; code != http.StatusOK; code = post(t, server, large, 3*time.Second) {
		if time.Since(began) > 6*time.Second {
			t.Fatal("a large pod finds no place")
		}
	}
	for _, answer := range answers {
		if a := <-answer; !strings.Contains(a, "408") {
			t.Errorf("a stalled body is answered with %q", a)
		}
	}
}

func TestAnswersDoNotWaitForRoomForEver(t *testing.T) {
	stamp, _, _ := handlers(t, webhook.NewSnapshot(world(), nil))
	for range 4 { // no connections, so that no deadline ends them
		in, out := io.Pipe()
		t.Cleanup(func() { _ = out.Close() })
		go call(stamp, in)
		if _, err := io.WriteString(out, strings.Repeat(" ", 64<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if w := call(stamp, strings.NewReader(largeReview(5<<20))); w.Code != http.StatusServiceUnavailable {
		t.Errorf("one more is answered with %d", w.Code)
	}
}

// peakHeap is the most memory that is in use for objects while f runs, in bytes:
// live ones and those not collected yet.
func peakHeap(f func()) (peak uint64) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		for {
			metrics.Read(sample)
			peak = max(peak, sample[0].Value.Uint64())
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	f()
	close(done)
	<-ended
	return peak
}

// The memory of a replica is bounded by its manifest, at 256 MiB.
func TestManyHungryBodiesStayFarBelowTheMemoryOfAReplica(t *testing.T) {
	// Half of what the manifest says, so that little garbage counts.
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(100 << 20))
	stamp, validate, _ := handlers(t, webhook.NewSnapshot(world(), nil))
	list := func(before, element, after string, size int) string {
		return `{"request":{"object":{"spec":{` + before + strings.Repeat(element+",", size/(len(element)+1)) + element + after + `}}}}`
	}
	bodies := []string{
		list(`"containers":[`, `{}`, `]`, 255<<10),
		list(`"containers":[{"env":[`, `{"valueFrom":{}}`, `]}]`, 255<<10),
		list(`"containers":[`, `{}`, `]`, 31<<10),
		list(`"containers":[{"env":[`, `{}`, `]}]`, 24000),
		list(`"containers":[`, `{}`, `]`, 6<<20),
		largeReview(6 << 20),
	}
	peak := peakHeap(func() {
		var wg sync.WaitGroup
		for i := range 240 {
			wg.Go(func() { call([]http.Handler{stamp, validate}[i%2], strings.NewReader(bodies[i%len(bodies)])) })
		}
		wg.Wait()
	})
	t.Logf("%d MiB", peak>>20)
	if peak > 128<<20 {
		t.Errorf("%d MiB are in use at a time", peak>>20)
	}
}
