package main

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/reanchor/reanchor/checker/checkertest"
)

// patience is for a busy machine.
const patience = time.Minute

// counting is a TLS server that counts handshakes.
func counting(t *testing.T) (address string, handshakes *atomic.Int32) {
	t.Helper()
	p, err := checkertest.Issue(checkertest.Spec{CN: "server", CA: true, IPs: []string{"127.0.0.1"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(longLife)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	handshakes = &atomic.Int32{}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		handshakes.Add(1)
		return &tls.Certificate{Certificate: [][]byte{p.Cert.Raw}, PrivateKey: p.Key}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func(conn net.Conn) {
				defer conn.Close()
				conn.Write([]byte("."))
			}(conn)
		}
	}()
	return l.Addr().String(), handshakes
}

// TestServingProbesSparingly: files are looked at in every survey, servers every
// five minutes, and both on SIGHUP.
func TestServingProbesSparingly(t *testing.T) {
	address, handshakes := counting(t)
	ctx, cancel := context.WithCancel(t.Context())
	logs := syncBuffer{make(chan string, 1000)}
	done := make(chan error, 1)
	args := []string{"check", "--serve", "--listen-address", "127.0.0.1:0", "--no-processes", "--interval", "10ms", "--endpoint", address, caFile(t, longLife)}
	go func() { done <- run(ctx, args, streams{io.Discard, logs}) }()
	surveys := func(n int) {
		t.Helper()
		for n > 0 {
			select {
			case line := <-logs.lines:
				if strings.HasPrefix(line, "OK: ") {
					n--
				}
			case err := <-done:
				t.Fatalf("the daemon ended: %v", err)
			case <-time.After(patience):
				t.Fatal("the daemon says nothing")
			}
		}
	}
	surveys(5)
	if n := handshakes.Load(); n != 1 {
		t.Errorf("%d probes in five surveys within seconds, want 1", n)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); handshakes.Load() < 2 && time.Now().Before(deadline); {
		surveys(1)
	}
	surveys(3)
	if n := handshakes.Load(); n != 2 {
		t.Errorf("%d probes after SIGHUP, want 2", n)
	}
	cancel()
	for {
		select {
		case <-logs.lines:
		case err := <-done:
			if err != nil {
				t.Errorf("told to end: %v", err)
			}
			return
		}
	}
}
