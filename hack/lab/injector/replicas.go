package injector

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// replica is one server with its own view of the bundle.
type replica struct {
	pod      types.UID // "" when it is no pod
	place    *place
	ready    bool
	server   *http.Server
	incoming *incoming
	// since is the oldest moment as of which its file may be read: it was mounted
	// then, or had been read by then.
	since time.Time
}

// place is what outlives a replica: a pod that takes another's place has its lag
// and adds to its count.
type place struct {
	lag      time.Duration
	served   int
	occupied bool
}

// replicas are the servers behind the balancer.
type replicas struct {
	options Options
	tls     *tls.Config
	answer  func(r *replica) http.HandlerFunc

	mu     sync.Mutex
	all    []*replica
	places []*place
	next   int
}

func newReplicas(o Options, certificate, key []byte, answer func(r *replica) http.HandlerFunc) (*replicas, error) {
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("reading the injector's certificate: %w", err)
	}
	// HTTP/1.1 only: over HTTP/2 the API server would use one connection, and
	// the balancer one replica.
	config := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}
	return &replicas{options: o, tls: config, answer: answer}, nil
}

// add starts a replica in the first free place. A pod's becomes ready later.
func (rs *replicas) add(pod types.UID) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := &replica{
		pod: pod, place: rs.freePlace(), ready: pod == "",
		incoming: newIncoming(), since: rs.options.Clock.Now(),
	}
	r.place.occupied = true
	r.server = &http.Server{
		Handler: rs.answer(r), ReadHeaderTimeout: time.Minute,
		// The API server's dropped connections are no news.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	r.server.SetKeepAlivesEnabled(!rs.options.ConnectionPerRequest)
	rs.all = append(rs.all, r)
	go r.server.Serve(tls.NewListener(r.incoming, rs.tls))
}

func (rs *replicas) freePlace() *place {
	for _, p := range rs.places {
		if !p.occupied {
			return p
		}
	}
	return rs.place(len(rs.places))
}

// place n, made when it is new.
func (rs *replicas) place(n int) *place {
	for len(rs.places) <= n {
		p := &place{}
		if lags := rs.options.Lags; len(lags) > 0 {
			p.lag = lags[len(rs.places)%len(lags)]
		}
		rs.places = append(rs.places, p)
	}
	return rs.places[n]
}

// setReady lets a pod's replica take connections, or no more; it starts one when
// the pod is new.
func (rs *replicas) setReady(pod types.UID, ready bool) {
	if rs.find(pod) == nil {
		if !ready {
			return
		}
		rs.add(pod)
	}
	r := rs.find(pod)
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r.ready = ready
}

func (rs *replicas) find(pod types.UID) *replica {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if i := slices.IndexFunc(rs.all, func(r *replica) bool { return r.pod == pod }); i >= 0 {
		return rs.all[i]
	}
	return nil
}

// remove ends a pod's replica and its connections.
func (rs *replicas) remove(pod types.UID) {
	r := rs.find(pod)
	if r == nil {
		return
	}
	rs.mu.Lock()
	rs.all = slices.DeleteFunc(rs.all, func(other *replica) bool { return other == r })
	r.place.occupied = false
	rs.mu.Unlock()
	r.server.Close()
}

func (rs *replicas) close() {
	rs.mu.Lock()
	all := rs.all
	rs.all = nil
	rs.mu.Unlock()
	for _, r := range all {
		r.server.Close()
	}
}

// balance hands each connection to the next ready replica, or closes it when
// there is none, until the listener is closed.
func (rs *replicas) balance(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		if r := rs.pick(); r == nil || !r.incoming.offer(conn) {
			conn.Close()
		}
	}
}

func (rs *replicas) pick() *replica {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for range rs.all {
		r := rs.all[rs.next%len(rs.all)]
		rs.next++
		if r.ready {
			return r
		}
	}
	return nil
}

// cut is the moment as of which a replica's file reads now, and counts a review.
func (rs *replicas) cut(r *replica) time.Time {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r.place.served++
	return rs.cutLocked(r)
}

func (rs *replicas) cutLocked(r *replica) time.Time {
	cut := rs.options.Clock.Now().Add(-r.place.lag)
	if cut.Before(r.since) {
		return r.since
	}
	return cut
}

func (rs *replicas) setLag(n int, lag time.Duration) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	p := rs.place(n)
	for _, r := range rs.all {
		if r.place == p {
			r.since = rs.cutLocked(r)
		}
	}
	p.lag = lag
}

func (rs *replicas) servedBy(n int) int {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if n >= len(rs.places) {
		return 0
	}
	return rs.places[n].served
}

// incoming is the listener of one replica, fed by the balancer.
type incoming struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newIncoming() *incoming {
	return &incoming{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// offer is false when the replica has ended.
func (in *incoming) offer(conn net.Conn) bool {
	select {
	case in.conns <- conn:
		return true
	case <-in.closed:
		return false
	}
}

func (in *incoming) Accept() (net.Conn, error) {
	select {
	case conn := <-in.conns:
		return conn, nil
	case <-in.closed:
		return nil, net.ErrClosed
	}
}

func (in *incoming) Close() error {
	in.once.Do(func() { close(in.closed) })
	return nil
}

func (in *incoming) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
