package admission

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// replica is one process of the webhook.
type replica struct {
	cluster *cluster
	webhook string // host:port
	health  string
	logPath string

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{}
	ready atomic.Bool
}

func newReplica(c *cluster, dir string) *replica {
	r := &replica{cluster: c, webhook: freeAddress(), health: freeAddress()}
	r.logPath = filepath.Join(dir, "webhook-"+strings.TrimPrefix(r.webhook, "127.0.0.1:")+".log")
	return r
}

// freeAddress is one on which nobody listens at this moment.
func freeAddress() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs the process, unless it is running.
func (r *replica) start(args ...string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd != nil {
		return nil
	}
	log, err := os.OpenFile(r.logPath, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(r.cluster.binary, append([]string{
		"webhook", "--kubeconfig", r.cluster.kubeconfig, "--address", r.webhook, "--health-address", r.health,
		"--host", "localhost", "--certificate-check", "1s", "--shutdown-delay", "2s",
	}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	r.cmd, r.ended = cmd, make(chan struct{})
	go r.wait(cmd, r.ended)
	go r.watch(r.ended)
	return nil
}

func (r *replica) wait(cmd *exec.Cmd, ended chan struct{}) {
	_ = cmd.Wait()
	r.ready.Store(false)
	r.mu.Lock()
	r.cmd = nil
	r.mu.Unlock()
	close(ended)
}

// watch polls the readiness as a kubelet would, only faster.
func (r *replica) watch(ended chan struct{}) {
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
	for !r.ready.Load() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("replica %s is not ready: %w: %v", r.webhook, ctx.Err(), r.get("/readyz"))
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// signal sends a signal and, if it ends the process, waits for that.
func (r *replica) signal(s syscall.Signal) {
	r.mu.Lock()
	cmd, ended := r.cmd, r.ended
	r.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(s)
	<-ended
}

func (r *replica) kill() { r.signal(syscall.SIGKILL) }

func (r *replica) log() string {
	text, _ := os.ReadFile(r.logPath)
	return string(text)
}

// requests sums the replicas' counters of requests, by "webhook decision reason".
func (c *cluster) requests() (map[string]float64, error) {
	sums := map[string]float64{}
	for _, r := range c.replicas {
		text, err := metricsText(r)
		if err != nil {
			return nil, err
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(text))
		if err != nil {
			return nil, err
		}
		for _, m := range families["reanchor_admission_requests_total"].GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			sums[labels["webhook"]+" "+labels["decision"]+" "+labels["reason"]] += m.GetCounter().GetValue()
			sums["all"] += m.GetCounter().GetValue()
		}
	}
	return sums, nil
}
