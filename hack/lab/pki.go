package lab

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// certificateLife is that of everything the lab's own CA signs: longer than any
// lab lives, and backdated for a clock that is set back.
const certificateLife = 365 * 24 * time.Hour

// authority is the lab's CA. It signs the API server's serving certificate and
// every client's; it has nothing to do with the mesh under test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	now  time.Time
}

// identity is a certificate and its key, both PEM.
type identity struct{ cert, key []byte }

func newAuthority(now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating the lab's CA key: %w", err)
	}
	template := template(now, pkix.Name{CommonName: "reanchor-lab"})
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("signing the lab's CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parsing the lab's CA: %w", err)
	}
	return &authority{cert: cert, key: key, now: now}, nil
}

func (a *authority) pem() []byte { return certificatePEM(a.cert.Raw) }

// server issues a serving certificate for loopback.
func (a *authority) server() (identity, error) {
	t := template(a.now, pkix.Name{CommonName: "kube-apiserver"})
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	t.DNSNames = []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}
	t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	return a.issue(t)
}

// client issues a certificate that the API server takes for user in groups.
func (a *authority) client(user string, groups ...string) (identity, error) {
	t := template(a.now, pkix.Name{CommonName: user, Organization: groups})
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return a.issue(t)
}

func (a *authority) issue(t *x509.Certificate) (identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return identity{}, fmt.Errorf("generating the key of %s: %w", t.Subject.CommonName, err)
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return identity{}, fmt.Errorf("signing the certificate of %s: %w", t.Subject.CommonName, err)
	}
	keyPEM, err := privatePEM(key)
	if err != nil {
		return identity{}, err
	}
	return identity{cert: certificatePEM(der), key: keyPEM}, nil
}

func template(now time.Time, subject pkix.Name) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // never fails since Go 1.24
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(certificateLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func privatePEM(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Files of a lab's folder that more than one component reads.
const (
	caFile             = "ca.crt"
	servingCertFile    = "apiserver.crt"
	servingKeyFile     = "apiserver.key"
	serviceAccountFile = "service-account.key"
	serviceAccountPub  = "service-account.pub"
	adminKubeconfig    = "kubeconfig"
)

// writePKI writes everything that the components read their identities from.
func writePKI(dir, server string, now time.Time) error {
	ca, err := newAuthority(now)
	if err != nil {
		return err
	}
	serving, err := ca.server()
	if err != nil {
		return err
	}
	files := map[string][]byte{caFile: ca.pem(), servingCertFile: serving.cert, servingKeyFile: serving.key}
	if err := addServiceAccountKeys(files); err != nil {
		return err
	}
	if err := addKubeconfigs(files, ca, server); err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return fmt.Errorf("writing the lab's certificates: %w", err)
		}
	}
	return nil
}

func addServiceAccountKeys(files map[string][]byte) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("generating the service account key: %w", err)
	}
	if files[serviceAccountFile], err = privatePEM(key); err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("encoding the service account key: %w", err)
	}
	files[serviceAccountPub] = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return nil
}

// addKubeconfigs adds the administrator's kubeconfig and one per component that
// is a client. Only the two Kubernetes has roles for run under RBAC; the rest are
// administrators under a name of their own, which shows in managedFields.
func addKubeconfigs(files map[string][]byte, ca *authority, server string) error {
	const admins = "system:masters"
	users := map[string]struct {
		name   string
		groups []string
	}{
		adminKubeconfig:                   {name: "admin", groups: []string{admins}},
		kubeconfigFile(ControllerManager): {name: "system:kube-controller-manager"},
		kubeconfigFile(Scheduler):         {name: "system:kube-scheduler"},
		kubeconfigFile(Kwok):              {name: "kwok", groups: []string{admins}},
		kubeconfigFile(CertManager):       {name: "cert-manager", groups: []string{admins}},
		kubeconfigFile(TrustManager):      {name: "trust-manager", groups: []string{admins}},
	}
	for file, user := range users {
		id, err := ca.client(user.name, user.groups...)
		if err != nil {
			return err
		}
		if files[file], err = kubeconfig(server, ca.pem(), id); err != nil {
			return err
		}
	}
	return nil
}

func kubeconfigFile(c Component) string { return string(c) + ".kubeconfig" }

func kubeconfig(server string, ca []byte, id identity) ([]byte, error) {
	const name = "reanchor-lab"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: id.cert, ClientKeyData: id.key}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	data, err := clientcmd.Write(*config)
	if err != nil {
		return nil, fmt.Errorf("encoding a kubeconfig: %w", err)
	}
	return data, nil
}
