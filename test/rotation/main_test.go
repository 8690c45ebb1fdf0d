package rotation

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/lab/kubelet"
	"github.com/reanchor/reanchor/hack/local"
	"github.com/reanchor/reanchor/test/audit"
)

// atOnce is how many scenarios run side by side. They mostly wait.
const atOnce = 11

// env is what the scenarios share.
var env struct {
	lab     *lab.Lab
	client  client.Client
	kubelet *kubelet.Kubelet
	dir     string
	metrics string
	webhook *local.Process
	// audit is what the controller has asked of the API server.
	audit *audit.Log
	// controller is kept running: one that ends, for it lost its lease or was
	// killed, is started again.
	controller *local.Process
}

func TestMain(m *testing.M) {
	flag.Parse()
	const all = "1000" // scenarios have their turns, see sideBySide
	if err := flag.Set("test.parallel", all); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctrl.SetLogger(logr.Discard()) // clients ask for one
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 75*time.Minute)
	defer cancel()
	var remove func()
	if env.dir, remove, err = local.TempDir(); err != nil {
		return 1, err
	}
	defer remove()
	if env.audit, err = auditLog(); err != nil {
		return 1, err
	}
	if env.lab, err = lab.Start(ctx, lab.Options{
		CertManager: true, TrustManager: true, Progress: os.Stderr, ExtraArgs: map[lab.Component][]string{lab.APIServer: env.audit.Args()},
	}); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, env.lab.Stop()) }()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return 1, err
	}
	if env.client, err = client.New(env.lab.Config(), client.Options{Scheme: scheme}); err != nil {
		return 1, err
	}
	if env.kubelet, err = kubelet.Start(ctx, env.lab.Config(), kubelet.Options{EnvLag: 500 * time.Millisecond, FileLag: 3 * time.Second}); err != nil {
		return 1, err
	}
	defer env.kubelet.Stop()
	if code, err = runReanchor(ctx, m); code == 0 && err == nil && audit.EveryTest() {
		err = leastPrivilege(env.audit)
	}
	return code, err
}

// auditLog is kept apart from the logs of Reanchor.
func auditLog() (*audit.Log, error) {
	dir := filepath.Join(env.dir, "audit")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	return audit.New(dir, local.Namespace, "reanchor-controller")
}

// runReanchor runs the tests while Reanchor runs.
func runReanchor(ctx context.Context, m *testing.M) (code int, err error) {
	if env.metrics, err = lab.FreeAddress(); err != nil {
		return 1, err
	}
	x, err := local.Start(ctx, env.lab, env.client, local.Options{
		Root: "../..", Dir: env.dir, Controller: []string{"--lease-duration=4s", "--metrics-address=" + env.metrics, "-v1"},
	})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, x.Stop()) }()
	env.webhook, env.controller = x.Webhook, x.Controller
	defer func() {
		if code != 0 {
			fmt.Fprintf(os.Stderr, "the controller's log ends:\n%s\n", narrow(env.controller.Tail(60)))
		}
	}()
	return m.Run(), nil
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
