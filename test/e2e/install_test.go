package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/hack/lab"
)

// buildProgram builds reanchor once for all scenarios.
func buildProgram(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "reanchor")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "../../cmd/reanchor").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building reanchor: %w: %s", err, out)
	}
	return path, nil
}

// install applies what a user would: CRDs, namespaces and the controller's RBAC.
func install(ctx context.Context, l *lab.Lab, c client.Client, manifests string) error {
	if err := l.InstallCRDs(ctx, filepath.Join(manifests, "crds")); err != nil {
		return err
	}
	for _, name := range []string{"reanchor-system", "linkerd"} {
		if err := ignoreExists(c.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})); err != nil {
			return err
		}
	}
	for _, file := range []string{"namespaces.yaml", "rbac.yaml", "linkerd-rbac.yaml"} {
		if err := applyFile(ctx, c, filepath.Join(manifests, "controller", file)); err != nil {
			return err
		}
	}
	return nil
}

func ignoreExists(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// applyFile creates every object of a file of YAML documents.
func applyFile(ctx context.Context, c client.Client, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		u := &unstructured.Unstructured{}
		if err := utilyaml.Unmarshal(document, &u.Object); err != nil {
			return fmt.Errorf("reading %s: %w", path, err)
		}
		if len(u.Object) == 0 {
			continue
		}
		if err := ignoreExists(c.Create(ctx, u)); err != nil {
			return fmt.Errorf("creating %s %s of %s: %w", u.GetKind(), u.GetName(), path, err)
		}
	}
}

// kubeconfigFor writes a kubeconfig with the token of a service account of
// reanchor-system.
func kubeconfigFor(ctx context.Context, dir, serviceAccount string) (string, error) {
	config, err := env.lab.ConfigFor(ctx, "reanchor-system", serviceAccount)
	if err != nil {
		return "", err
	}
	out := clientcmdapi.NewConfig()
	out.Clusters["lab"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData, CertificateAuthority: config.CAFile}
	out.AuthInfos["user"] = &clientcmdapi.AuthInfo{Token: config.BearerToken}
	out.Contexts["lab"] = &clientcmdapi.Context{Cluster: "lab", AuthInfo: "user"}
	out.CurrentContext = "lab"
	path := filepath.Join(dir, serviceAccount+".kubeconfig")
	return path, clientcmd.WriteToFile(*out, path)
}

// controller is a running controller process.
type controller struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	// metrics is the URL of its metrics.
	metrics string
}

// startController runs the program's controller mode; it competes for the lease
// with all others of the lab.
func startController(dir, name, kubeconfig string) (*controller, error) {
	path := filepath.Join(dir, name+".log")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	metrics, err := unusedAddress()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(env.program, "controller", "--kubeconfig", kubeconfig, "--lease-duration=3s",
		"--metrics-address="+metrics, "--health-address=127.0.0.1:0", "-v1")
	cmd.Stdout, cmd.Stderr = file, file
	endWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &controller{cmd: cmd, log: path, done: make(chan struct{}), metrics: "http://" + metrics + "/metrics"}
	go func() {
		cmd.Wait() // the exit code of a killed process says nothing
		close(c.done)
	}()
	return c, nil
}

// unusedAddress is one on which nobody listens at this moment.
func unusedAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (c *controller) stop() {
	c.cmd.Process.Signal(os.Interrupt)
	select {
	case <-c.done:
	case <-time.After(10 * time.Second):
		c.kill()
	}
}

func (c *controller) kill() {
	c.cmd.Process.Kill()
	<-c.done
}

// tail returns the last lines of the log.
func (c *controller) tail(lines int) string {
	text, _ := os.ReadFile(c.log)
	all := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}
