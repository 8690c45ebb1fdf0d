package checkertest

import "time"

// kubeadm writes what `kubeadm init` leaves (cmd/kubeadm/app/phases/certs),
// renewed once since.
func (t *tree) kubeadm() {
	const pki = "/etc/kubernetes/pki"
	t.backdated = 5 * time.Minute
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
	t.serviceAccount(pki)
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
	for name, issued := range map[string]time.Time{
		"kubelet-client-2025-01-01-00-00-00.pem": t.born.Add(-300 * day),
		"kubelet-client-2025-11-01-00-00-00.pem": t.born,
	} {
		spec := Spec{CN: "system:node:" + Node, Organization: []string{"system:nodes"}, Usages: ClientOnly(), NotAfter: issued.Add(365 * day)}
		t.combined(dir+"/"+name, t.issue(spec, ca))
	}
	t.symlink(dir+"/kubelet-client-current.pem", dir+"/kubelet-client-2025-11-01-00-00-00.pem")
	serving := t.issue(Spec{CN: Node + "-ca@1", CA: true}, nil)
	t.crtKey(dir+"/kubelet", t.issue(Spec{CN: Node + "@1", DNS: []string{Node}, Usages: ServerOnly()}, serving), serving)
	const current = dir + "/kubelet-client-current.pem"
	t.kubeconfigRefs("/etc/kubernetes/kubelet.conf", "pki/ca.crt", current, current)
}

// combined writes certificate and key into one file, as kubelet does.
func (t *tree) combined(file string, p *Pair) {
	if key := t.keyPEM(p); t.err == nil {
		t.write(file, 0o600, append(p.CertPEM(), key...))
	}
}

// serviceAccount writes the pair that signs service account tokens. Neither
// file is a certificate.
func (t *tree) serviceAccount(dir string) {
	p := t.issue(Spec{CN: "service-account"}, nil)
	if key := t.keyPEM(p); t.err == nil {
		t.write(dir+"/sa.key", 0o600, key)
		t.write(dir+"/sa.pub", 0o644, t.publicPEM(p))
	}
}
