package admission

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// ports is the number of addresses of a balancer, all alike: an API server that
// is told of another one makes a new connection.
const ports = 6

// balancer stands for the Service: each new connection goes to a ready replica,
// each in turn, and is refused when there is none.
type balancer struct {
	listeners []net.Listener
	backends  []*replica
	turn      atomic.Int64
	accepted  atomic.Int64

	mu   sync.Mutex
	open map[net.Conn]int // the port by which it came
}

func newBalancer() (*balancer, error) {
	b := &balancer{open: map[net.Conn]int{}}
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		b.listeners = append(b.listeners, l)
		go b.accept(l, i)
	}
	return b, nil
}

func (b *balancer) url(port int) string {
	return fmt.Sprintf("https://localhost:%d", b.listeners[port].Addr().(*net.TCPAddr).Port)
}

func (b *balancer) accept(l net.Listener, port int) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go b.forward(conn, port)
	}
}

func (b *balancer) forward(conn net.Conn, port int) {
	defer conn.Close()
	back := b.dial()
	if back == nil {
		return
	}
	defer back.Close()
	b.accepted.Add(1)
	b.remember(conn, port)
	defer b.forget(conn)
	go func() {
		_, _ = io.Copy(back, conn)
		_ = back.Close()
	}()
	_, _ = io.Copy(conn, back)
}

func (b *balancer) dial() net.Conn {
	for range b.backends {
		r := b.backends[int(b.turn.Add(1))%len(b.backends)]
		if !r.ready.Load() {
			continue
		}
		if conn, err := net.Dial("tcp", r.webhook); err == nil {
			return conn
		}
	}
	return nil
}

func (b *balancer) remember(c net.Conn, port int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open[c] = port
}

func (b *balancer) forget(c net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, c)
}

// cut closes the connections that came by a port.
func (b *balancer) cut(port int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c, p := range b.open {
		if p == port {
			_ = c.Close()
		}
	}
}

func (b *balancer) close() {
	for i, l := range b.listeners {
		_ = l.Close()
		b.cut(i)
	}
}
