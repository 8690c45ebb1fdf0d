package checker

// Component is a program that loads certificates.
type Component string

// The components.
const (
	Etcd              Component = "etcd"
	EtcdManager       Component = "etcd-manager"
	APIServer         Component = "kube-apiserver"
	ControllerManager Component = "kube-controller-manager"
	Scheduler         Component = "kube-scheduler"
	Kubelet           Component = "kubelet"
	KubeProxy         Component = "kube-proxy"
	KopsController    Component = "kops-controller"
	K3s               Component = "k3s"
	RKE2              Component = "rke2"
	Cilium            Component = "cilium"
)

// Reload is whether a running process picks up a changed file.
type Reload uint8

// ReloadUnknown is for components nobody has looked at: no claim is made.
const (
	ReloadUnknown Reload = iota
	Reloads
	NeedsRestart
)

// ReloadBehaviour says what c does when a file changes under it. It decides
// whether a newer file is worth a finding:
//
//   - etcd since 3.2 reads its own certificate at each handshake
//     (client/pkg/transport), and its CA only at start (etcd #11555);
//   - etcd-manager holds everything it loaded at start;
//   - kube-apiserver, controller-manager, scheduler and kubelet reload their
//     own certificates since 1.17 to 1.20; their CAs not all (kubernetes
//     #131298 lists the commits);
//   - k3s and rke2 issue certificates at start only.
func (c Component) ReloadBehaviour() (own, trust Reload) {
	switch c {
	case Etcd:
		return Reloads, NeedsRestart
	case EtcdManager, K3s, RKE2:
		return NeedsRestart, NeedsRestart
	case APIServer, ControllerManager, Scheduler, Kubelet:
		return Reloads, ReloadUnknown
	default:
		return ReloadUnknown, ReloadUnknown
	}
}

// keepsKubeconfig says what c does when the kubeconfig changes that it was
// started with: client-go reads it once and reads only files that it refers to
// again (transport.TLSConfigFor), so an embedded certificate stays what it was.
// kubelet writes its kubeconfig after its own start, so a newer one says nothing.
func (c Component) keepsKubeconfig() Reload {
	switch c {
	case ControllerManager, Scheduler, KubeProxy:
		return NeedsRestart
	default:
		return ReloadUnknown
	}
}

// writesItsOwnFiles are components whose files are naturally newer than the
// process, because it issues them after its start.
func (c Component) writesItsOwnFiles() bool {
	return c == EtcdManager || c == K3s || c == RKE2
}
