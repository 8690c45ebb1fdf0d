package admission

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/local"
)

// replica is one process of the webhook.
type replica struct {
	cluster *cluster
	webhook string // host:port
	health  string
	logPath string

	mu      sync.Mutex
	process *local.Process // nil when it does not run
	watched chan struct{}  // closed when nobody polls the process any more
	ready   atomic.Bool
}

func newReplica(c *cluster, dir string) (*replica, error) {
	r := &replica{cluster: c}
	for _, address := range []*string{&r.webhook, &r.health} {
		var err error
		if *address, err = lab.FreeAddress(); err != nil {
			return nil, err
		}
	}
	r.logPath = filepath.Join(dir, "webhook-"+strings.TrimPrefix(r.webhook, "127.0.0.1:")+".log")
	return r, nil
}

// start runs the process, unless it is running.
func (r *replica) start(args ...string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process != nil {
		return nil
	}
	var err error
	r.process, err = local.StartProcess(r.logPath, r.cluster.binary, append([]string{
		"webhook", "--kubeconfig", r.cluster.kubeconfig, "--address", r.webhook, "--health-address", r.health,
		"--host", "localhost", "--certificate-check", "1s", "--shutdown-delay", "2s",
	}, args...)...)
	if err != nil {
		return err
	}
	r.watched = make(chan struct{})
	go r.watch(r.process.Done(), r.watched)
	return nil
}

// watch polls the readiness as a kubelet would, only faster.
func (r *replica) watch(ended <-chan struct{}, left chan<- struct{}) {
	defer close(left)
	for {
		select {
		case <-ended:
			return
		case <-time.After(100 * time.Millisecond):
			r.ready.Store(r.get("/readyz") == nil)
		}
	}
}

func (r *replica) get(path string) error {
	_, err := r.read(path)
	return err
}

func metricsText(r *replica) (string, error) { return r.read("/metrics") }

func (r *replica) metrics() (map[string]*dto.MetricFamily, error) {
	text, err := metricsText(r)
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(strings.NewReader(text))
}

func (r *replica) read(path string) (string, error) {
	client := &http.Client{Timeout: 2 * time.Second}
	defer client.CloseIdleConnections()
	response, err := client.Get("http://" + r.health + path)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", response.Status, body)
	}
	return string(body), nil
}

func (r *replica) waitReady(ctx context.Context) error {
	r.mu.Lock()
	ended := r.process.Done()
	r.mu.Unlock()
	for !r.ready.Load() {
		select {
		case <-ended:
			return fmt.Errorf("replica %s has ended; its log: %s", r.webhook, r.log())
		case <-ctx.Done():
			return fmt.Errorf("replica %s is not ready: %w: %v", r.webhook, ctx.Err(), r.get("/readyz"))
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// stop ends the process in one of its two ways and waits until it has ended.
func (r *replica) stop(how func(*local.Process)) {
	r.mu.Lock()
	process, watched := r.process, r.watched
	r.mu.Unlock()
	if process == nil {
		return
	}
	how(process)
	<-process.Done()
	<-watched // an answer from just before the end may still be stored
	r.ready.Store(false)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.process = nil
}

func (r *replica) kill() { r.stop((*local.Process).Kill) }

func (r *replica) log() string {
	text, _ := os.ReadFile(r.logPath)
	return string(text)
}

// lastLines is how much a failed test shows of a replica's log.
const lastLines = 40

// showLogs shows the end of the replicas' logs when the test fails.
func showLogs(t *testing.T) {
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for _, r := range shared.replicas {
			lines := strings.Split(strings.TrimSpace(r.log()), "\n")
			t.Logf("the end of the log of %s:\n%s", r.webhook, strings.Join(lines[max(0, len(lines)-lastLines):], "\n"))
		}
	})
}

// requests sums the replicas' counters of requests, by "webhook mesh decision
// reason" with - for no mesh, and by "webhook duration" the requests of which the
// time was taken.
func (c *cluster) requests() (map[string]float64, error) {
	sums := map[string]float64{}
	for _, r := range c.replicas {
		families, err := r.metrics()
		if err != nil {
			return nil, err
		}
		for _, m := range families["reanchor_admission_requests_total"].GetMetric() {
			of := labels(m)
			sums[strings.Join([]string{of["webhook"], cmp.Or(of["mesh"], "-"), of["decision"], of["reason"]}, " ")] += m.GetCounter().GetValue()
			sums["all"] += m.GetCounter().GetValue()
		}
		for _, m := range families["reanchor_admission_duration_seconds"].GetMetric() {
			h := m.GetHistogram()
			if h.GetSampleSum() <= 0 && h.GetSampleCount() > 0 {
				return nil, fmt.Errorf("%d requests took no time", h.GetSampleCount())
			}
			sums[labels(m)["webhook"]+" duration"] += float64(h.GetSampleCount())
		}
	}
	return sums, nil
}

func labels(m *dto.Metric) map[string]string {
	out := map[string]string{}
	for _, l := range m.GetLabel() {
		out[l.GetName()] = l.GetValue()
	}
	return out
}
