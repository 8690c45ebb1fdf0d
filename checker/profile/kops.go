package profile

import "github.com/reanchor/reanchor/checker"

// The instructions of kops nodes.
const (
	restartManager = "restart etcd-manager-{instance} on this node, one node at a time"
	// Old etcd-managers keep an expired leaf whose names still match.
	renewEtcd    = restartManager + " (etcd-manager before 3.0.20200428 reuses expired files: move the .crt and .key away first)"
	replaceNode  = "replace this node (kops rolling-update --instance-group ... --force): nodeup issues the certificate only when the node is new"
	rotateKopsCA = "rotate the keyset with kops (kops create keypair, kops rolling-update, kops promote keypair)"
)

// Kops is a node made by kops, with the layouts before 1.19, of 1.19 to 1.21
// and since 1.22. Its trap are the volumes: the directory everybody looks at,
// /etc/kubernetes/pki, holds mostly CAs that live ten years, while the leaves
// that end are on the etcd volumes.
func Kops() Profile {
	return Profile{
		Name:    "kops",
		Markers: []string{"/srv/kubernetes", "/etc/srv/kubernetes", "/etc/kubernetes/kops-controller", "/etc/kubernetes/pki/etcd-manager-*", "/mnt/master-*/pki", "/mnt/disks/*/pki", "/mnt/disks/*/mnt/pki"},
		Restart: map[checker.Component]string{
			checker.Etcd:              restartManager,
			checker.EtcdManager:       restartManager,
			checker.APIServer:         "restart kube-apiserver on this node (crictl stop its container; kubelet starts it again)",
			checker.ControllerManager: "restart kube-controller-manager on this node (crictl stop its container)",
			checker.Scheduler:         "restart kube-scheduler on this node (crictl stop its container)",
			checker.Kubelet:           "systemctl restart kubelet on this node",
			checker.KubeProxy:         "restart kube-proxy on this node (crictl stop its container; kubelet starts it again)",
			checker.KopsController:    "delete the kops-controller pod of this node",
		},
		Roots:   append(kopsVolumes(), kopsDirectories()...),
		Servers: kopsServers(),
	}.named()
}

// kopsVolumes are where etcd-manager mounts its volumes: /mnt, or /mnt/disks on
// ContainerOS, or below a premounted external volume. The names after "master-"
// depend on the cloud.
func kopsVolumes() []Root {
	why := "this node runs etcd-manager, but none of its volumes is visible; their certificates are the ones that expire. Mount /mnt with mountPropagation HostToContainer"
	volumes := Root{Path: "/mnt/master-*/pki", Files: volumeFiles()}
	volumes.RequiredBy, volumes.RequiredWhy = []string{"/etc/kubernetes/pki/etcd-manager-*"}, why
	return []Root{
		volumes,
		{Path: "/mnt/disks/*/pki", Files: volumeFiles()},
		{Path: "/mnt/disks/*/mnt/pki", Files: volumeFiles()},
	}
}

// kopsNode is how what nodeup wrote is renewed.
func kopsNode() renewal { return renewal{replaceNode, rotateKopsCA} }

func volumeFiles() []File {
	return append(renewal{renewEtcd, rotateKopsCA}.of(
		pki("*/peers/ca.crt", "etcd-peers-ca", checker.CA, checker.Etcd),
		pki("*/peers/me.crt", "etcd-peer", both, checker.Etcd),
		pki("*/clients/ca.crt", "etcd-clients-ca", checker.CA, checker.Etcd),
		pki("*/clients/server.crt", "etcd-server", both, checker.Etcd),
	), catchAll()...)
}

func kopsDirectories() []Root {
	return []Root{
		{Path: "/etc/kubernetes/pki", Files: kopsPKI()},
		{Path: "/srv/kubernetes", Files: kopsSrv()},
		{Path: "/etc/srv/kubernetes", Files: kopsSrv()},
		{Path: "/etc/kubernetes/kops-controller", Files: append(kopsNode().of(
			pki("kops-controller.crt", "kops-controller", checker.Server, checker.KopsController),
			pki("*-ca*.crt", "ca", checker.CA, checker.KopsController),
		), catchAll()...)},
		{Path: "/etc/kubernetes/kube-apiserver-healthcheck/secrets", Files: append(kopsNode().of(
			pki("client.crt", "healthcheck-client", checker.Client, ""),
			pki("ca.crt", "ca", checker.CA, ""),
		), catchAll()...)},
		{Path: "/var/lib/kubelet/pki", Files: catchAll()},
		{Path: "/var/lib/*/kubeconfig", Files: []File{kubeconfig("kubeconfig", "", replaceNode)}},
	}
}

func kopsPKI() []File {
	files := renewal{restartManager, rotateKopsCA}.of(
		pki("etcd-manager-*/etcd-manager-server-*.crt", "etcd-manager-server", checker.Server, checker.EtcdManager),
		pki("etcd-manager-*/etcd-manager-client-*.crt", "etcd-manager-client", checker.Client, checker.EtcdManager),
		pki("etcd-manager-*/*-ca.crt", "etcd-manager-ca", checker.CA, checker.EtcdManager),
	)
	files = append(files, kopsNode().of(
		pki("kube-apiserver/etcd-ca.crt", "etcd-clients-ca", checker.CA, checker.APIServer),
		pki("kube-apiserver/etcd-client.crt", "apiserver-etcd-client", checker.Client, checker.APIServer),
		pki("cilium/etcd-ca.crt", "etcd-clients-ca", checker.CA, checker.Cilium),
		pki("cilium/etcd-client-cilium.crt", "cilium-etcd-client", checker.Client, checker.Cilium),
	)...)
	return append(files, catchAll()...)
}

// kopsSrv covers three layouts; the names do not clash.
func kopsSrv() []File {
	server, api := checker.Server, checker.APIServer
	files := kopsNode().of(
		pki("kube-apiserver/server.crt", "apiserver", server, api),
		pki("server.crt", "apiserver", server, api),
		pki("server.cert", "apiserver", server, api),
		pki("kube-apiserver/etcd-client.crt", "apiserver-etcd-client", checker.Client, api),
		pki("kube-apiserver/etcd-ca.crt", "etcd-clients-ca", checker.CA, api),
		pki("**/kubelet-api.crt", "apiserver-kubelet-client", checker.Client, api),
		pki("kubelet-api.pem", "apiserver-kubelet-client", checker.Client, api),
		pki("**/apiserver-aggregator.crt", "front-proxy-client", checker.Client, api),
		pki("apiserver-aggregator.cert", "front-proxy-client", checker.Client, api),
		pki("proxy-client.cert", "front-proxy-client", checker.Client, api),
		pki("proxy-client.crt", "front-proxy-client", checker.Client, api),
		pki("kube-controller-manager/server.crt", "controller-manager-server", server, checker.ControllerManager),
		pki("kube-scheduler/server.crt", "scheduler-server", server, checker.Scheduler),
		pki("kubelet-server.crt", "kubelet-server", server, checker.Kubelet),
		pki("aws-iam-authenticator/cert.pem", "aws-iam-authenticator", server, ""),
		pki("etcd-peer.pem", "etcd-peer", both, checker.Etcd),
		pki("etcd.pem", "etcd-server", both, checker.Etcd),
		pki("etcd-client.pem", "apiserver-etcd-client", checker.Client, api),
	)
	for _, glob := range []string{"ca.crt", "**/ca.crt", "**/*-ca.crt", "**/*-ca.cert"} {
		files = append(files, kopsNode().of(pki(glob, "ca", checker.CA, api))...)
	}
	// A keypair that kops stores as a CA certificate; its dates mean nothing
	// (kops docs/operations/rotate-secrets.md).
	for _, glob := range []string{"**/service-account.crt", "**/service-account.cert"} {
		files = append(files, File{Glob: glob, Use: checker.Use{Role: "service-account", DatesDoNotMatter: true}})
	}
	return append(files, catchAll()...)
}

// kopsServers are the ports of pkg/wellknownports.
func kopsServers() []Server {
	var servers []Server
	clusters := []struct {
		instance            string
		client, peer, admin int
	}{{"main", 4001, 2380, 3996}, {"events", 4002, 2381, 3997}, {"cilium", 4003, 2382, 3991}, {"leases", 4004, 2383, 4006}}
	for _, c := range clusters {
		etcd := checker.Use{Component: checker.Etcd, Instance: c.instance}
		client, peer, admin := etcd, etcd, checker.Use{Component: checker.EtcdManager, Instance: c.instance, Role: "etcd-manager-server"}
		client.Role, peer.Role = "etcd-server", "etcd-peer"
		servers = append(servers,
			Server{Port: c.client, Use: client, Loads: []checker.Role{"etcd-server"}, NamesLoopback: true},
			Server{Port: c.peer, Use: peer, Loads: []checker.Role{"etcd-peer"}, MayBeElsewhere: true},
			Server{Port: c.admin, Use: admin, Loads: []checker.Role{"etcd-manager-server"}, MayBeElsewhere: true},
		)
	}
	serves := func(port int, role checker.Role, component checker.Component) Server {
		return Server{Port: port, Use: checker.Use{Role: role, Component: component}, Loads: []checker.Role{role}}
	}
	// kube-controller-manager and kube-scheduler have files since 1.22; before
	// they make their own certificate in memory.
	inMemory := func(port int, role checker.Role, component checker.Component) Server {
		s := serves(port, role, component)
		s.InMemory, s.Beside, s.MayBeElsewhere = true, []checker.Role{"apiserver"}, true
		return s
	}
	return append(servers,
		serves(443, "apiserver", checker.APIServer),
		loopbackServer(443),
		serves(3988, "kops-controller", checker.KopsController),
		serves(10250, "kubelet-server", checker.Kubelet),
		inMemory(10257, "controller-manager-server", checker.ControllerManager),
		inMemory(10259, "scheduler-server", checker.Scheduler),
	)
}

// loopbackServer is the certificate that kube-apiserver makes for its own
// connections to itself. It lives in memory, ends after a year or more, and an
// API server that outlives it stops working (kubernetes #86552). Unlike any
// other name it is no invention of the prober: kube-apiserver always has it.
func loopbackServer(port int) Server {
	return Server{
		Port: port, ServerName: "apiserver-loopback-client", InMemory: true, Beside: []checker.Role{"apiserver"},
		// That the API server does not answer is said once, by its own port.
		MayBeElsewhere: true,
		Use:            checker.Use{Role: "apiserver-loopback", Component: checker.APIServer, Renew: "restart kube-apiserver on this node; it makes a new one at start"},
	}
}
