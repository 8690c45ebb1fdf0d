package proxies

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reanchor/reanchor/hack/lab/identity"
)

// run is one start of a container.
type run struct {
	at       int64 // seconds, as the API has it
	restarts int32
}

// process is one proxy, from the start of its container to the next. It is
// written by the goroutine that refreshes, under the population's lock.
type process struct {
	uid  types.UID
	name types.NamespacedName
	dns  string // its identity
	run  run
	// variable is where its anchors come from, nil when it has none; trust is nil
	// until they are known.
	variable *corev1.EnvVar
	trust    *trust
	key      *ecdsa.PrivateKey
	// leaf is what it presents; nil before the first.
	leaf *leaf
	// asked tells whether it has tried to get a leaf, refreshAt when it tries next.
	asked     bool
	refreshAt time.Time
}

// leaf is a certificate with its key, ready to be presented. It never changes.
type leaf struct {
	presented           tls.Certificate
	fingerprint, issuer string
	notAfter            time.Time
}

func newProcess(pod *corev1.Pod, r run, controlPlane string) *process {
	account := pod.Spec.ServiceAccountName
	if account == "" {
		account = "default"
	}
	return &process{
		uid: pod.UID, name: types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}, run: r,
		dns:      fmt.Sprintf("%s.%s.serviceaccount.identity.%s.cluster.local", account, pod.Namespace, controlPlane),
		variable: anchorsOf(pod),
	}
}

func anchorsOf(pod *corev1.Pod) *corev1.EnvVar {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range list {
			for i := range c.Env {
				if c.Name == proxyContainer && c.Env[i].Name == anchorsVariable {
					return &c.Env[i]
				}
			}
		}
	}
	return nil
}

func (p *process) peer() Peer {
	peer := Peer{Namespace: p.name.Namespace, Name: p.name.Name}
	if p.trust != nil {
		peer.Anchors = p.trust.fingerprints
	}
	if p.leaf != nil {
		peer.Leaf, peer.Issuer, peer.NotAfter = p.leaf.fingerprint, p.leaf.issuer, p.leaf.notAfter
	}
	return peer
}

// Why a process has no new leaf. What else goes wrong is about its anchors.
var (
	errNotYet   = errors.New("the kubelet has not yet seen the container start")
	errUnsigned = errors.New("identity gave no leaf")
	errRejected = errors.New("the anchors do not verify the leaf")
)

// certifier gets leaves for processes.
type certifier struct {
	identity Signer
	kubelet  Resolver
}

// certify gets a process a leaf that its anchors verify. What it learns is
// returned, not written into the process.
func (c certifier) certify(p process, now time.Time) (process, error) {
	if p.trust == nil {
		text, err := c.anchors(&p)
		if err != nil {
			return p, err
		}
		if p.trust, err = parseTrust(text); err != nil {
			return p, err
		}
	}
	if p.key == nil {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return p, fmt.Errorf("generating a proxy's key: %w", err)
		}
		p.key = key
	}
	signed, err := c.identity.Sign(identity.Request{Pod: p.uid, Name: p.dns, Key: &p.key.PublicKey})
	if err != nil {
		return p, fmt.Errorf("%w: %w", errUnsigned, err)
	}
	chain, err := parseChain(signed.Chain)
	if err != nil {
		return p, err
	}
	if r := p.trust.verify(chain, expectation{p.dns, x509.ExtKeyUsageServerAuth, now}); r != nil {
		return p, fmt.Errorf("%w: %w", errRejected, r)
	}
	p.leaf = &leaf{
		presented:   tls.Certificate{Certificate: signed.Chain, PrivateKey: p.key, Leaf: chain[0]},
		fingerprint: identity.Fingerprint(signed.Chain[0]), notAfter: chain[0].NotAfter,
	}
	if len(chain) > 1 {
		p.leaf.issuer = identity.Fingerprint(signed.Chain[1])
	}
	return p, nil
}

// anchors is the text that the container got when it started.
func (c certifier) anchors(p *process) (string, error) {
	if p.variable == nil {
		return "", errors.New("the proxy has no variable " + anchorsVariable)
	}
	if p.variable.ValueFrom == nil {
		return p.variable.Value, nil
	}
	if c.kubelet == nil {
		return "", errors.New("the anchors are a reference, and there is no kubelet to resolve it: set Options.Kubelet")
	}
	resolved, ok := c.kubelet.Resolved(p.uid, proxyContainer)
	if !ok || resolved.StartedAt.Unix() != p.run.at {
		return "", errNotYet
	}
	return resolved.Env[anchorsVariable], nil
}

func parseChain(ders [][]byte) ([]*x509.Certificate, error) {
	chain := make([]*x509.Certificate, 0, len(ders))
	for _, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("reading a leaf's chain: %w", err)
		}
		chain = append(chain, c)
	}
	return chain, nil
}
