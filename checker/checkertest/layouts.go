package checkertest

import (
	"path"
	"time"
)

// kubeadm writes what `kubeadm init` leaves (cmd/kubeadm/app/phases/certs).
func (t *tree) kubeadm() {
	const pki = "/etc/kubernetes/pki"
	ca, front, etcd := t.ca("kubernetes"), t.ca("front-proxy-ca"), t.ca("etcd-ca")
	t.crtKey(pki+"/ca", ca)
	t.crtKey(pki+"/front-proxy-ca", front)
	t.crtKey(pki+"/etcd/ca", etcd)
	t.crtKey(pki+"/apiserver", t.issue(Spec{CN: "kube-apiserver", DNS: []string{Node, "kubernetes"}, IPs: []string{"10.96.0.1", "192.0.2.10"}, Usages: ServerOnly()}, ca))
	client := func(base, cn string, signer *Pair) {
		t.crtKey(pki+base, t.issue(Spec{CN: cn, Usages: ClientOnly()}, signer))
	}
	client("/apiserver-kubelet-client", "kube-apiserver-kubelet-client", ca)
	client("/front-proxy-client", "front-proxy-client", front)
	client("/apiserver-etcd-client", "kube-apiserver-etcd-client", etcd)
	client("/etcd/healthcheck-client", "kube-etcd-healthcheck-client", etcd)
	for _, name := range []string{"server", "peer"} {
		t.crtKey(pki+"/etcd/"+name, t.issue(Spec{CN: Node, DNS: []string{Node, "localhost"}, IPs: []string{"127.0.0.1", "::1", "192.0.2.10"}, Usages: Both()}, etcd))
	}
	t.serviceAccountKey(pki + "/sa.key")
	for file, cn := range map[string]string{
		"admin": "kubernetes-admin", "super-admin": "kubernetes-super-admin",
		"controller-manager": "system:kube-controller-manager", "scheduler": "system:kube-scheduler",
	} {
		t.kubeconfig("/etc/kubernetes/"+file+".conf", cn, ca, t.issue(Spec{CN: cn, Usages: ClientOnly()}, ca))
	}
	t.kubelet(ca)
}

// kubelet writes the rotated client certificate (with the previous one still
// there), the self-signed serving certificate and the kubeconfig that refers to
// them.
func (t *tree) kubelet(ca *Pair) {
	const dir = "/var/lib/kubelet/pki"
	for _, dated := range []string{"kubelet-client-2025-01-01-00-00-00.pem", "kubelet-client-2025-11-01-00-00-00.pem"} {
		t.combined(dir+"/"+dated, t.issue(Spec{CN: "system:node:" + Node, Organization: []string{"system:nodes"}, Usages: ClientOnly()}, ca))
	}
	t.symlink(dir+"/kubelet-client-current.pem", dir+"/kubelet-client-2025-11-01-00-00-00.pem")
	serving := t.issue(Spec{CN: Node + "-ca@1", CA: true, NotAfter: t.born.Add(365 * day)}, nil)
	t.crtKey(dir+"/kubelet", t.issue(Spec{CN: Node + "@1", DNS: []string{Node}, Usages: ServerOnly()}, serving), serving)
	if t.err == nil {
		t.kubeconfigText("/etc/kubernetes/kubelet.conf", "system:node:"+Node, "certificate-authority: pki/ca.crt",
			"client-certificate: "+dir+"/kubelet-client-current.pem\n    client-key: "+dir+"/kubelet-client-current.pem")
	}
}

// combined writes certificate and key into one file, as kubelet does.
func (t *tree) combined(file string, p *Pair) {
	if t.err != nil {
		return
	}
	var key []byte
	if key, t.err = p.KeyPEM(); t.err == nil {
		t.write(file, 0o600, append(p.CertPEM(), key...))
	}
}

func (t *tree) serviceAccountKey(file string) {
	if p := t.issue(Spec{CN: "service-account"}, nil); t.err == nil {
		var key []byte
		if key, t.err = p.KeyPEM(); t.err == nil {
			t.write(file, 0o600, key)
		}
	}
}

// kops writes a control-plane node of kops: CAs by nodeup, the volumes by
// etcd-manager.
func (t *tree) kops(layout Layout) {
	ca := t.ca("kubernetes-ca")
	clients := t.ca("etcd-clients-ca")
	for cluster, volume := range map[string]string{"main": MainVolume, "events": "/mnt/master-vol-0f9e8d7c6b5a43210"} {
		t.etcdManager(cluster, volume, clients)
	}
	switch layout {
	case Kops118:
		t.kops118(ca, clients)
	case Kops121:
		t.kopsFlat(ca, clients)
	default:
		t.kops130(ca, clients)
	}
	for _, name := range []string{"kubelet", "kube-proxy", "kube-scheduler", "kube-controller-manager", "kubectl"} {
		t.kubeconfig("/var/lib/"+name+"/kubeconfig", name, ca, t.issue(Spec{CN: "system:" + name, NotAfter: t.nodeup(), Usages: ClientOnly()}, ca))
	}
}

// nodeup is when the leaves of kops 1.19 and later end: 455 days and a skew.
func (t *tree) nodeup() time.Time { return t.born.Add((455 + 12) * day) }

// etcdManager writes one cluster's volume and its directory below
// /etc/kubernetes/pki.
func (t *tree) etcdManager(cluster, volume string, clients *Pair) {
	manager, peers := t.ca("etcd-manager-ca-"+cluster), t.ca("etcd-peers-ca-"+cluster)
	dir := "/etc/kubernetes/pki/etcd-manager-" + cluster
	t.crtKey(dir+"/etcd-manager-ca", manager)
	t.crtKey(dir+"/etcd-peers-ca", peers)
	t.crtKey(dir+"/etcd-clients-ca", clients)
	twoYears := t.born.Add(730 * day)
	for _, name := range []string{"etcd-manager-server-" + Node, "etcd-manager-client-" + Node} {
		t.crtKey(dir+"/"+name, t.issue(Spec{CN: name, NotAfter: twoYears, DNS: []string{Node}, Usages: Both()}, manager))
	}
	ends := twoYears
	if t.options.Incident && cluster == "main" {
		ends = t.options.Now.Add(-12 * day)
		t.volume(path.Join(volume, "pki", OrphanToken), peers, clients, t.options.Now.Add(-400*day))
		t.mkdir(volume + "/data-trashcan/" + OrphanToken)
	}
	t.volume(path.Join(volume, "pki", Token), peers, clients, ends)
	t.mkdir(volume + "/data/" + Token)
}

func (t *tree) volume(dir string, peers, clients *Pair, ends time.Time) {
	spec := Spec{CN: Node, DNS: []string{Node, "etcd-a.internal.example.com"}, IPs: []string{"127.0.0.1"}, Usages: Both(), NotAfter: ends}
	if ends.Before(t.born) {
		spec.NotBefore = ends.Add(-365 * day)
	}
	t.cert(dir+"/peers/ca.crt", peers)
	t.crtKey(dir+"/peers/me", t.issue(spec, peers))
	t.cert(dir+"/clients/ca.crt", clients)
	t.crtKey(dir+"/clients/server", t.issue(spec, clients))
}

// kops118 has the old extensions and ten-year certificates from the keystore.
func (t *tree) kops118(ca, clients *Pair) {
	const srv = "/srv/kubernetes"
	t.cert(srv+"/ca.crt", ca)
	decade := t.born.Add(3640 * day)
	t.pair(srv+"/server.cert", srv+"/server.key", t.issue(Spec{CN: "kubernetes-master", DNS: []string{"kubernetes"}, IPs: []string{"127.0.0.1"}, NotAfter: decade, Usages: ServerOnly()}, ca))
	t.pair(srv+"/kubelet-api.pem", srv+"/kubelet-api-key.pem", t.issue(Spec{CN: "kubelet-api", NotAfter: decade, Usages: ClientOnly()}, ca))
	aggregator := t.ca("apiserver-aggregator-ca")
	t.cert(srv+"/apiserver-aggregator-ca.cert", aggregator)
	t.pair(srv+"/apiserver-aggregator.cert", srv+"/apiserver-aggregator.key", t.issue(Spec{CN: "aggregator", NotAfter: decade, Usages: ClientOnly()}, aggregator))
	t.apiserverEtcdClient("/etc/kubernetes/pki/kube-apiserver", clients, 365*day)
}

// kopsFlat is 1.19 to 1.21: .crt names, still in one directory.
func (t *tree) kopsFlat(ca, clients *Pair) {
	const srv = "/srv/kubernetes"
	t.cert(srv+"/ca.crt", ca)
	t.kopsLeaves(srv, srv, ca)
	t.apiserverEtcdClient("/etc/kubernetes/pki/kube-apiserver", clients, 467*day)
}

// kops130 has a directory per component.
func (t *tree) kops130(ca, clients *Pair) {
	const srv = "/srv/kubernetes"
	t.cert(srv+"/ca.crt", ca)
	t.kopsLeaves(srv+"/kube-apiserver", srv, ca)
	t.apiserverEtcdClient(srv+"/kube-apiserver", clients, 467*day)
	server := func(base, cn string) {
		t.crtKey(base, t.issue(Spec{CN: cn, DNS: []string{cn + ".kube-system.svc.cluster.local"}, NotAfter: t.nodeup(), Usages: ServerOnly()}, ca))
	}
	server(srv+"/kube-controller-manager/server", "kube-controller-manager")
	server(srv+"/kube-scheduler/server", "kube-scheduler")
	t.crtKey("/etc/kubernetes/kops-controller/kops-controller", t.issue(Spec{CN: "kops-controller", DNS: []string{"kops-controller.internal.example.com"}, NotAfter: t.nodeup(), Usages: ServerOnly()}, ca))
	const health = "/etc/kubernetes/kube-apiserver-healthcheck/secrets"
	t.cert(health+"/ca.crt", ca)
	t.crtKey(health+"/client", t.issue(Spec{CN: "kube-apiserver-healthcheck", NotAfter: t.nodeup(), Usages: ClientOnly()}, ca))
}

// kopsLeaves are those of 1.19 and later, in apiserver's own directory or not.
func (t *tree) kopsLeaves(apiserver, srv string, ca *Pair) {
	t.crtKey(apiserver+"/server", t.issue(Spec{CN: "kubernetes-master", DNS: []string{"kubernetes"}, IPs: []string{"127.0.0.1"}, NotAfter: t.nodeup(), Usages: ServerOnly()}, ca), ca)
	t.crtKey(apiserver+"/kubelet-api", t.issue(Spec{CN: "kubelet-api", NotAfter: t.nodeup(), Usages: ClientOnly()}, ca))
	aggregator := t.ca("apiserver-aggregator-ca")
	t.cert(apiserver+"/apiserver-aggregator-ca.crt", aggregator)
	t.crtKey(apiserver+"/apiserver-aggregator", t.issue(Spec{CN: "aggregator", NotAfter: t.nodeup(), Usages: ClientOnly()}, aggregator))
	t.crtKey(srv+"/kubelet-server", t.issue(Spec{CN: Node, DNS: []string{Node}, NotAfter: t.nodeup(), Usages: ServerOnly()}, ca))
}

func (t *tree) apiserverEtcdClient(dir string, clients *Pair, life time.Duration) {
	t.cert(dir+"/etcd-ca.crt", clients)
	t.crtKey(dir+"/etcd-client", t.issue(Spec{CN: "kube-apiserver", NotAfter: t.born.Add(life), Usages: ClientOnly()}, clients))
}

// k3s writes <data>/server/tls and <data>/agent, and one rotation backup. Its
// files hold the leaf and the CA.
func (t *tree) k3s(data, admin, name string) {
	tls := data + "/server/tls"
	serverCA, clientCA, proxyCA := t.ca(name+"-server-ca@1700000000"), t.ca(name+"-client-ca@1700000000"), t.ca(name+"-request-header-ca@1700000000")
	etcdServer, etcdPeer := t.ca("etcd-server-ca@1700000000"), t.ca("etcd-peer-ca@1700000000")
	for base, ca := range map[string]*Pair{"/server-ca": serverCA, "/client-ca": clientCA, "/request-header-ca": proxyCA, "/etcd/server-ca": etcdServer, "/etcd/peer-ca": etcdPeer} {
		t.crtKey(tls+base, ca)
	}
	client := func(base, cn string, ca *Pair) {
		t.crtKey(base, t.issue(Spec{CN: cn, Usages: ClientOnly()}, ca), ca)
	}
	for base, cn := range map[string]string{
		"admin": "system:admin", "supervisor": "system:" + name + "-supervisor", "controller": "system:kube-controller-manager",
		"scheduler": "system:kube-scheduler", "kube-apiserver": "system:apiserver", "kube-proxy": "system:kube-proxy",
	} {
		client(tls+"/client-"+base, cn, clientCA)
		client(tls+"-1690000000/client-"+base, cn, clientCA)
	}
	client(tls+"/client-auth-proxy", "system:auth-proxy", proxyCA)
	client(tls+"/etcd/client", "etcd-client", etcdServer)
	server := func(base, cn string, ca *Pair, both bool) {
		spec := Spec{CN: cn, DNS: []string{"localhost", Node}, IPs: []string{"127.0.0.1"}, Usages: ServerOnly()}
		if both {
			spec.Usages = Both()
		}
		t.crtKey(base, t.issue(spec, ca), ca)
	}
	server(tls+"/serving-kube-apiserver", "kube-apiserver", serverCA, false)
	server(tls+"/etcd/server-client", "etcd-server", etcdServer, true)
	server(tls+"/etcd/peer-server-client", "etcd-peer", etcdPeer, true)
	server(data+"/agent/serving-kubelet", Node, serverCA, false)
	client(data+"/agent/client-kubelet", "system:node:"+Node, clientCA)
	t.cert(data+"/agent/client-ca.crt", clientCA)
	t.cert(data+"/agent/server-ca.crt", serverCA)
	t.kubeconfigText(data+"/server/cred/controller.kubeconfig", "user", "certificate-authority: "+tls+"/server-ca.crt",
		"client-certificate: "+tls+"/client-controller.crt\n    client-key: "+tls+"/client-controller.key")
	t.kubeconfig(admin, "default", serverCA, t.issue(Spec{CN: "system:admin", Usages: ClientOnly()}, clientCA))
}
