package lab

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
)

// stages are the lives of nodes and pods that kwok plays.
//
//go:embed stages.yaml
var stages []byte

const schedulerConfig = `apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection:
  leaderElect: false
clientConnection:
  kubeconfig: %s
  qps: 1000
  burst: 2000
`

const (
	stagesFile    = "stages.yaml"
	schedulerFile = "scheduler.yaml"
	etcdDir       = "etcd"
	logsDir       = "logs"
)

// layout is what the components' flags are made of: one lab's folder and ports.
type layout struct {
	dir   string
	ports *ports
}

func (l layout) path(name string) string { return filepath.Join(l.dir, name) }

func (l layout) server() string { return fmt.Sprintf("https://127.0.0.1:%d", l.ports.apiServer) }

func (l layout) log(c Component) string { return filepath.Join(l.dir, logsDir, string(c)+".log") }

func (l layout) writeConfigs() error {
	scheduler := fmt.Appendf(nil, schedulerConfig, l.path(kubeconfigFile(Scheduler)))
	for name, data := range map[string][]byte{stagesFile: stages, schedulerFile: scheduler} {
		if err := os.WriteFile(l.path(name), data, 0o600); err != nil {
			return fmt.Errorf("writing the components' configuration: %w", err)
		}
	}
	return nil
}

func (l layout) args(c Component) []string {
	switch c {
	case Etcd:
		return l.etcdArgs()
	case APIServer:
		return l.apiServerArgs()
	case ControllerManager:
		return l.controllerManagerArgs()
	case Scheduler:
		return []string{"--config=" + l.path(schedulerFile), "--secure-port=0"}
	case Kwok:
		return l.kwokArgs()
	default: // the managers
		return []string{"--kubeconfig=" + l.path(kubeconfigFile(c))}
	}
}

func (l layout) etcdArgs() []string {
	client := fmt.Sprintf("http://127.0.0.1:%d", l.ports.etcd)
	peer := fmt.Sprintf("http://127.0.0.1:%d", l.ports.etcdPeer)
	return []string{
		"--name=lab", "--data-dir=" + l.path(etcdDir), "--log-level=warn",
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=lab=" + peer,
		// A lab's data need not survive the machine, only its process.
		"--unsafe-no-fsync",
		// Benchmarks put tens of thousands of pods in; the default of 2 GiB
		// ends in an alarm half-way.
		"--quota-backend-bytes=8589934592",
	}
}

func (l layout) apiServerArgs() []string {
	return []string{
		fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", l.ports.etcd),
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", l.ports.apiServer),
		"--tls-cert-file=" + l.path(servingCertFile), "--tls-private-key-file=" + l.path(servingKeyFile),
		"--client-ca-file=" + l.path(caFile),
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + l.path(serviceAccountPub),
		"--service-account-signing-key-file=" + l.path(serviceAccountFile),
		"--service-cluster-ip-range=10.0.0.0/16",
		// Endpoints of the kubernetes Service may not be loopback addresses,
		// and nothing in the lab reaches the API server by that Service.
		"--endpoint-reconciler-type=none", "--advertise-address=127.0.0.1",
		// linkerd-init's NET_ADMIN and privileged test pods.
		"--allow-privileged=true",
	}
}

func (l layout) controllerManagerArgs() []string {
	config := l.path(kubeconfigFile(ControllerManager))
	return []string{
		"--kubeconfig=" + config, "--secure-port=0", "--leader-elect=false",
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + l.path(serviceAccountFile),
		"--root-ca-file=" + l.path(caFile),
		"--kube-api-qps=500", "--kube-api-burst=1000",
		// Two busy cores delay heartbeats; a node that is declared dead takes
		// all its pods out of their Deployments' counts.
		"--node-monitor-grace-period=3m",
	}
}

func (l layout) kwokArgs() []string {
	return []string{"--kubeconfig=" + l.path(kubeconfigFile(Kwok)), "--config=" + l.path(stagesFile)}
}
