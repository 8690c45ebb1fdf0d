package profile

import "github.com/reanchor/reanchor/checker"

const (
	renewKubeadm   = "kubeadm certs renew, then restart the static pod that uses it (kubeadm certs renew all renews every certificate)"
	rotateByHand   = "rotate the CA by hand (Kubernetes documentation: Manual Rotation of CA Certificates); no tool renews it"
	renewKubelet   = "set serverTLSBootstrap: true in the kubelet's configuration and approve its request, or delete kubelet.crt and kubelet.key and restart kubelet: it never renews this one"
	rotateKubelet  = "restart kubelet; if it does not renew, join the node again (kubeadm join) or issue a new kubelet.conf"
	staticPodAgain = "move its manifest out of /etc/kubernetes/manifests for 20 seconds and back"
)

// Kubeadm is a node made by kubeadm.
func Kubeadm() Profile {
	p := Profile{
		Name:    "kubeadm",
		Markers: []string{"/etc/kubernetes/kubelet.conf", "/etc/kubernetes/admin.conf", "/etc/kubernetes/pki/apiserver.crt"},
		Restart: map[checker.Component]string{
			checker.Etcd:              "restart etcd, one node at a time: " + staticPodAgain,
			checker.APIServer:         "restart kube-apiserver: " + staticPodAgain,
			checker.ControllerManager: "restart kube-controller-manager: " + staticPodAgain,
			checker.Scheduler:         "restart kube-scheduler: " + staticPodAgain,
			checker.Kubelet:           "systemctl restart kubelet on this node",
		},
		Roots: []Root{
			{Path: "/etc/kubernetes/pki", Files: kubeadmPKI()},
			{Path: "/var/lib/kubelet/pki", Files: kubeletPKI()},
		},
		Servers: kubeadmServers(),
	}
	for _, file := range []string{"admin", "super-admin", "controller-manager", "scheduler", "kubelet"} {
		p.Roots = append(p.Roots, Root{
			Path:  "/etc/kubernetes/" + file + ".conf",
			Files: []File{kubeconfig(checker.Role(file+"-kubeconfig"), "", renewKubeadm)},
		})
	}
	return p.named()
}

// kubeadmPKI follows cmd/kubeadm/app/phases/certs/certlist.go.
func kubeadmPKI() []File {
	files := renewal{renewKubeadm, rotateByHand}.of(
		pki("apiserver.crt", "apiserver", checker.Server, checker.APIServer),
		pki("apiserver-kubelet-client.crt", "apiserver-kubelet-client", checker.Client, checker.APIServer),
		pki("apiserver-etcd-client.crt", "apiserver-etcd-client", checker.Client, checker.APIServer),
		pki("front-proxy-client.crt", "front-proxy-client", checker.Client, checker.APIServer),
		pki("etcd/server.crt", "etcd-server", both, checker.Etcd),
		pki("etcd/peer.crt", "etcd-peer", both, checker.Etcd),
		pki("etcd/healthcheck-client.crt", "etcd-healthcheck-client", checker.Client, checker.Etcd),
		pki("etcd/ca.crt", "ca", checker.CA, checker.Etcd),
		pki("*ca.crt", "ca", checker.CA, checker.APIServer),
	)
	files = append(files, File{Glob: "sa.key", Key: true, Use: checker.Use{Role: "service-account-key"}})
	return append(files, catchAll()...)
}

// kubeletPKI: the client certificate holds its key by design, and older dated
// files stay beside it. The serving certificate kubelet.crt is never renewed
// (kubernetes #99418).
func kubeletPKI() []File {
	withKey := func(glob string, role checker.Role, purpose checker.Purpose) File {
		f := pki(glob, role, purpose, checker.Kubelet)
		f.WithKey, f.Renew = true, rotateKubelet
		return f
	}
	serving := pki("kubelet.crt", "kubelet-server", checker.Server, checker.Kubelet)
	serving.Renew = renewKubelet
	return append([]File{
		withKey("kubelet-client*.pem", "kubelet-client", checker.Client),
		withKey("kubelet-server*.pem", "kubelet-server", checker.Server),
		serving,
	}, catchAll()...)
}

func kubeadmServers() []Server {
	serves := func(port int, role checker.Role, component checker.Component) Server {
		return Server{Port: port, Use: checker.Use{Role: role, Component: component}, Loads: []checker.Role{role}}
	}
	// No file since kubeadm #2244: self-signed in memory at every start.
	inMemory := func(port int, role checker.Role, component checker.Component) Server {
		use := checker.Use{Role: role, Component: component, Renew: "restart " + string(component) + "; it makes a new one at start"}
		return Server{Port: port, Use: use, InMemory: true, Beside: []checker.Role{"apiserver"}}
	}
	etcd, peer := serves(2379, "etcd-server", checker.Etcd), serves(2380, "etcd-peer", checker.Etcd)
	etcd.NamesLoopback, peer.MayBeElsewhere = true, true
	return []Server{
		etcd, peer,
		serves(6443, "apiserver", checker.APIServer), loopbackServer(6443),
		serves(10250, "kubelet-server", checker.Kubelet),
		inMemory(10257, "controller-manager-server", checker.ControllerManager),
		inMemory(10259, "scheduler-server", checker.Scheduler),
	}
}
