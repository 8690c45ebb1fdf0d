package webhook_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/webhook"
)

const (
	benchConnections = 8
	benchRounds      = 25
	benchRound       = 300 * time.Millisecond
	fixedRate        = 500 // requests per second
	fixedFor         = 4 * time.Second
	fixedP99         = 5.0 // milliseconds
)

// BenchmarkAdmission measures whole HTTPS requests with the review of a real
// pod, as the API server sends it: 8 connections, server and clients in this
// process on the same cores. All handlers are measured in turn, in short rounds,
// so that what else the machine does falls on all; each figure is the median of
// the rounds. The clients write prepared bytes and parse next to nothing, so
// that what is compared is the servers.
func BenchmarkAdmission(b *testing.B) {
	ctrllog.SetLogger(logr.Discard())
	body := benchReview(b)
	targets := benchTargets(b)
	for b.Loop() {
		results, p99 := map[string][]round{}, map[string]float64{}
		for range benchRounds {
			for _, t := range targets {
				results[t.name] = append(results[t.name], t.saturate(b, body))
			}
		}
		constant, defaulter := results["constant"], results["defaulter"]
		for _, t := range targets {
			rounds := results[t.name]
			line := fmt.Sprintf("BENCH admission/%s rps=%.0f cpu_us=%.0f p50_ms=%.2f p99_ms=%.2f", t.name,
				median(rounds, func(i int) float64 { return rounds[i].rps }),
				median(rounds, func(i int) float64 { return rounds[i].cpu }),
				median(rounds, func(i int) float64 { return rounds[i].quantile(.5) }),
				median(rounds, func(i int) float64 { return rounds[i].quantile(.99) }))
			if t.ours {
				line += ratios(b, t.name, against{rounds, defaulter, constant})
			}
			if t.name != "defaulter" { // which would be saturated
				line += t.atFixedRate(b, body, p99)
			}
			fmt.Println(line)
		}
	}
}

// against holds the rounds of a handler, and those it is compared with.
type against struct{ ours, defaulter, constant []round }

// atFixedRate measures at the fixed rate, and fails the benchmark when a handler
// of ours is not below the target. It says what the constant answer came to, to
// tell a slow handler from a machine that does other things besides.
func (t *benchTarget) atFixedRate(b *testing.B, body []byte, p99 map[string]float64) string {
	b.Helper()
	p99[t.name] = t.steady(b, body)
	if t.ours && p99[t.name] >= fixedP99 {
		b.Errorf("%s has a p99 of %.2f ms at %d requests a second, want less than %v ms (the constant answer: %.2f ms)",
			t.name, p99[t.name], fixedRate, fixedP99, p99["constant"])
	}
	return fmt.Sprintf(" p99_at_%drps_ms=%.2f", fixedRate, p99[t.name])
}

// ratios compares round by round, and fails the benchmark below the targets:
// 12 times the Defaulter, and 0.45 of the constant answer.
func ratios(b *testing.B, name string, a against) string {
	b.Helper()
	toDefaulter := median(a.ours, func(i int) float64 { return a.ours[i].rps / a.defaulter[i].rps })
	toConstant := median(a.ours, func(i int) float64 { return a.ours[i].rps / a.constant[i].rps })
	if toDefaulter < 12 || toConstant < 0.45 {
		b.Errorf("%s serves %.1f times the Defaulter and %.2f of the constant answer, want 12 and 0.45", name, toDefaulter, toConstant)
	}
	return fmt.Sprintf(" vs_defaulter=%.1f vs_constant=%.2f", toDefaulter, toConstant)
}

// BenchmarkDecide measures the handlers without the network.
func BenchmarkDecide(b *testing.B) {
	body := benchReview(b)
	for _, t := range benchTargets(b) {
		b.Run(t.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
				r.Header.Set("Content-Type", "application/json")
				t.handler.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
}

// benchReview is the review of an injected Deployment pod, of about 11 KB.
func benchReview(b *testing.B) []byte {
	b.Helper()
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(reviewText(b, "deployment-pod-native-sidecar"))); err != nil {
		b.Fatal(err)
	}
	return compact.Bytes()
}

type benchTarget struct {
	name    string
	ours    bool
	handler http.Handler

	address string
}

func benchTargets(b *testing.B) []*benchTarget {
	b.Helper()
	registry := prometheus.NewRegistry()
	metrics, err := webhook.NewMetrics(registry)
	if err != nil {
		b.Fatal(err)
	}
	ca := bundletest.NewRoot(b, "published", bundletest.From(time.Now(), time.Hour))
	snapshot := webhook.NewSnapshot(world(linkerd([]*bundletest.CA{ca})), nil)
	sources := webhook.Sources{Snapshot: func() *webhook.Snapshot { return snapshot }, Clock: clock.RealClock{}, Metrics: metrics}
	stamp, validate := webhook.NewHandlers(sources)
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		b.Fatal(err)
	}
	return []*benchTarget{
		{name: "constant", handler: http.HandlerFunc(constant)},
		{name: "defaulter", handler: admission.WithDefaulter(scheme, annotate{})},
		{name: "stamp", ours: true, handler: stamp},
		{name: "validate", ours: true, handler: validate},
	}
}

func constant(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"9724263a-24a2-4031-bbca-14eccd4453f5","allowed":true}}`)
}

// annotate does as a webhook written on the framework would, without reading
// any certificate.
type annotate struct{}

func (annotate) Default(_ context.Context, pod *corev1.Pod) error {
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[v1alpha1.TrustBundleHashAnnotation] = "v1:0000000000000000000000000000000000000000000000000000000000000000"
	pod.Annotations[v1alpha1.TrustBundleNotAfterAnnotation] = "2027-11-22T04:27:54Z"
	pod.Annotations[v1alpha1.StampedByAnnotation] = "main"
	return nil
}

// round is one measurement.
type round struct {
	rps       float64
	cpu       float64         // of client and server, in microseconds a request
	latencies []time.Duration // sorted
}

func (r round) quantile(q float64) float64 {
	return float64(r.latencies[int(q*float64(len(r.latencies)-1))]) / float64(time.Millisecond)
}

func median(rounds []round, of func(i int) float64) float64 {
	values := make([]float64, len(rounds))
	for i := range rounds {
		values[i] = of(i)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// serve runs the handler over HTTPS until the function it returns is called.
func (t *benchTarget) serve() func() {
	server := httptest.NewTLSServer(t.handler)
	t.address = server.Listener.Addr().String()
	return server.Close
}

// saturate sends as many requests as 8 connections can.
func (t *benchTarget) saturate(b *testing.B, body []byte) round {
	b.Helper()
	defer t.serve()()
	var mu sync.Mutex
	var wg sync.WaitGroup
	var all []time.Duration
	var clients []*benchClient
	for range benchConnections {
		clients = append(clients, dialBench(b, t.address, body))
	}
	cpu, began := cpuTime(), time.Now()
	for _, c := range clients {
		wg.Go(func() {
			defer c.close()
			var mine []time.Duration
			for time.Since(began) < benchRound {
				sent := time.Now()
				c.request(b)
				mine = append(mine, time.Since(sent))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
		})
	}
	wg.Wait()
	took := time.Since(began)
	slices.Sort(all)
	return round{
		rps: float64(len(all)) / took.Seconds(), latencies: all,
		cpu: float64((cpuTime() - cpu).Microseconds()) / float64(len(all)),
	}
}

// cpuTime is what this process has used so far. Unlike the rate it does not
// depend on what else the machine does.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// steady sends at a fixed rate and returns the p99, counted from when each
// request was due, in milliseconds: the median of the rounds.
func (t *benchTarget) steady(b *testing.B, body []byte) float64 {
	b.Helper()
	var rounds []round
	for range 3 {
		rounds = append(rounds, t.paced(b, body))
	}
	return median(rounds, func(i int) float64 { return rounds[i].quantile(.99) })
}

func (t *benchTarget) paced(b *testing.B, body []byte) round {
	b.Helper()
	defer t.serve()()
	due := make(chan time.Time, fixedRate)
	var mu sync.Mutex
	var wg sync.WaitGroup
	var all []time.Duration
	for range benchConnections {
		wg.Go(func() {
			c := dialBench(b, t.address, body)
			defer c.close()
			for at := range due {
				c.request(b)
				took := time.Since(at)
				mu.Lock()
				all = append(all, took)
				mu.Unlock()
			}
		})
	}
	time.Sleep(100 * time.Millisecond) // connections are made
	tick := time.NewTicker(time.Second / fixedRate)
	for range int(fixedRate * fixedFor.Seconds()) {
		due <- <-tick.C
	}
	tick.Stop()
	close(due)
	wg.Wait()
	slices.Sort(all)
	return round{latencies: all}
}

// benchClient is one connection that repeats one request.
type benchClient struct {
	conn    *tls.Conn
	in      *bufio.Reader
	message []byte
}

func dialBench(b *testing.B, address string, body []byte) *benchClient {
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		b.Error(err)
		return nil
	}
	request := fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body))
	return &benchClient{conn: conn, in: bufio.NewReader(conn), message: append(request, body...)}
}

func (c *benchClient) close() { _ = c.conn.Close() }

// request sends the request and reads the answer.
func (c *benchClient) request(b *testing.B) {
	if _, err := c.conn.Write(c.message); err != nil {
		b.Error(err)
		return
	}
	status, length := "", 0
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			b.Error(err)
			return
		}
		if len(line) == 2 {
			break
		}
		if status == "" {
			status = string(line[9:12])
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			length, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
		}
	}
	if status != "200" || length == 0 {
		b.Errorf("status %s, %d bytes", status, length)
	}
	if _, err := c.in.Discard(length); err != nil {
		b.Error(err)
	}
}
