package rotation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/lab/kubelet"
	"github.com/reanchor/reanchor/hack/local"
	"github.com/reanchor/reanchor/test/audit"
)

// Scenarios that take something away from all others, or change it for them, have a
// cluster of their own, so that the two kinds can run at the same time.
var (
	calm     = &cluster{name: "calm"}
	rough    = &cluster{name: "rough"}
	clusters = []*cluster{calm, rough}
)

// T is a test in a cluster.
type T struct {
	*testing.T
	cluster *cluster
}

// cluster is a control plane with Reanchor in it. It starts when the first scenario
// needs it, and goes on until all tests have ended.
type cluster struct {
	name string
	once sync.Once
	err  error
	// dir holds the logs, once it has started in a folder of its own.
	dir     string
	lab     *lab.Lab
	client  client.Client
	kubelet *kubelet.Kubelet
	metrics string
	local   *local.Local
	// controller is kept running: one that ends, for it lost its lease or was
	// killed, is started again.
	controller *local.Process
	// audit is what the controller has asked of the API server.
	audit *audit.Log
}

// test is a test in this cluster, which it starts unless it runs.
func (c *cluster) test(t *testing.T) *T {
	t.Helper()
	c.once.Do(func() { c.err = c.start() })
	if c.err != nil {
		t.Fatal(c.err)
	}
	return &T{t, c}
}

func (c *cluster) start() error {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	c.dir = filepath.Join(c.dir, c.name)
	logs := filepath.Join(c.dir, "audit") // apart from those of Reanchor
	err := os.MkdirAll(logs, 0o700)
	if err != nil {
		return err
	}
	if c.audit, err = audit.New(logs, local.Namespace, "reanchor-controller"); err != nil {
		return err
	}
	if c.lab, err = lab.Start(ctx, lab.Options{
		CertManager: true, TrustManager: true, Progress: os.Stderr, ExtraArgs: map[lab.Component][]string{lab.APIServer: c.audit.Args()},
	}); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	if c.client, err = client.New(c.lab.Config(), client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if c.kubelet, err = kubelet.Start(ctx, c.lab.Config(), kubelet.Options{EnvLag: 500 * time.Millisecond, FileLag: 3 * time.Second}); err != nil {
		return err
	}
	return c.install(ctx)
}

func (c *cluster) install(ctx context.Context) error {
	var err error
	if c.metrics, err = lab.FreeAddress(); err != nil {
		return err
	}
	if c.local, err = local.Start(ctx, c.lab, c.client, local.Options{
		Root: "../..", Dir: c.dir, Controller: []string{"--lease-duration=4s", "--metrics-address=" + c.metrics, "-v1"},
	}); err != nil {
		return err
	}
	c.controller = c.local.Controller
	return nil
}

// stop ends what has started. A node that was not Ready for a while is an error:
// what the scenarios saw meanwhile says nothing of a rotation. No scenario has its
// nodes fail: the API server is away for seconds, and they may be silent for minutes.
func (c *cluster) stop() error {
	var err error
	if c.local != nil {
		err = c.local.Stop()
	}
	if c.kubelet != nil {
		c.kubelet.Stop()
	}
	if c.lab != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		err = errors.Join(err, c.lab.NodesStayedReady(ctx), c.lab.Stop())
	}
	return err
}

// report prints what a failed test wants to know of the cluster.
func (c *cluster) report() {
	if c.controller != nil {
		fmt.Fprintf(os.Stderr, "in the %s cluster, the controller's log ends:\n%s\n", c.name, narrow(c.controller.Tail(60)))
	}
}

// narrow cuts lines, of which some hold the stack of every goroutine.
func narrow(text string) string {
	const width = 400
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString(line[:min(width, len(line))])
		if len(line) > width {
			out.WriteString("\n")
		}
	}
	return out.String()
}
