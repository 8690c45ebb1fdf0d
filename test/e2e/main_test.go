// Package e2e holds whole scenarios on a real control plane. Every scenario has
// a mesh of its own: a control-plane namespace, an injector, a MeshTrust. They
// share one lab and one controller, which runs as the real program under the
// RBAC of the manifests, and run side by side. Each asserts the world: pods,
// revisions and status; never logs. When all have run, every permission of the
// manifests must have been used, and no node of the lab may have been not Ready.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/local"
	"github.com/reanchor/reanchor/test/audit"
)

// env is what the scenarios share.
var env struct {
	lab     *lab.Lab
	client  client.Client
	scheme  *runtime.Scheme
	program string
	leader  *controller
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "reanchor-e2e-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	log, err := audit.New(dir, "reanchor-system", "reanchor-controller")
	if err != nil {
		return 1, err
	}
	env.lab, err = lab.Start(ctx, lab.Options{
		CertManager: true, TrustManager: true, Progress: os.Stderr, ExtraArgs: map[lab.Component][]string{lab.APIServer: append(log.Args(),
			// Served by default from Kubernetes 1.37 on only, as v1.
			"--feature-gates=ClusterTrustBundle=true,ClusterTrustBundleProjection=true", "--runtime-config=certificates.k8s.io/v1beta1/clustertrustbundles=true")},
	})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, env.lab.Stop()) }()
	env.scheme = runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(env.scheme), v1alpha1.AddToScheme(env.scheme)); err != nil {
		return 1, err
	}
	if env.client, err = client.New(env.lab.Config(), client.Options{Scheme: env.scheme}); err != nil {
		return 1, err
	}
	env.program = filepath.Join(dir, "reanchor")
	if err := local.Build(ctx, "../..", env.program); err != nil {
		return 1, err
	}
	if err := install(ctx, env.lab, env.client, "../../manifests"); err != nil {
		return 1, err
	}
	kubeconfig, err := kubeconfigFor(ctx, dir, "reanchor-controller")
	if err != nil {
		return 1, err
	}
	if env.leader, err = startController(dir, "controller", kubeconfig); err != nil {
		return 1, err
	}
	defer func() {
		env.leader.Stop()
		if code != 0 {
			fmt.Fprintf(os.Stderr, "the controller's log ends:\n%s\n", env.leader.Tail(60))
		}
	}()
	if code = m.Run(); code == 0 && audit.EveryTest() {
		err = errors.Join(leastPrivilege(log), env.lab.NodesStayedReady(context.WithoutCancel(ctx)))
	}
	return code, err
}
