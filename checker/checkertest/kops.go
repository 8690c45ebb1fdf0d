package checkertest

import (
	"crypto/x509"
	"path"
	"time"
)

// kopsNode is how one version of kops lays out a control-plane node.
type kopsNode struct {
	clusters []string
	// caName is the common name of the cluster's CA.
	caName string
	nodeup func(k *kopsTree)
	// keystore is true where the leaves that nodeup writes come from the
	// cluster's key store, with the ten years of its CAs; later versions issue
	// them on the node.
	keystore bool
	// ipv6 is true where etcd's peers also name ::1.
	ipv6 bool
}

func kopsNodes() map[Layout]kopsNode {
	early := []string{"main", "events", "cilium"}
	return map[Layout]kopsNode{
		Kops118: {clusters: early, caName: "kubernetes", nodeup: (*kopsTree).before119, keystore: true},
		Kops121: {clusters: early, caName: "kubernetes", nodeup: (*kopsTree).from119},
		Kops130: {clusters: append(early, "leases"), caName: "kubernetes-ca", nodeup: (*kopsTree).from122, ipv6: true},
	}
}

// kopsTree is a control-plane node of kops: CAs by nodeup, the volumes by
// etcd-manager.
type kopsTree struct {
	*tree
	kopsNode
	kubernetes, clients, ciliumClients *Pair
}

const srv = "/srv/kubernetes"

func (t *tree) kops(node kopsNode) {
	t.backdated = 48 * time.Hour
	k := &kopsTree{tree: t, kopsNode: node, kubernetes: t.ca(node.caName), clients: t.ca("etcd-clients-ca"), ciliumClients: t.ca("etcd-clients-ca-cilium")}
	for _, cluster := range k.clusters {
		k.etcdManager(cluster)
	}
	k.nodeup(k)
	k.healthcheck()
	k.cilium()
	t.cert(srv+"/ca.crt", k.kubernetes)
	authenticator := srv + "/aws-iam-authenticator/"
	t.pair(authenticator+"cert.pem", authenticator+"key.pem", k.leaf("aws-iam-authenticator", k.kubernetes, ServerOnly(), "localhost"))
	for name, cn := range map[string]string{
		"kubelet": "system:node:" + Node, "kube-proxy": "system:kube-proxy", "kube-scheduler": "system:kube-scheduler",
		"kube-controller-manager": "system:kube-controller-manager", "kubectl": "kubecfg",
	} {
		t.kubeconfig("/var/lib/"+name+"/kubeconfig", name, k.kubernetes, k.leaf(cn, k.kubernetes, ClientOnly()))
	}
}

// volumes are the mount points on AWS.
func volumes() map[string]string {
	return map[string]string{
		"main": MainVolume, "events": "/mnt/master-vol-0f9e8d7c6b5a43210",
		"cilium": "/mnt/master-vol-0b2c3d4e5f6071829", "leases": "/mnt/master-vol-0d4e5f60718293a4b",
	}
}

// member is the name of this node in an etcd cluster.
func member(cluster string) string {
	if cluster == "main" {
		return Node
	}
	return "etcd-" + cluster + "-a"
}

// etcdManager writes one cluster's volume and its directory below
// /etc/kubernetes/pki.
func (k *kopsTree) etcdManager(cluster string) {
	clients := k.clients
	if cluster == "cilium" {
		clients = k.ciliumClients
	}
	manager, peers := k.ca("etcd-manager-ca-"+cluster), k.ca("etcd-peers-ca-"+cluster)
	dir := "/etc/kubernetes/pki/etcd-manager-" + cluster
	k.crtKey(dir+"/etcd-manager-ca", manager)
	k.crtKey(dir+"/etcd-peers-ca", peers)
	k.crtKey(dir+"/etcd-clients-ca", clients)
	twoYears := k.born.Add(730 * day)
	for _, name := range []string{"etcd-manager-server-" + member(cluster), "etcd-manager-client-" + member(cluster)} {
		k.crtKey(dir+"/"+name, k.issue(Spec{CN: name, NotAfter: twoYears, DNS: []string{member(cluster)}, Usages: Both()}, manager))
	}
	ends, v := twoYears, volume{kopsTree: k, base: volumes()[cluster], member: member(cluster), peers: peers, clients: clients}
	if k.options.Incident && cluster == "main" {
		ends = k.options.Now.Add(-12 * day)
		v.write(OrphanToken, "data-trashcan", k.options.Now.Add(-400*day))
	}
	v.write(Token, "data", ends)
}

// volume is an etcd volume; its directories are the owner's alone.
type volume struct {
	*kopsTree
	base, member   string
	peers, clients *Pair
}

// write makes pki/<token>, and the token's directory below data or the trash.
func (v *volume) write(token, data string, ends time.Time) {
	dir := path.Join(v.base, "pki", token)
	for _, private := range []string{v.base + "/pki", dir, dir + "/peers", dir + "/clients", path.Join(v.base, data), path.Join(v.base, data, token)} {
		v.mkdir(private, 0o700)
	}
	spec := Spec{CN: v.member, DNS: []string{v.member, v.member + ".internal.example.com"}, IPs: []string{"127.0.0.1"}, Usages: Both(), NotAfter: ends}
	v.cert(dir+"/clients/ca.crt", v.clients)
	v.crtKey(dir+"/clients/server", v.issue(spec, v.clients))
	if v.ipv6 {
		spec.IPs = append(spec.IPs, "::1")
	}
	v.cert(dir+"/peers/ca.crt", v.peers)
	v.crtKey(dir+"/peers/me", v.issue(spec, v.peers))
}

// before119 has the old extensions.
func (k *kopsTree) before119() {
	k.pair(srv+"/server.cert", srv+"/server.key", k.leaf("kubernetes-master", k.kubernetes, ServerOnly(), "kubernetes"))
	k.pair(srv+"/kubelet-api.pem", srv+"/kubelet-api-key.pem", k.leaf("kubelet-api", k.kubernetes, ClientOnly()))
	k.pair(srv+"/proxy-client.cert", srv+"/proxy-client.key", k.leaf("apiserver-proxy-client", k.kubernetes, ClientOnly()))
	aggregator := k.ca("apiserver-aggregator-ca")
	k.cert(srv+"/apiserver-aggregator-ca.cert", aggregator)
	k.pair(srv+"/apiserver-aggregator.cert", srv+"/apiserver-aggregator.key", k.leaf("aggregator", aggregator, ClientOnly()))
	k.etcdClient("/etc/kubernetes/pki/kube-apiserver/", "etcd-client", "kube-apiserver", k.clients)
}

// from119 has .crt names, still in one directory.
func (k *kopsTree) from119() {
	k.crtKey(srv+"/server", k.leaf("kubernetes-master", k.kubernetes, ServerOnly(), "kubernetes"))
	k.issuedOnNode(srv)
	k.etcdClient("/etc/kubernetes/pki/kube-apiserver/", "etcd-client", "kube-apiserver", k.clients)
}

// from122 has a directory per component, and the CA after the API server's leaf.
func (k *kopsTree) from122() {
	const api, manager, scheduler = srv + "/kube-apiserver", srv + "/kube-controller-manager", srv + "/kube-scheduler"
	k.crtKey(api+"/server", k.leaf("kubernetes-master", k.kubernetes, ServerOnly(), "kubernetes"), k.kubernetes)
	k.issuedOnNode(api)
	k.etcdClient(api+"/", "etcd-client", "kube-apiserver", k.clients)
	k.crtKey(manager+"/ca", k.kubernetes)
	k.crtKey(manager+"/server", k.leaf("kube-controller-manager", k.kubernetes, ServerOnly(), "kube-controller-manager.kube-system.svc.cluster.local"))
	k.crtKey(scheduler+"/server", k.leaf("kube-scheduler", k.kubernetes, ServerOnly(), "kube-scheduler.kube-system.svc.cluster.local"))
}

// issuedOnNode are the leaves that nodeup issues since 1.19, those of the API
// server in its own directory or not.
func (k *kopsTree) issuedOnNode(apiserver string) {
	k.crtKey(apiserver+"/kubelet-api", k.leaf("kubelet-api", k.kubernetes, ClientOnly()))
	aggregator := k.ca("apiserver-aggregator-ca")
	k.cert(apiserver+"/apiserver-aggregator-ca.crt", aggregator)
	k.crtKey(apiserver+"/apiserver-aggregator", k.leaf("aggregator", aggregator, ClientOnly()))
	k.crtKey(srv+"/kubelet-server", k.leaf(Node, k.kubernetes, ServerOnly(), Node))
	const controller = "/etc/kubernetes/kops-controller"
	k.crtKey(controller+"/kops-controller", k.leaf("kops-controller", k.kubernetes, ServerOnly(), "kops-controller.internal.example.com"))
	k.crtKey(controller+"/kubernetes-ca", k.kubernetes)
	k.crtKey(controller+"/etcd-clients-ca-cilium", k.ciliumClients)
}

func (k *kopsTree) healthcheck() {
	const dir = "/etc/kubernetes/kube-apiserver-healthcheck/secrets"
	k.cert(dir+"/ca.crt", k.kubernetes)
	k.crtKey(dir+"/client", k.leaf("kube-apiserver-healthcheck", k.kubernetes, ClientOnly()))
}

func (k *kopsTree) cilium() {
	k.etcdClient("/etc/kubernetes/pki/cilium/", "etcd-client-cilium", "cilium", k.ciliumClients)
}

// leaf is a certificate that nodeup writes.
func (k *kopsTree) leaf(cn string, signer *Pair, usages []x509.ExtKeyUsage, dns ...string) *Pair {
	spec := Spec{CN: cn, DNS: dns, Usages: usages, NotBefore: k.born.Add(-k.backdated), NotAfter: k.born.Add((455 + skewDays) * day)}
	if k.keystore {
		// Made a moment after its CA, so it ends a moment later.
		spec.NotBefore, spec.NotAfter = k.founded.Add(time.Minute-k.backdated), k.founded.Add(time.Minute+3650*day)
	}
	return k.issue(spec, signer)
}

// skewDays is what kops adds to the 455 days of a leaf, by a hash of the node's
// name: 0 to 30 days.
const skewDays = 12

// etcdClient writes a client certificate of etcd with its CA. It never came
// from the key store: before 1.19 nodeup made one for a year.
func (k *kopsTree) etcdClient(dir, base, cn string, signer *Pair) {
	k.cert(dir+"etcd-ca.crt", signer)
	if k.keystore {
		k.crtKey(dir+base, k.issue(Spec{CN: cn, Usages: ClientOnly()}, signer))
		return
	}
	k.crtKey(dir+base, k.leaf(cn, signer, ClientOnly()))
}
