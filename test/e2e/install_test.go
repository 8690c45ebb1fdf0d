package e2e

import (
	"context"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/local"
)

// install applies what a user would: CRDs, namespaces, the controller's RBAC and
// all policies that hold it to its work.
func install(ctx context.Context, l *lab.Lab, c client.Client, manifests string) error {
	if err := l.InstallCRDs(ctx, filepath.Join(manifests, "crds")); err != nil {
		return err
	}
	for _, name := range []string{"reanchor-system", "linkerd"} {
		if err := local.Create(ctx, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			return err
		}
	}
	for _, file := range []string{"namespaces.yaml", "rbac.yaml", "linkerd-rbac.yaml", "policies.yaml", "restart-only/policy.yaml"} {
		if err := local.ApplyFile(ctx, c, filepath.Join(manifests, "controller", file)); err != nil {
			return err
		}
	}
	return nil
}

// controller is a controller that a kubelet would keep running, in a process of
// its own.
type controller struct {
	*local.Process
	// metrics is the URL of its metrics.
	metrics string
}

// startController runs the program's controller mode; it competes for the lease
// with all others of the lab.
func startController(dir, name, kubeconfig string) (*controller, error) {
	metrics, err := lab.FreeAddress()
	if err != nil {
		return nil, err
	}
	process, err := local.KeepProcess(filepath.Join(dir, name+".log"), env.program, "controller", "--kubeconfig", kubeconfig,
		"--lease-duration=3s", "--metrics-address="+metrics, "--health-address=127.0.0.1:0", "-v1")
	return &controller{Process: process, metrics: "http://" + metrics + "/metrics"}, err
}

// kubeconfigFor writes a kubeconfig for a service account of reanchor-system.
func kubeconfigFor(ctx context.Context, dir, serviceAccount string) (string, error) {
	path := filepath.Join(dir, serviceAccount+".kubeconfig")
	return path, local.WriteKubeconfig(ctx, env.lab, path, serviceAccount)
}
