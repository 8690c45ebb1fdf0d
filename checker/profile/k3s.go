package profile

import "github.com/reanchor/reanchor/checker"

// K3s is a k3s node.
func K3s() Profile {
	return rancher(checker.K3s, 0)
}

// RKE2 has the tree of k3s in another place.
func RKE2() Profile {
	return rancher(checker.RKE2, 9345)
}

// rancher follows pkg/daemons/control/deps of k3s. It renews its leaves when it
// starts and 90 days or less are left, so a restart is the remedy for all.
func rancher(component checker.Component, supervisor int) Profile {
	name := string(component)
	data, admin := "/var/lib/rancher/"+name, "/etc/rancher/"+name+"/"+name+".yaml"
	restart := "restart " + name + " on this node, one node at a time; it renews at start what ends within 90 days"
	renew := renewal{restart, name + " certificate rotate-ca (a restart does not renew the CAs)"}
	p := Profile{
		Name:    name,
		Markers: []string{data + "/server", data + "/agent"},
		Restart: map[checker.Component]string{component: restart},
		Roots: []Root{
			{Path: data + "/server/tls", Files: rancherServer(renew, component)},
			{Path: data + "/agent", Files: rancherAgent(renew, component)},
			{Path: data + "/server/cred", Files: append(renew.of(rancherKubeconfig(component)), Backups("")...)},
			{Path: admin, Files: []File{kubeconfig("admin-kubeconfig", component, restart)}},
			// What `certificate rotate` copied before, on servers and on agents.
			{Path: data + "/server/tls-[0-9]*", Files: catchAll(), Leftover: true},
			{Path: data + "/agent/tls-[0-9]*", Files: catchAll(), Leftover: true},
		},
	}
	// Only the empty SNI: older versions added any name asked for to the
	// certificate they serve (k3s #7312).
	serves := func(port int, role checker.Role) Server {
		return Server{Port: port, Use: checker.Use{Role: role, Component: component}, Loads: []checker.Role{role}}
	}
	etcd, peer := serves(2379, "etcd-server"), serves(2380, "etcd-peer")
	etcd.NamesLoopback, peer.MayBeElsewhere = true, true
	// The supervisor multiplexes a certificate of its own, kept in a Secret.
	api := Server{Port: 6443, InMemory: true, Use: checker.Use{Role: "supervisor", Component: component, Renew: restart}, Beside: []checker.Role{"apiserver"}}
	p.Servers = []Server{etcd, peer, api, serves(10250, "kubelet-server")}
	if supervisor != 0 {
		extra := api
		extra.Port = supervisor
		p.Servers = append(p.Servers, extra)
	}
	return p.named()
}

func rancherKubeconfig(component checker.Component) File {
	f := pki("*.kubeconfig", "kubeconfig", 0, component)
	f.Kubeconfig = true
	return f
}

func rancherServer(renew renewal, component checker.Component) []File {
	return append(renew.of(
		pki("serving-kube-apiserver.crt", "apiserver", checker.Server, component),
		pki("etcd/server-client.crt", "etcd-server", both, component),
		pki("etcd/peer-server-client.crt", "etcd-peer", both, component),
		pki("etcd/client.crt", "apiserver-etcd-client", checker.Client, component),
		pki("kube-scheduler/*.crt", "scheduler-server", checker.Server, component),
		pki("kube-controller-manager/*.crt", "controller-manager-server", checker.Server, component),
		pki("*-ca.crt", "ca", checker.CA, component),
		pki("*-ca.nochain.crt", "ca", checker.CA, component),
		pki("etcd/*-ca.crt", "ca", checker.CA, component),
		pki("client-*.crt", "client", checker.Client, component),
	), catchAll()...)
}

// rancherAgent has no "**": container images lie below the same directory.
func rancherAgent(renew renewal, component checker.Component) []File {
	return append(renew.of(
		pki("serving-kubelet.crt", "kubelet-server", checker.Server, component),
		pki("*-ca.crt", "ca", checker.CA, component),
		pki("client-*.crt", "client", checker.Client, component),
		rancherKubeconfig(component),
	), Anything("")...)
}
