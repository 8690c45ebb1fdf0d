package checkertest_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/reanchor/reanchor/checker/checkertest"
)

const day = 24 * time.Hour

func now() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

// TestEveryLayoutIsWhatItsToolWrites compares each generated tree with a table,
// line by line: path, mode (and "+key" where the file's key lies beside it with
// mode 0600), usage, common name < issuer's, validity. "cluster" and "node" are
// the times at which these were made.
//
// Sources: kops nodeup/pkg/model and docs, etcd-manager pkg/etcd/pki.go and
// pkg/tlsconfig, kubeadm app/phases/certs, k3s pkg/daemons/control/deps.
func TestEveryLayoutIsWhatItsToolWrites(t *testing.T) {
	for layout, want := range layoutTables() {
		t.Run(string(layout), func(t *testing.T) {
			if diff := cmp.Diff(sorted(want), tree(t, layout, false)); diff != "" {
				t.Errorf("(-table +tree):\n%s", diff)
			}
		})
	}
}

// TestTheIncidentIsTheSameNodeWithDeadLeavesOnItsVolume lists what differs.
func TestTheIncidentIsTheSameNodeWithDeadLeavesOnItsVolume(t *testing.T) {
	const pki = checkertest.MainVolume + "/pki/"
	const live, old = pki + checkertest.Token, pki + checkertest.OrphanToken
	want := sorted(expand(map[string]string{"ca": "cluster-2d..cluster+3650d", "dead": "cluster-2d..node+18d", "old": "cluster-2d..node-370d"},
		live+`/clients/server.crt 0644+key both etcd-a<etcd-clients-ca $dead
`+live+`/peers/me.crt 0644+key both etcd-a<etcd-peers-ca-main $dead
`+old+`/ 0700
`+old+`/clients/ 0700
`+old+`/clients/ca.crt 0644 ca etcd-clients-ca<etcd-clients-ca $ca
`+old+`/clients/server.crt 0644+key both etcd-a<etcd-clients-ca $old
`+old+`/peers/ 0700
`+old+`/peers/ca.crt 0644 ca etcd-peers-ca-main<etcd-peers-ca-main $ca
`+old+`/peers/me.crt 0644+key both etcd-a<etcd-peers-ca-main $old
`+checkertest.MainVolume+`/data-trashcan/ 0700
`+checkertest.MainVolume+`/data-trashcan/`+checkertest.OrphanToken+`/ 0700
`))
	for _, layout := range []checkertest.Layout{checkertest.Kops118, checkertest.Kops121, checkertest.Kops130} {
		healthy := tree(t, layout, false)
		differs := slices.DeleteFunc(tree(t, layout, true), func(line string) bool { return slices.Contains(healthy, line) })
		if diff := cmp.Diff(want, differs); diff != "" {
			t.Errorf("%s (-table +tree):\n%s", layout, diff)
		}
	}
}

func TestEtcdNamesItselfAndLoopback(t *testing.T) {
	for layout, peers := range map[checkertest.Layout]string{checkertest.Kops118: "127.0.0.1", checkertest.Kops130: "127.0.0.1 ::1"} {
		dir := write(t, layout, false)
		for file, want := range map[string]string{"clients/server.crt": "127.0.0.1", "peers/me.crt": peers} {
			c := certificates(t, filepath.Join(dir, checkertest.MainVolume, "pki", checkertest.Token, file))[0]
			if got := strings.Trim(fmt.Sprint(c.IPAddresses), "[]"); got != want || !slices.Contains(c.DNSNames, checkertest.Node) {
				t.Errorf("%s: %s names %v and %s, want the node and %s", layout, file, c.DNSNames, got, want)
			}
		}
	}
}

func TestAnUnknownLayoutIsRefused(t *testing.T) {
	if err := checkertest.Write(t.TempDir(), "talos", checkertest.Options{Now: now()}); err == nil {
		t.Error("no error")
	}
	if err := checkertest.Write(t.TempDir(), checkertest.Kubeadm, checkertest.Options{}); err == nil {
		t.Error("no error without a time")
	}
}

func layoutTables() map[checkertest.Layout]string {
	k3s := k3sTable()
	return map[checkertest.Layout]string{
		checkertest.Kubeadm: kubeadmTable(),
		checkertest.Kops118: kops118Table(),
		checkertest.Kops121: kops121Table(),
		checkertest.Kops130: kops130Table(),
		checkertest.K3s:     k3s,
		// The same tree in another place; what holds the program's name holds
		// the other name.
		checkertest.RKE2: strings.ReplaceAll(k3s, "k3s", "rke2"),
	}
}

func kubeadmTable() string {
	return expand(map[string]string{"ca": "cluster-5m..cluster+3650d", "leaf": "cluster-5m..node+365d"}, `
/etc/kubernetes/pki/ca.crt 0644+key ca kubernetes<kubernetes $ca
/etc/kubernetes/pki/apiserver.crt 0644+key server kube-apiserver<kubernetes $leaf
/etc/kubernetes/pki/apiserver-kubelet-client.crt 0644+key client kube-apiserver-kubelet-client<kubernetes $leaf
/etc/kubernetes/pki/front-proxy-ca.crt 0644+key ca front-proxy-ca<front-proxy-ca $ca
/etc/kubernetes/pki/front-proxy-client.crt 0644+key client front-proxy-client<front-proxy-ca $leaf
/etc/kubernetes/pki/etcd/ca.crt 0644+key ca etcd-ca<etcd-ca $ca
/etc/kubernetes/pki/etcd/server.crt 0644+key both etcd-a<etcd-ca $leaf
/etc/kubernetes/pki/etcd/peer.crt 0644+key both etcd-a<etcd-ca $leaf
/etc/kubernetes/pki/etcd/healthcheck-client.crt 0644+key client kube-etcd-healthcheck-client<etcd-ca $leaf
/etc/kubernetes/pki/apiserver-etcd-client.crt 0644+key client kube-apiserver-etcd-client<etcd-ca $leaf
/etc/kubernetes/pki/sa.key 0600 key
/etc/kubernetes/pki/sa.pub 0644 public key
/etc/kubernetes/admin.conf 0600 kubeconfig: ca kubernetes<kubernetes $ca; client kubernetes-admin<kubernetes $leaf +key
/etc/kubernetes/super-admin.conf 0600 kubeconfig: ca kubernetes<kubernetes $ca; client kubernetes-super-admin<kubernetes $leaf +key
/etc/kubernetes/controller-manager.conf 0600 kubeconfig: ca kubernetes<kubernetes $ca; client system:kube-controller-manager<kubernetes $leaf +key
/etc/kubernetes/scheduler.conf 0600 kubeconfig: ca kubernetes<kubernetes $ca; client system:kube-scheduler<kubernetes $leaf +key
/etc/kubernetes/kubelet.conf 0600 kubeconfig: pki/ca.crt; /var/lib/kubelet/pki/kubelet-client-current.pem; /var/lib/kubelet/pki/kubelet-client-current.pem
/var/lib/kubelet/pki/kubelet-client-current.pem -> /var/lib/kubelet/pki/kubelet-client-2025-11-01-00-00-00.pem
/var/lib/kubelet/pki/kubelet-client-2025-01-01-00-00-00.pem 0600+inside client system:node:etcd-a<kubernetes cluster-5m..node+65d
/var/lib/kubelet/pki/kubelet-client-2025-11-01-00-00-00.pem 0600+inside client system:node:etcd-a<kubernetes $leaf
/var/lib/kubelet/pki/kubelet.crt 0644+key server etcd-a@1<etcd-a-ca@1 node..node+365d & ca etcd-a-ca@1<etcd-a-ca@1 node..node+365d
`)
}

// The validities of kops. Those of nodeup are 455 days and a skew of 0 to 30
// days by the node's name, since 1.19; those of etcd-manager are 2 years.
func kopsValidities() map[string]string {
	return map[string]string{
		"ca": "cluster-2d..cluster+3650d", "manager": "cluster-2d..node+730d", "nodeup": "node-2d..node+467d",
		"keystore": "cluster-1d23h59m..cluster+3650d1m", "year": "cluster-2d..node+365d",
	}
}

func kops118Table() string {
	return kopsShared("$keystore", "kubernetes") + expand(kopsValidities(), `
/etc/kubernetes/pki/kube-apiserver/etcd-ca.crt 0644 ca etcd-clients-ca<etcd-clients-ca $ca
/etc/kubernetes/pki/kube-apiserver/etcd-client.crt 0644+key client kube-apiserver<etcd-clients-ca $year
/etc/kubernetes/pki/cilium/etcd-ca.crt 0644 ca etcd-clients-ca-cilium<etcd-clients-ca-cilium $ca
/etc/kubernetes/pki/cilium/etcd-client-cilium.crt 0644+key client cilium<etcd-clients-ca-cilium $year
/srv/kubernetes/server.cert 0644+key server kubernetes-master<kubernetes $keystore
/srv/kubernetes/kubelet-api.pem 0644+key client kubelet-api<kubernetes $keystore
/srv/kubernetes/proxy-client.cert 0644+key client apiserver-proxy-client<kubernetes $keystore
/srv/kubernetes/apiserver-aggregator.cert 0644+key client aggregator<apiserver-aggregator-ca $keystore
/srv/kubernetes/apiserver-aggregator-ca.cert 0644 ca apiserver-aggregator-ca<apiserver-aggregator-ca $ca
`)
}

func kops121Table() string {
	return kopsShared("$nodeup", "kubernetes") + kopsController("kubernetes") + expand(kopsValidities(), `
/etc/kubernetes/pki/kube-apiserver/etcd-ca.crt 0644 ca etcd-clients-ca<etcd-clients-ca $ca
/etc/kubernetes/pki/kube-apiserver/etcd-client.crt 0644+key client kube-apiserver<etcd-clients-ca $nodeup
/etc/kubernetes/pki/cilium/etcd-ca.crt 0644 ca etcd-clients-ca-cilium<etcd-clients-ca-cilium $ca
/etc/kubernetes/pki/cilium/etcd-client-cilium.crt 0644+key client cilium<etcd-clients-ca-cilium $nodeup
/srv/kubernetes/server.crt 0644+key server kubernetes-master<kubernetes $nodeup
/srv/kubernetes/kubelet-api.crt 0644+key client kubelet-api<kubernetes $nodeup
/srv/kubernetes/kubelet-server.crt 0644+key server etcd-a<kubernetes $nodeup
/srv/kubernetes/apiserver-aggregator.crt 0644+key client aggregator<apiserver-aggregator-ca $nodeup
/srv/kubernetes/apiserver-aggregator-ca.crt 0644 ca apiserver-aggregator-ca<apiserver-aggregator-ca $ca
`)
}

func kops130Table() string {
	const api = "/srv/kubernetes/kube-apiserver"
	return kopsShared("$nodeup", "kubernetes-ca") + kopsController("kubernetes-ca") +
		etcdTable("leases", "etcd-leases-a", "/mnt/master-vol-0d4e5f60718293a4b", "etcd-clients-ca") + expand(kopsValidities(), `
/etc/kubernetes/pki/cilium/etcd-ca.crt 0644 ca etcd-clients-ca-cilium<etcd-clients-ca-cilium $ca
/etc/kubernetes/pki/cilium/etcd-client-cilium.crt 0644+key client cilium<etcd-clients-ca-cilium $nodeup
`+api+`/server.crt 0644+key server kubernetes-master<kubernetes-ca $nodeup & ca kubernetes-ca<kubernetes-ca $ca
`+api+`/etcd-ca.crt 0644 ca etcd-clients-ca<etcd-clients-ca $ca
`+api+`/etcd-client.crt 0644+key client kube-apiserver<etcd-clients-ca $nodeup
`+api+`/kubelet-api.crt 0644+key client kubelet-api<kubernetes-ca $nodeup
`+api+`/apiserver-aggregator.crt 0644+key client aggregator<apiserver-aggregator-ca $nodeup
`+api+`/apiserver-aggregator-ca.crt 0644 ca apiserver-aggregator-ca<apiserver-aggregator-ca $ca
/srv/kubernetes/kube-controller-manager/ca.crt 0644+key ca kubernetes-ca<kubernetes-ca $ca
/srv/kubernetes/kube-controller-manager/server.crt 0644+key server kube-controller-manager<kubernetes-ca $nodeup
/srv/kubernetes/kube-scheduler/server.crt 0644+key server kube-scheduler<kubernetes-ca $nodeup
/srv/kubernetes/kubelet-server.crt 0644+key server etcd-a<kubernetes-ca $nodeup
`)
}

// kopsShared is what all versions have: three etcd clusters, the health check,
// the authenticator and the kubeconfigs.
func kopsShared(leaf, ca string) string {
	shared := strings.NewReplacer("$leaf", leaf, "KUBERNETES", ca).Replace(`
/srv/kubernetes/ca.crt 0644 ca KUBERNETES<KUBERNETES $ca
/srv/kubernetes/aws-iam-authenticator/cert.pem 0644+key server aws-iam-authenticator<KUBERNETES $leaf
/etc/kubernetes/kube-apiserver-healthcheck/secrets/ca.crt 0644 ca KUBERNETES<KUBERNETES $ca
/etc/kubernetes/kube-apiserver-healthcheck/secrets/client.crt 0644+key client kube-apiserver-healthcheck<KUBERNETES $leaf
/var/lib/kubelet/kubeconfig 0600 kubeconfig: ca KUBERNETES<KUBERNETES $ca; client system:node:etcd-a<KUBERNETES $leaf +key
/var/lib/kube-proxy/kubeconfig 0600 kubeconfig: ca KUBERNETES<KUBERNETES $ca; client system:kube-proxy<KUBERNETES $leaf +key
/var/lib/kube-scheduler/kubeconfig 0600 kubeconfig: ca KUBERNETES<KUBERNETES $ca; client system:kube-scheduler<KUBERNETES $leaf +key
/var/lib/kube-controller-manager/kubeconfig 0600 kubeconfig: ca KUBERNETES<KUBERNETES $ca; client system:kube-controller-manager<KUBERNETES $leaf +key
/var/lib/kubectl/kubeconfig 0600 kubeconfig: ca KUBERNETES<KUBERNETES $ca; client kubecfg<KUBERNETES $leaf +key
`)
	return expand(kopsValidities(), shared) +
		etcdTable("main", "etcd-a", "/mnt/master-vol-0a1b2c3d4e5f60718", "etcd-clients-ca") +
		etcdTable("events", "etcd-events-a", "/mnt/master-vol-0f9e8d7c6b5a43210", "etcd-clients-ca") +
		etcdTable("cilium", "etcd-cilium-a", "/mnt/master-vol-0b2c3d4e5f6071829", "etcd-clients-ca-cilium")
}

func kopsController(ca string) string {
	return expand(kopsValidities(), strings.ReplaceAll(`
/etc/kubernetes/kops-controller/kops-controller.crt 0644+key server kops-controller<KUBERNETES $nodeup
/etc/kubernetes/kops-controller/kubernetes-ca.crt 0644+key ca KUBERNETES<KUBERNETES $ca
/etc/kubernetes/kops-controller/etcd-clients-ca-cilium.crt 0644+key ca etcd-clients-ca-cilium<etcd-clients-ca-cilium $ca
`, "KUBERNETES", ca))
}

// etcdTable is one etcd cluster: its volume and its directory.
func etcdTable(cluster, member, volume, clients string) string {
	return expand(kopsValidities(), strings.NewReplacer("CLUSTER", cluster, "MEMBER", member, "VOLUME", volume, "CLIENTS", clients, "TOKEN", "-k3Vq0Zp8TtWmB1nXyL2ew").Replace(`
VOLUME/data/ 0700
VOLUME/data/TOKEN/ 0700
VOLUME/pki/ 0700
VOLUME/pki/TOKEN/ 0700
VOLUME/pki/TOKEN/peers/ 0700
VOLUME/pki/TOKEN/clients/ 0700
VOLUME/pki/TOKEN/peers/ca.crt 0644 ca etcd-peers-ca-CLUSTER<etcd-peers-ca-CLUSTER $ca
VOLUME/pki/TOKEN/peers/me.crt 0644+key both MEMBER<etcd-peers-ca-CLUSTER $manager
VOLUME/pki/TOKEN/clients/ca.crt 0644 ca CLIENTS<CLIENTS $ca
VOLUME/pki/TOKEN/clients/server.crt 0644+key both MEMBER<CLIENTS $manager
/etc/kubernetes/pki/etcd-manager-CLUSTER/etcd-manager-ca.crt 0644+key ca etcd-manager-ca-CLUSTER<etcd-manager-ca-CLUSTER $ca
/etc/kubernetes/pki/etcd-manager-CLUSTER/etcd-peers-ca.crt 0644+key ca etcd-peers-ca-CLUSTER<etcd-peers-ca-CLUSTER $ca
/etc/kubernetes/pki/etcd-manager-CLUSTER/etcd-clients-ca.crt 0644+key ca CLIENTS<CLIENTS $ca
/etc/kubernetes/pki/etcd-manager-CLUSTER/etcd-manager-server-MEMBER.crt 0644+key both etcd-manager-server-MEMBER<etcd-manager-ca-CLUSTER $manager
/etc/kubernetes/pki/etcd-manager-CLUSTER/etcd-manager-client-MEMBER.crt 0644+key both etcd-manager-client-MEMBER<etcd-manager-ca-CLUSTER $manager
`))
}

func k3sTable() string {
	// The directory of certificates is there twice: in use, and as the backup of
	// a rotation.
	const tls, backup = "/var/lib/rancher/k3s/server/tls", "/var/lib/rancher/k3s/server/tls-1792756800"
	return k3sServer(tls, "cluster..node+365d") + k3sServer(backup, "cluster..node-35d") +
		expand(map[string]string{"ca": "cluster..cluster+3650d", "leaf": "cluster..node+365d"}, `
/var/lib/rancher/k3s/agent/client-ca.crt 0644 ca k3s-client-ca@UNIX<k3s-client-ca@UNIX $ca
/var/lib/rancher/k3s/agent/server-ca.crt 0644 ca k3s-server-ca@UNIX<k3s-server-ca@UNIX $ca
/var/lib/rancher/k3s/agent/serving-kubelet.crt 0644+key server etcd-a<k3s-server-ca@UNIX $leaf & ca k3s-server-ca@UNIX<k3s-server-ca@UNIX $ca
/var/lib/rancher/k3s/agent/client-kubelet.crt 0644+key client system:node:etcd-a<k3s-client-ca@UNIX $leaf & ca k3s-client-ca@UNIX<k3s-client-ca@UNIX $ca
/var/lib/rancher/k3s/agent/client-kube-proxy.crt 0644+key client system:kube-proxy<k3s-client-ca@UNIX $leaf & ca k3s-client-ca@UNIX<k3s-client-ca@UNIX $ca
/var/lib/rancher/k3s/agent/client-k3s-controller.crt 0644+key client system:k3s-controller<k3s-client-ca@UNIX $leaf & ca k3s-client-ca@UNIX<k3s-client-ca@UNIX $ca
/var/lib/rancher/k3s/server/cred/admin.kubeconfig 0600 kubeconfig: TLS/server-ca.crt; TLS/client-admin.crt; TLS/client-admin.key
/var/lib/rancher/k3s/server/cred/supervisor.kubeconfig 0600 kubeconfig: TLS/server-ca.crt; TLS/client-supervisor.crt; TLS/client-supervisor.key
/var/lib/rancher/k3s/server/cred/controller.kubeconfig 0600 kubeconfig: TLS/server-ca.crt; TLS/client-controller.crt; TLS/client-controller.key
/var/lib/rancher/k3s/server/cred/scheduler.kubeconfig 0600 kubeconfig: TLS/server-ca.crt; TLS/client-scheduler.crt; TLS/client-scheduler.key
/var/lib/rancher/k3s/server/cred/cloud-controller.kubeconfig 0600 kubeconfig: TLS/server-ca.crt; TLS/client-k3s-cloud-controller.crt; TLS/client-k3s-cloud-controller.key
/etc/rancher/k3s/k3s.yaml 0600 kubeconfig: ca k3s-server-ca@UNIX<k3s-server-ca@UNIX $ca; client system:admin<k3s-client-ca@UNIX $leaf +key
`)
}

// k3sServer is server/tls. A leaf's file holds its CA too.
func k3sServer(dir, leaf string) string {
	lines := []string{}
	for _, ca := range []string{"server-ca k3s-server-ca", "client-ca k3s-client-ca", "request-header-ca k3s-request-header-ca", "etcd/server-ca etcd-server-ca", "etcd/peer-ca etcd-peer-ca"} {
		file, cn, _ := strings.Cut(ca, " ")
		lines = append(lines, fmt.Sprintf("%s/%s.crt 0644+key ca %[3]s@UNIX<%[3]s@UNIX $ca", dir, file, cn))
	}
	lines = append(lines,
		dir+"/server-ca.nochain.crt 0644 ca k3s-server-ca@UNIX<k3s-server-ca@UNIX $ca",
		dir+"/client-ca.nochain.crt 0644 ca k3s-client-ca@UNIX<k3s-client-ca@UNIX $ca",
	)
	for _, leaf := range []string{
		"client-admin client system:admin k3s-client-ca",
		"client-supervisor client system:k3s-supervisor k3s-client-ca",
		"client-controller client system:kube-controller-manager k3s-client-ca",
		"client-scheduler client system:kube-scheduler k3s-client-ca",
		"client-kube-apiserver client system:apiserver k3s-client-ca",
		"client-kube-proxy client system:kube-proxy k3s-client-ca",
		"client-k3s-controller client system:k3s-controller k3s-client-ca",
		"client-k3s-cloud-controller client k3s-cloud-controller-manager k3s-client-ca",
		"client-auth-proxy client system:auth-proxy k3s-request-header-ca",
		"serving-kube-apiserver server kube-apiserver k3s-server-ca",
		"kube-scheduler/kube-scheduler server kube-scheduler k3s-server-ca",
		"kube-controller-manager/kube-controller-manager server kube-controller-manager k3s-server-ca",
		"etcd/client client etcd-client etcd-server-ca",
		"etcd/server-client both etcd-server etcd-server-ca",
		"etcd/peer-server-client both etcd-peer etcd-peer-ca",
	} {
		f := strings.Fields(leaf)
		lines = append(lines, fmt.Sprintf("%s/%s.crt 0644+key %s %s<%[5]s@UNIX $leaf & ca %[5]s@UNIX<%[5]s@UNIX $ca", dir, f[0], f[1], f[2], f[3]))
	}
	return expand(map[string]string{"ca": "cluster..cluster+3650d", "leaf": leaf}, strings.Join(lines, "\n")+"\n")
}

// expand puts validities in the place of their names.
func expand(validities map[string]string, table string) string {
	table = strings.NewReplacer("UNIX", fmt.Sprint(now().Add(-checkertest.ClusterAge).Unix()), "TLS/", "/var/lib/rancher/k3s/server/tls/").Replace(table)
	return os.Expand(table, func(name string) string { return validities[name] })
}

func sorted(table string) []string {
	return slices.Sorted(strings.SplitSeq(strings.TrimSpace(strings.ReplaceAll(table, "\n\n", "\n")), "\n"))
}

func write(t *testing.T, layout checkertest.Layout, incident bool) string {
	t.Helper()
	dir := t.TempDir()
	if err := checkertest.Write(dir, layout, checkertest.Options{Now: now(), Incident: incident}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// tree is a generated tree as the lines of a table.
func tree(t *testing.T, layout checkertest.Layout, incident bool) []string {
	t.Helper()
	dir := write(t, layout, incident)
	var lines []string
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || file == dir {
			return err
		}
		info, err := d.Info()
		if line := describe(t, file, info); err == nil && line != "" {
			lines = append(lines, strings.TrimPrefix(file, dir)+line)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}

// describe is what a table says of a file after its path: nothing for keys that
// are told with their certificates, and for directories with the usual mode.
func describe(t *testing.T, file string, info fs.FileInfo) string {
	t.Helper()
	mode := fmt.Sprintf("%04o", info.Mode().Perm())
	switch {
	case info.IsDir() && mode == "0755":
		return ""
	case info.IsDir():
		return "/ " + mode
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(file)
		if err != nil {
			t.Fatal(err)
		}
		return " -> " + target
	}
	text := read(t, file)
	certs, key := parse(t, text)
	switch {
	case bytes.HasPrefix(text, []byte("apiVersion")):
		return " " + mode + " kubeconfig: " + describeKubeconfig(t, text)
	case strings.HasPrefix(string(text), "-----BEGIN PUBLIC KEY"):
		return " " + mode + " public key"
	case len(certs) > 0:
		return " " + mode + keyOf(t, file, key, certs[0]) + " " + names(certs)
	case key != nil && !hasCertificate(file):
		return " " + mode + " key"
	case key != nil:
		return ""
	default:
		return " " + mode + " ???"
	}
}

// keyFiles are where a certificate's key may be, and the inverse.
func keyFiles(cert string) []string {
	base := strings.TrimSuffix(cert, filepath.Ext(cert))
	return []string{base + ".key", base + "-key.pem", filepath.Join(filepath.Dir(cert), "key.pem")}
}

func hasCertificate(key string) bool {
	siblings, _ := filepath.Glob(filepath.Join(filepath.Dir(key), "*"))
	return slices.ContainsFunc(siblings, func(s string) bool {
		return s != key && filepath.Ext(s) != ".pub" && slices.Contains(keyFiles(s), key)
	})
}

// keyOf is "+key" or "+inside" when the certificate's key is there.
func keyOf(t *testing.T, file string, inside crypto.Signer, cert *x509.Certificate) string {
	t.Helper()
	if inside != nil {
		return map[bool]string{true: "+inside", false: "+foreign"}[pairs(cert, inside)]
	}
	for _, name := range keyFiles(file) {
		info, err := os.Stat(name)
		if err != nil {
			continue
		}
		if _, key := parse(t, read(t, name)); key == nil || !pairs(cert, key) {
			return "+foreign"
		}
		return map[bool]string{true: "+key", false: "+open"}[info.Mode().Perm() == 0o600]
	}
	return ""
}

func pairs(cert *x509.Certificate, key crypto.Signer) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(cert.PublicKey)
}

func names(certs []*x509.Certificate) string {
	var all []string
	for _, c := range certs {
		usage := "client"
		switch {
		case c.IsCA:
			usage = "ca"
		case len(c.ExtKeyUsage) == 2:
			usage = "both"
		case c.ExtKeyUsage[0] == x509.ExtKeyUsageServerAuth:
			usage = "server"
		}
		all = append(all, fmt.Sprintf("%s %s<%s %s..%s", usage, c.Subject.CommonName, c.Issuer.CommonName, since(c.NotBefore), since(c.NotAfter)))
	}
	return strings.Join(all, " & ")
}

// since is a time relative to when the cluster was made, where it is about that
// or ten years later, or else to when the node was.
func since(when time.Time) string {
	cluster, node := when.Sub(now().Add(-checkertest.ClusterAge)), when.Sub(now().Add(-checkertest.NodeAge))
	if cluster < 10*day || node > 1000*day {
		return "cluster" + offset(cluster)
	}
	return "node" + offset(node)
}

func offset(d time.Duration) string {
	if d == 0 {
		return ""
	}
	sign := "+"
	if d < 0 {
		sign, d = "-", -d
	}
	days, rest := d/day, d%day
	if days > 0 {
		sign += fmt.Sprintf("%dd", days)
	}
	if rest > 0 {
		sign += strings.TrimSuffix(rest.String(), "0s")
	}
	return sign
}

func describeKubeconfig(t *testing.T, text []byte) string {
	t.Helper()
	var config struct {
		Clusters []struct{ Cluster map[string]string }
		Users    []struct{ User map[string]string }
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	cluster, user := config.Clusters[0].Cluster, config.Users[0].User
	if ref := user["client-certificate"]; ref != "" {
		return cluster["certificate-authority"] + "; " + ref + "; " + user["client-key"]
	}
	decode := func(data string) ([]*x509.Certificate, crypto.Signer) {
		pem, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			t.Fatal(err)
		}
		return parse(t, pem)
	}
	ca, _ := decode(cluster["certificate-authority-data"])
	client, _ := decode(user["client-certificate-data"])
	line := names(ca) + "; " + names(client)
	if _, key := decode(user["client-key-data"]); key != nil && pairs(client[0], key) {
		line += " +key"
	}
	return line
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func certificates(t *testing.T, file string) []*x509.Certificate {
	t.Helper()
	certs, _ := parse(t, read(t, file))
	return certs
}

// parse reads PEM with the standard library alone.
func parse(t *testing.T, text []byte) (certs []*x509.Certificate, key crypto.Signer) {
	t.Helper()
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		var err error
		switch block.Type {
		case "CERTIFICATE":
			var c *x509.Certificate
			c, err = x509.ParseCertificate(block.Bytes)
			certs = append(certs, c)
		case "PRIVATE KEY":
			var parsed any
			parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
			key, _ = parsed.(crypto.Signer)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return certs, key
}
