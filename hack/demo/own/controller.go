package own

import (
	"context"
	"fmt"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/reanchor/reanchor/hack/local"
)

// tokenSeconds is longer than the demo, and not by much.
const tokenSeconds = 3600

// startController builds the program and runs its controller under the service
// account of the demo, not under the user's own rights.
func (w *world) startController(ctx context.Context, dir string) (*local.Process, error) {
	w.step("building reanchor, and starting its controller on this machine")
	program := filepath.Join(dir, "reanchor")
	if err := local.Build(ctx, w.options.Root, program); err != nil {
		return nil, err
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := w.writeKubeconfig(ctx, kubeconfig); err != nil {
		return nil, err
	}
	return local.StartProcess(filepath.Join(dir, "controller.log"), program, "controller", "--kubeconfig="+kubeconfig, "--no-leader-elect",
		"--namespace="+systemNamespace, "--probe-namespace="+systemNamespace, "--validating-webhook="+controllerName,
		"--metrics-address=0", "--health-address=127.0.0.1:0")
}

func (w *world) writeKubeconfig(ctx context.Context, path string) error {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(tokenSeconds))}}
	token, err := w.kube.CoreV1().ServiceAccounts(systemNamespace).CreateToken(ctx, controllerName, request, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("asking for the controller's token: %w", err)
	}
	out := clientcmdapi.NewConfig()
	out.Clusters[demo] = &clientcmdapi.Cluster{
		Server: w.config.Host + w.config.APIPath, TLSServerName: w.config.ServerName, InsecureSkipTLSVerify: w.config.Insecure,
		CertificateAuthority: w.config.CAFile, CertificateAuthorityData: w.config.CAData,
	}
	out.AuthInfos[demo] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	out.Contexts[demo] = &clientcmdapi.Context{Cluster: demo, AuthInfo: demo}
	out.CurrentContext = demo
	if err := clientcmd.WriteToFile(*out, path); err != nil {
		return fmt.Errorf("writing a kubeconfig: %w", err)
	}
	return nil
}
