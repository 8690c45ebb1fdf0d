package checkertest

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const day = 24 * time.Hour

// Layout names a kind of node.
type Layout string

// The layouts that Write knows.
const (
	Kubeadm Layout = "kubeadm"
	Kops118 Layout = "kops-1.18"
	Kops121 Layout = "kops-1.21"
	Kops130 Layout = "kops-1.30"
	K3s     Layout = "k3s"
	RKE2    Layout = "rke2"
)

// Layouts are all of them.
func Layouts() []Layout { return []Layout{Kubeadm, Kops118, Kops121, Kops130, K3s, RKE2} }

// Options vary a tree.
type Options struct {
	// Now is when the tree is looked at: NodeAge after the node's leaves were
	// issued, and ClusterAge after its CAs were.
	Now time.Time
	// Incident makes the etcd leaves on the main volume of a kops node expired,
	// as an etcd-manager before 3.0.20200428 leaves them even when the node is
	// new, and adds the directory of a token that is no longer in use.
	Incident bool
}

// The ages of a generated cluster and node.
const (
	ClusterAge = 800 * day
	NodeAge    = 30 * day
)

// Token and OrphanToken are the directory names on a generated main volume.
// Real ones may start with a dash, so this one does.
const (
	Token       = "-k3Vq0Zp8TtWmB1nXyL2ew"
	OrphanToken = "Q9xW2cVbN5mLkJhGfDsA1g"
	// Node is the node's name in the certificates.
	Node = "etcd-a"
	// MainVolume is where the main etcd's volume is mounted.
	MainVolume = "/mnt/master-vol-0a1b2c3d4e5f60718"
)

// Write makes a tree below dir.
func Write(dir string, layout Layout, o Options) error {
	if o.Now.IsZero() {
		return errors.New("writing a tree: Options.Now is not set")
	}
	t := &tree{dir: dir, founded: o.Now.Add(-ClusterAge), born: o.Now.Add(-NodeAge), options: o}
	switch layout {
	case Kubeadm:
		t.kubeadm()
	case Kops118, Kops121, Kops130:
		t.kops(kopsNodes()[layout])
	case K3s, RKE2:
		t.rancher(string(layout))
	default:
		return fmt.Errorf("writing a tree: layout %q is none of %v", layout, Layouts())
	}
	return t.err
}

// tree writes files; the first error stops it.
type tree struct {
	dir string
	// founded is when the cluster was made, born when the node was.
	founded, born time.Time
	// backdated is how much earlier a CA says it is valid.
	backdated time.Duration
	options   Options
	err       error
}

func (t *tree) write(path string, mode os.FileMode, data []byte) {
	if t.err != nil {
		return
	}
	full := filepath.Join(t.dir, path)
	if t.err = os.MkdirAll(filepath.Dir(full), 0o755); t.err != nil {
		return
	}
	if t.err = os.WriteFile(full, data, mode); t.err == nil {
		t.err = os.Chmod(full, mode)
	}
}

func (t *tree) symlink(path, target string) {
	if t.err == nil {
		t.err = os.Symlink(target, filepath.Join(t.dir, path))
	}
}

// mkdir makes a directory with a mode, and its parents with the usual one.
func (t *tree) mkdir(path string, mode os.FileMode) {
	full := filepath.Join(t.dir, path)
	if t.err == nil {
		t.err = os.MkdirAll(full, 0o755)
	}
	if t.err == nil {
		t.err = os.Chmod(full, mode)
	}
}

// ca issues a root that lives ten years.
func (t *tree) ca(cn string) *Pair {
	return t.issue(Spec{CN: cn, CA: true, NotBefore: t.founded.Add(-t.backdated), NotAfter: t.founded.Add(3650 * day)}, nil)
}

// issue makes a certificate, for a year unless spec says otherwise.
func (t *tree) issue(spec Spec, parent *Pair) *Pair {
	if t.err != nil {
		return nil
	}
	if spec.NotBefore.IsZero() {
		spec.NotBefore = t.born
		if parent != nil {
			// kubeadm, etcd-manager and k3s copy it from the CA.
			spec.NotBefore = parent.Cert.NotBefore
		}
	}
	if spec.NotAfter.IsZero() {
		spec.NotAfter = t.born.Add(365 * day)
	}
	p, err := Issue(spec, parent)
	t.err = err
	return p
}

// pair writes certificate and key; chain is appended to the certificate's file.
func (t *tree) pair(cert, key string, p *Pair, chain ...*Pair) {
	t.cert(cert, p, chain...)
	t.write(key, 0o600, t.keyPEM(p))
}

func (t *tree) keyPEM(p *Pair) (data []byte) {
	if t.err == nil {
		data, t.err = p.KeyPEM()
	}
	return data
}

// publicPEM is the public half of the key.
func (t *tree) publicPEM(p *Pair) []byte {
	der, err := x509.MarshalPKIXPublicKey(p.Key.Public())
	t.err = errors.Join(t.err, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func (t *tree) cert(path string, p *Pair, chain ...*Pair) {
	if t.err != nil {
		return
	}
	data := p.CertPEM()
	for _, c := range chain {
		data = append(data, c.CertPEM()...)
	}
	t.write(path, 0o644, data)
}

// crtKey writes base.crt and base.key.
func (t *tree) crtKey(base string, p *Pair, chain ...*Pair) {
	t.pair(base+".crt", base+".key", p, chain...)
}

// kubeconfig writes one with embedded data.
func (t *tree) kubeconfig(path, user string, ca, client *Pair) {
	key := t.keyPEM(client)
	if t.err != nil {
		return
	}
	encode := base64.StdEncoding.EncodeToString
	t.kubeconfigText(path, user, "certificate-authority-data: "+encode(ca.CertPEM()),
		"client-certificate-data: "+encode(client.CertPEM())+"\n    client-key-data: "+encode(key))
}

// kubeconfigRefs writes one that refers to files.
func (t *tree) kubeconfigRefs(path, ca, cert, key string) {
	t.kubeconfigText(path, "user", "certificate-authority: "+ca, "client-certificate: "+cert+"\n    client-key: "+key)
}

func (t *tree) kubeconfigText(path, user, authority, client string) {
	t.write(path, 0o600, []byte(strings.TrimLeft(fmt.Sprintf(`
apiVersion: v1
kind: Config
current-context: default
clusters:
- name: local
  cluster:
    server: https://127.0.0.1:6443
    %s
contexts:
- name: default
  context: {cluster: local, user: %s}
users:
- name: %s
  user:
    %s
`, authority, user, user, client), "\n")))
}
