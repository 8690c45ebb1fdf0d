// Package local runs Reanchor itself on a lab: installed from the manifests,
// with its webhook and its controller as plain processes under the service
// accounts and the RBAC that the manifests give them.
package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/hack/lab"
)

// Namespace is where Reanchor is installed.
const Namespace = "reanchor-system"

// Options say how it runs.
type Options struct {
	// Root is the folder of the project.
	Root string
	// Dir is where the program, kubeconfigs and logs go.
	Dir string
	// Webhook and Controller are further flags of the two modes.
	Webhook, Controller []string
}

// Local is a running installation.
type Local struct {
	Webhook, Controller *Process

	lab             *lab.Lab
	options         Options
	program         string
	address, health string
}

// Start builds and installs Reanchor and returns when its webhook is ready and
// its controller runs. After an error nothing is left running.
func Start(ctx context.Context, l *lab.Lab, c client.Client, o Options) (*Local, error) {
	x := &Local{lab: l, options: o, program: filepath.Join(o.Dir, "reanchor")}
	err := Build(ctx, o.Root, x.program)
	if err != nil {
		return nil, err
	}
	if x.address, err = lab.FreeAddress(); err != nil {
		return nil, err
	}
	if err := x.install(ctx, c, "https://localhost:"+port(x.address)); err != nil {
		return nil, err
	}
	if err := x.ReviveWebhook(ctx); err != nil {
		return nil, errors.Join(err, x.Stop())
	}
	if x.Controller, err = x.start(ctx, KeepProcess, "controller", append([]string{
		"--lease-duration=3s", "--metrics-address=0", "--health-address=127.0.0.1:0"}, o.Controller...)); err != nil {
		return nil, errors.Join(err, x.Stop())
	}
	return x, nil
}

// Build compiles the program of the project in root.
func Build(ctx context.Context, root, program string) error {
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/reanchor")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building reanchor: %w: %s", err, out)
	}
	return nil
}

// ReviveWebhook starts the webhook, again at the same address after it was
// killed, and waits until it is ready.
func (x *Local) ReviveWebhook(ctx context.Context) error {
	var err error
	if x.health, err = lab.FreeAddress(); err != nil {
		return err
	}
	// A lab has one API server and no Service: the pauses that protect a rotation
	// of the serving certificate protect nobody here.
	x.Webhook, err = x.start(ctx, StartProcess, "webhook", append([]string{
		"--address=" + x.address, "--health-address=" + x.health, "--namespace=" + Namespace,
		"--host=localhost", "--certificate-pause=1s", "--shutdown-delay=0s"}, x.options.Webhook...))
	if err != nil {
		return err
	}
	return x.awaitWebhook(ctx)
}

// awaitWebhook waits until the webhook is ready.
func (x *Local) awaitWebhook(ctx context.Context) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		answer, err := http.Get("http://" + x.health + "/readyz")
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("/readyz answers %s", answer.Status)
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("waiting for the webhook (log in %s): %w", x.Webhook.Log, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// starter is StartProcess or KeepProcess.
type starter func(log, program string, args ...string) (*Process, error)

// start runs one mode as its service account, reanchor-MODE.
func (x *Local) start(ctx context.Context, with starter, mode string, flags []string) (*Process, error) {
	kubeconfig := filepath.Join(x.options.Dir, mode+".kubeconfig")
	if err := WriteKubeconfig(ctx, x.lab, kubeconfig, "reanchor-"+mode); err != nil {
		return nil, err
	}
	return with(filepath.Join(x.options.Dir, mode+".log"), x.program, append([]string{mode, "--kubeconfig=" + kubeconfig}, flags...)...)
}

// WriteKubeconfig writes one with the token of a service account of Namespace.
func WriteKubeconfig(ctx context.Context, l *lab.Lab, path, serviceAccount string) error {
	config, err := l.ConfigFor(ctx, Namespace, serviceAccount)
	if err != nil {
		return err
	}
	out := clientcmdapi.NewConfig()
	out.Clusters["lab"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData, CertificateAuthority: config.CAFile}
	out.AuthInfos["user"] = &clientcmdapi.AuthInfo{Token: config.BearerToken}
	out.Contexts["lab"] = &clientcmdapi.Context{Cluster: "lab", AuthInfo: "user"}
	out.CurrentContext = "lab"
	if err := clientcmd.WriteToFile(*out, path); err != nil {
		return fmt.Errorf("writing a kubeconfig: %w", err)
	}
	return nil
}

// Stop ends both processes.
func (x *Local) Stop() error {
	for _, p := range []*Process{x.Controller, x.Webhook} {
		if p != nil {
			p.Stop()
		}
	}
	return nil
}

func port(address string) string {
	_, p, _ := net.SplitHostPort(address)
	return p
}

// TempDir makes a folder for Options.Dir, removed by the returned function.
func TempDir() (dir string, remove func(), err error) {
	if dir, err = os.MkdirTemp("", "reanchor-"); err != nil {
		return "", nil, fmt.Errorf("making a folder: %w", err)
	}
	return dir, func() { os.RemoveAll(dir) }, nil
}
