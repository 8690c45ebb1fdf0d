package proxies

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// backlog is how far the handshakes may fall behind their rate and make up for
// it. A longer stop of the machine is not made up for, and shows in LongestPause.
const backlog = time.Second

// handshakes goes on until ctx ends, one at a time.
func (p *Proxies) handshakes(ctx context.Context) {
	step := time.Second / time.Duration(p.options.Rate)
	timer := time.NewTimer(0)
	defer timer.Stop()
	// Not the proxies' clock: the pace is the machine's.
	next := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		p.handshake()
		next = next.Add(step)
		if late := time.Now().Add(-backlog); next.Before(late) {
			next = late
		}
		timer.Reset(time.Until(next))
	}
}

// handshake lets a random live proxy connect to another.
func (p *Proxies) handshake() {
	client, server, ok := p.population.pair()
	if !ok {
		p.score.idle()
		return
	}
	failure := connect(client, server, p.options.Clock.Now)
	p.score.add(p.options.Clock.Now(), failure)
}

// connect performs a mutual handshake; nil when both sides accept. In TLS 1.3 the
// client is done before the server comes to verify it, so both are asked.
func connect(client, server *process, now func() time.Time) *Failure {
	if client.leaf == nil || server.leaf == nil {
		return &Failure{
			At: now(), Client: client.peer(), Server: server.peer(),
			Reason: NoLeaf, Err: errors.New("one of the two has no certificate"),
		}
	}
	near, far := newPipe()
	served := make(chan error, 1)
	go func() {
		defer far.Close()
		served <- tls.Server(far, server.serverConfig(now)).Handshake()
	}()
	clientErr := tls.Client(near, client.clientConfig(server.dns, now)).Handshake()
	near.Close()
	serverErr := <-served
	if clientErr == nil && serverErr == nil {
		return nil
	}
	failure := &Failure{
		At: now(), Client: client.peer(), Server: server.peer(),
		Reason: Other, Err: errors.Join(clientErr, serverErr),
	}
	var refused *refusal
	if errors.As(failure.Err, &refused) {
		failure.Reason, failure.Err = refused.reason, refused.err
		failure.RefusedByClient = errors.As(clientErr, &refused)
	}
	return failure
}

func (p *process) config(name string, usage x509.ExtKeyUsage, now func() time.Time) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{p.leaf.presented},
		MinVersion:   tls.VersionTLS13,
		Time:         now,
		// The cheapest: what is measured is not the key exchange.
		CurvePreferences:       []tls.CurveID{tls.X25519},
		SessionTicketsDisabled: true, // each handshake in full
		VerifyConnection: func(s tls.ConnectionState) error {
			if r := p.trust.verify(s.PeerCertificates, expectation{name, usage, now()}); r != nil {
				return r
			}
			return nil
		},
	}
}

func (p *process) clientConfig(server string, now func() time.Time) *tls.Config {
	c := p.config(server, x509.ExtKeyUsageServerAuth, now)
	c.ServerName = server
	c.InsecureSkipVerify = true // VerifyConnection does it, without the anchors' expiry
	return c
}

func (p *process) serverConfig(now func() time.Time) *tls.Config {
	c := p.config("", x509.ExtKeyUsageClientAuth, now)
	c.ClientAuth = tls.RequireAnyClientCert
	return c
}

// end is one of a pipe's two. Other than net.Pipe's, writes do not wait for the
// reader: with both sides writing, an alert for one, these would wait for ever.
type end struct {
	net.Conn // none: what a handshake does not call is not there
	in       <-chan []byte
	out      chan<- []byte
	unread   []byte
	closing  sync.Once
}

// newPipe has room for more writes than a handshake has.
func newPipe() (*end, *end) {
	const writes = 64
	there, back := make(chan []byte, writes), make(chan []byte, writes)
	return &end{in: back, out: there}, &end{in: there, out: back}
}

func (e *end) Read(b []byte) (int, error) {
	if len(e.unread) == 0 {
		chunk, ok := <-e.in
		if !ok {
			return 0, io.EOF
		}
		e.unread = chunk
	}
	n := copy(b, e.unread)
	e.unread = e.unread[n:]
	return n, nil
}

func (e *end) Write(b []byte) (int, error) {
	e.out <- bytes.Clone(b)
	return len(b), nil
}

func (e *end) Close() error {
	e.closing.Do(func() { close(e.out) })
	return nil
}
