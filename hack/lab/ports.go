package lab

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are taken below 32768, where Linux and macOS begin to hand out ports to
// outgoing connections: a component that is restarted on its port must not find
// it taken by somebody's client.
const (
	firstPort = 20000
	lastPort  = 32000
	blockSize = 4 // the guard, etcd's two, the API server's
)

// ports is a block of ports that is one lab's own.
type ports struct {
	guard                     net.Listener
	etcd, etcdPeer, apiServer int
}

// reservePorts finds a free block and holds it by listening on its first port
// for as long as the lab lives. The others stay reserved while the component
// that uses them is down, because every lab asks for the first.
func reservePorts() (*ports, error) {
	blocks := (lastPort - firstPort) / blockSize
	for _, block := range rand.Perm(blocks) {
		base := firstPort + block*blockSize
		guard, err := listen(base)
		if err != nil {
			continue
		}
		if allFree(base+1, base+blockSize) {
			return &ports{guard: guard, etcd: base + 1, etcdPeer: base + 2, apiServer: base + 3}, nil
		}
		guard.Close()
	}
	return nil, errors.New("finding free ports: none left between " +
		strconv.Itoa(firstPort) + " and " + strconv.Itoa(lastPort))
}

func (p *ports) release() { p.guard.Close() }

// FreeAddress is one of the loopback on which nobody listens at this moment, for a
// program that is to serve there: it is no lab's, and no client gets its port
// before that program listens, or while it is restarted.
func FreeAddress() (string, error) {
	p, err := reservePorts()
	if err != nil {
		return "", err
	}
	defer p.release()
	return address(p.etcd + rand.IntN(blockSize-1)), nil
}

func allFree(from, to int) bool {
	for port := from; port < to; port++ {
		l, err := listen(port)
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", address(port))
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
