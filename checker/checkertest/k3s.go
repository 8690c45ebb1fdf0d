package checkertest

import (
	"crypto/x509"
	"fmt"
	"time"
)

// rancher is a node of k3s or rke2 (pkg/daemons/control/deps). Its files hold
// the leaf and the CA.
type rancher struct {
	*tree
	name, data                                          string
	server, client, requestHeader, etcdServer, etcdPeer *Pair
}

func (t *tree) rancher(name string) {
	ca := func(role string) *Pair { return t.ca(fmt.Sprintf("%s@%d", role, t.founded.Unix())) }
	r := &rancher{
		tree: t, name: name, data: "/var/lib/rancher/" + name,
		server: ca(name + "-server-ca"), client: ca(name + "-client-ca"), requestHeader: ca(name + "-request-header-ca"),
		etcdServer: ca("etcd-server-ca"), etcdPeer: ca("etcd-peer-ca"),
	}
	tls := r.data + "/server/tls"
	r.serverTLS(tls, t.born)
	// `certificate rotate` copied what had expired.
	r.serverTLS(fmt.Sprintf("%s-%d", tls, t.born.Unix()), t.born.Add(-400*day))
	r.agent()
	for file, client := range map[string]string{
		"admin": "admin", "supervisor": "supervisor", "controller": "controller", "scheduler": "scheduler",
		"cloud-controller": name + "-cloud-controller",
	} {
		t.kubeconfigRefs(r.data+"/server/cred/"+file+".kubeconfig", tls+"/server-ca.crt", tls+"/client-"+client+".crt", tls+"/client-"+client+".key")
	}
	t.kubeconfig("/etc/rancher/"+name+"/"+name+".yaml", "default", r.server, t.issue(Spec{CN: "system:admin", Usages: ClientOnly()}, r.client))
}

// serverTLS writes the directory server/tls with leaves of a year from issued.
func (r *rancher) serverTLS(dir string, issued time.Time) {
	for base, ca := range map[string]*Pair{"server-ca": r.server, "client-ca": r.client, "request-header-ca": r.requestHeader, "etcd/server-ca": r.etcdServer, "etcd/peer-ca": r.etcdPeer} {
		r.crtKey(dir+"/"+base, ca)
	}
	r.cert(dir+"/server-ca.nochain.crt", r.server)
	r.cert(dir+"/client-ca.nochain.crt", r.client)
	leaf := func(base string, spec Spec, ca *Pair) {
		spec.NotAfter = issued.Add(365 * day)
		r.crtKey(dir+"/"+base, r.issue(spec, ca), ca)
	}
	for base, cn := range map[string]string{
		"admin": "system:admin", "supervisor": "system:" + r.name + "-supervisor", "controller": "system:kube-controller-manager",
		"scheduler": "system:kube-scheduler", "kube-apiserver": "system:apiserver", "kube-proxy": "system:kube-proxy",
		r.name + "-controller": "system:" + r.name + "-controller", r.name + "-cloud-controller": r.name + "-cloud-controller-manager",
	} {
		leaf("client-"+base, Spec{CN: cn, Usages: ClientOnly()}, r.client)
	}
	leaf("client-auth-proxy", Spec{CN: "system:auth-proxy", Usages: ClientOnly()}, r.requestHeader)
	leaf("etcd/client", Spec{CN: "etcd-client", Usages: ClientOnly()}, r.etcdServer)
	local := func(cn string, usages []x509.ExtKeyUsage) Spec {
		return Spec{CN: cn, DNS: []string{"localhost", Node}, IPs: []string{"127.0.0.1"}, Usages: usages}
	}
	leaf("serving-kube-apiserver", local("kube-apiserver", ServerOnly()), r.server)
	leaf("kube-scheduler/kube-scheduler", local("kube-scheduler", ServerOnly()), r.server)
	leaf("kube-controller-manager/kube-controller-manager", local("kube-controller-manager", ServerOnly()), r.server)
	leaf("etcd/server-client", local("etcd-server", Both()), r.etcdServer)
	leaf("etcd/peer-server-client", local("etcd-peer", Both()), r.etcdPeer)
}

func (r *rancher) agent() {
	agent := r.data + "/agent"
	r.crtKey(agent+"/serving-kubelet", r.issue(Spec{CN: Node, DNS: []string{"localhost", Node}, IPs: []string{"127.0.0.1"}, Usages: ServerOnly()}, r.server), r.server)
	for base, cn := range map[string]string{"kubelet": "system:node:" + Node, "kube-proxy": "system:kube-proxy", r.name + "-controller": "system:" + r.name + "-controller"} {
		r.crtKey(agent+"/client-"+base, r.issue(Spec{CN: cn, Usages: ClientOnly()}, r.client), r.client)
	}
	r.cert(agent+"/client-ca.crt", r.client)
	r.cert(agent+"/server-ca.crt", r.server)
}
