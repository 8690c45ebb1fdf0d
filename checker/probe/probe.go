// Package probe reads the certificate that a TLS server really serves.
//
// It needs no client key: a server that demands one shows its own certificate
// first, so a handshake that fails afterwards was still a success here. Nothing
// is verified while dialling (expired certificates must be readable); that is
// the checker's job. No name is sent as SNI unless the endpoint is known to
// have it: k3s used to add any name it was asked for to its certificate.
//
// Each probe makes etcd log one rejected connection, so a daemon keeps the
// answers for a while: package survey says how long.
package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/reanchor/reanchor/checker"
)

// Target is one server to look at.
type Target struct {
	// Addresses are host:port in order of preference; the first that accepts a
	// connection is used.
	Addresses []string
	// Endpoint is what is known beforehand; the probe fills in the rest.
	Endpoint checker.Endpoint
}

// Prober probes.
type Prober struct {
	// Timeout bounds one connection and its handshake.
	Timeout time.Duration
}

// parallel is how many servers are probed at the same time.
const parallel = 8

// Probe looks at every target, in the order given.
func (p Prober) Probe(ctx context.Context, targets []Target) []checker.Endpoint {
	endpoints := make([]checker.Endpoint, len(targets))
	slots := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	for i := range targets {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			endpoints[i] = p.one(ctx, &targets[i])
		})
	}
	wg.Wait()
	return endpoints
}

func (p Prober) one(ctx context.Context, t *Target) checker.Endpoint {
	e := t.Endpoint
	e.State, e.Address = checker.EndpointUnreachable, t.Addresses[0]
	var details []string
	for _, address := range t.Addresses {
		conn, err := p.dial(ctx, address)
		if err != nil {
			details = append(details, reason(err))
			continue
		}
		e.Address = address
		p.handshake(ctx, conn, &e)
		return e
	}
	e.Detail = details[0]
	return e
}

func (p Prober) dial(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("dialling %s: %w", address, err)
	}
	return conn, nil
}

// handshake reads the chain. In TLS 1.2 a missing client certificate fails the
// handshake after the server's certificate was seen; in TLS 1.3 it does not
// fail at all.
func (p Prober) handshake(ctx context.Context, conn net.Conn, e *checker.Endpoint) {
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	var chain []*x509.Certificate
	err := tls.Client(conn, &tls.Config{
		InsecureSkipVerify: true, // reading, not trusting
		ServerName:         e.ServerName,
		MinVersion:         tls.VersionTLS10,
		CipherSuites:       everyCipherSuite(),
		VerifyConnection: func(s tls.ConnectionState) error {
			chain = s.PeerCertificates
			return nil
		},
	}).HandshakeContext(ctx)
	if len(chain) == 0 {
		e.State, e.Detail = silence(err)
		return
	}
	e.State = checker.EndpointServing
	for _, c := range chain {
		e.Chain = append(e.Chain, checker.NewCert(c))
	}
}

// silence says why no certificate was seen although something accepted the
// connection.
func silence(err error) (checker.EndpointState, string) {
	var record tls.RecordHeaderError
	if errors.As(err, &record) {
		return checker.EndpointNotTLS, "the port answers in another protocol than TLS"
	}
	return checker.EndpointUnreachable, "connected, but no certificate was served: " + reason(err)
}

// everyCipherSuite: an old server is to be read, not trusted.
func everyCipherSuite() []uint16 {
	var ids []uint16
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		ids = append(ids, s.ID)
	}
	return ids
}

// reason is short: the address is known already.
func reason(err error) string {
	var errno syscall.Errno
	var dns *net.DNSError
	switch {
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "timed out"
	case errors.As(err, &dns):
		return "the name does not resolve"
	case errors.Is(err, io.EOF):
		return "the connection was closed"
	case err == nil:
		return "the handshake ended without one"
	default:
		return err.Error()
	}
}
