package checkertest

import (
	"encoding/base64"
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
	// Now is when the tree is looked at; the healthy tree is 30 days old then.
	Now time.Time
	// Incident makes the etcd leaves on the main volume of a kops node expired,
	// and adds the directory of a token that is no longer in use.
	Incident bool
}

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
	t := &tree{dir: dir, born: o.Now.Add(-30 * day), options: o}
	switch layout {
	case Kubeadm:
		t.kubeadm()
	case Kops118, Kops121, Kops130:
		t.kops(layout)
	case K3s:
		t.k3s("/var/lib/rancher/k3s", "/etc/rancher/k3s/k3s.yaml", "k3s")
	case RKE2:
		t.k3s("/var/lib/rancher/rke2", "/etc/rancher/rke2/rke2.yaml", "rke2")
	default:
		return fmt.Errorf("writing a tree: layout %q is none of %v", layout, Layouts())
	}
	return t.err
}

// tree writes files; the first error stops it.
type tree struct {
	dir     string
	born    time.Time
	options Options
	err     error
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

func (t *tree) mkdir(path string) {
	if t.err == nil {
		t.err = os.MkdirAll(filepath.Join(t.dir, path), 0o755)
	}
}

// ca issues a root that lives ten years.
func (t *tree) ca(cn string) *Pair {
	return t.issue(Spec{CN: cn, CA: true, NotBefore: t.born.Add(-48 * time.Hour), NotAfter: t.born.Add(3650 * day)}, nil)
}

func (t *tree) issue(spec Spec, parent *Pair) *Pair {
	if t.err != nil {
		return nil
	}
	if spec.NotBefore.IsZero() {
		spec.NotBefore = t.born
		if parent != nil {
			// kubeadm and etcd-manager copy it from the CA.
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
	if t.err != nil || key == "" {
		return
	}
	var data []byte
	if data, t.err = p.KeyPEM(); t.err == nil {
		t.write(key, 0o600, data)
	}
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

// kubeconfig writes one with embedded data, or with paths if refs is given.
func (t *tree) kubeconfig(path, user string, ca, client *Pair) {
	if t.err != nil {
		return
	}
	var key []byte
	if key, t.err = client.KeyPEM(); t.err != nil {
		return
	}
	encode := base64.StdEncoding.EncodeToString
	t.kubeconfigText(path, user, "certificate-authority-data: "+encode(ca.CertPEM()),
		"client-certificate-data: "+encode(client.CertPEM())+"\n    client-key-data: "+encode(key))
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
