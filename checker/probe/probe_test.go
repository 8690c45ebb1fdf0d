package probe_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/checkertest"
	"github.com/reanchor/reanchor/checker/probe"
	"github.com/reanchor/reanchor/checker/profile"
)

func issue(t *testing.T, cn string, ends time.Duration) *checkertest.Pair {
	t.Helper()
	p, err := checkertest.Issue(checkertest.Spec{CN: cn, DNS: []string{cn}, IPs: []string{"127.0.0.1"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(ends)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func certificate(p *checkertest.Pair) tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{p.Cert.Raw}, PrivateKey: p.Key}
}

// serve accepts connections with a TLS configuration and greets.
func serve(t *testing.T, config *tls.Config) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
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
			go func() {
				defer conn.Close()
				fmt.Fprintln(conn, "hello")
			}()
		}
	}()
	return l.Addr().String()
}

func one(t *testing.T, e checker.Endpoint, addresses ...string) checker.Endpoint {
	t.Helper()
	return probe.Prober{Timeout: 2 * time.Second}.Probe(t.Context(), []probe.Target{{Addresses: addresses, Endpoint: e}})[0]
}

func TestACertificateIsReadWithoutAClientKey(t *testing.T) {
	for name, version := range map[string]uint16{"TLS 1.0": tls.VersionTLS10, "TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			pair := issue(t, "etcd", time.Hour)
			address := serve(t, &tls.Config{
				Certificates: []tls.Certificate{certificate(pair)}, MinVersion: version, MaxVersion: version,
				ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool(),
			})
			got := one(t, checker.Endpoint{}, address)
			if got.State != checker.EndpointServing || len(got.Chain) != 1 || got.Chain[0].Fingerprint != pair.Checked().Fingerprint {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// TestAGRPCServerIsRead: etcd-manager speaks HTTP/2 alone, and only with clients
// that have a certificate.
func TestAGRPCServerIsRead(t *testing.T) {
	pair := issue(t, "etcd-manager-server-etcd-a", time.Hour)
	address := serve(t, &tls.Config{
		Certificates: []tls.Certificate{certificate(pair)}, NextProtos: []string{"h2"},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool(),
	})
	got := one(t, checker.Endpoint{}, address)
	if got.State != checker.EndpointServing || got.Chain[0].Fingerprint != pair.Checked().Fingerprint {
		t.Errorf("got %+v", got)
	}
}

func TestAnExpiredCertificateIsRead(t *testing.T) {
	pair := issue(t, "dead", -time.Hour)
	got := one(t, checker.Endpoint{}, serve(t, &tls.Config{Certificates: []tls.Certificate{certificate(pair)}}))
	if got.State != checker.EndpointServing || !got.Chain[0].NotAfter.Equal(pair.Cert.NotAfter) {
		t.Errorf("got %+v", got)
	}
}

func TestPlainHTTPIsAState(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	got := one(t, checker.Endpoint{}, strings.TrimPrefix(server.URL, "http://"))
	if got.State != checker.EndpointNotTLS || len(got.Chain) != 0 {
		t.Errorf("got %+v, want not_tls", got)
	}
}

// closedPort is one that nothing listens on.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestNobodyThere(t *testing.T) {
	address := closedPort(t)
	got := one(t, checker.Endpoint{}, address)
	want := checker.Endpoint{Address: address, State: checker.EndpointUnreachable, Detail: "connection refused"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheFirstAddressThatAnswersIsUsed(t *testing.T) {
	pair := issue(t, "etcd", time.Hour)
	address := serve(t, &tls.Config{Certificates: []tls.Certificate{certificate(pair)}})
	got := one(t, checker.Endpoint{}, closedPort(t), address)
	if got.State != checker.EndpointServing || got.Address != address {
		t.Errorf("got %s at %s, want serving at %s", got.State, got.Address, address)
	}
}

func TestASilentServerTimesOut(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	got := probe.Prober{Timeout: 100 * time.Millisecond}.Probe(t.Context(), []probe.Target{{Addresses: []string{l.Addr().String()}}})[0]
	if got.State != checker.EndpointUnreachable || !strings.HasSuffix(got.Detail, "timed out") {
		t.Errorf("got %s: %s", got.State, got.Detail)
	}
}

func TestNoNameIsInvented(t *testing.T) {
	usual, loopback := issue(t, "usual", time.Hour), issue(t, "loopback", time.Hour)
	names := make(chan string, 2)
	address := serve(t, &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		names <- h.ServerName
		c := certificate(usual)
		if h.ServerName == "apiserver-loopback-client" {
			c = certificate(loopback)
		}
		return &c, nil
	}})
	for name, want := range map[string]*checkertest.Pair{"": usual, "apiserver-loopback-client": loopback} {
		got := one(t, checker.Endpoint{ServerName: name}, address)
		if sent := <-names; sent != name {
			t.Errorf("sent the name %q, want %q", sent, name)
		}
		if got.Chain[0].Fingerprint != want.Checked().Fingerprint {
			t.Errorf("name %q got the certificate of %s", name, got.Chain[0].Subject.CommonName)
		}
	}
}

func TestEndpointsAsUsersWriteThem(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1:2379":                "127.0.0.1:2379  []",
		"etcd.example.com:2379":         "etcd.example.com:2379 etcd.example.com []",
		"https://api.example.com":       "api.example.com:443 api.example.com []",
		"https://[::1]:6443/livez":      "[::1]:6443  []",
		"tcp://10.0.0.1:4001":           "10.0.0.1:4001  []",
		"127.0.0.1:3996=/etc/pki/*.crt": "127.0.0.1:3996  [/etc/pki/*.crt]",
	} {
		target, err := probe.Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := fmt.Sprint(target.Addresses[0], " ", target.Endpoint.ServerName, " ", target.Endpoint.ExpectPaths); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	for _, text := range []string{"", "localhost", "http://x", "https://", "host:0", "host:99999", ":443", "127.0.0.1:1=["} {
		if target, err := probe.Parse(text); err == nil {
			t.Errorf("%q was read as %+v", text, target)
		}
	}
	for text, want := range map[string]bool{"https://x": true, "a:1": true, "/a:1": false, "./a.crt": false, "a.crt": false} {
		if got := probe.LooksLike(text); got != want {
			t.Errorf("LooksLike(%q) = %t", text, got)
		}
	}
}

func TestOnlyServersOfThisNodeAreProbed(t *testing.T) {
	pair := issue(t, "x", time.Hour)
	file := func(role checker.Role, instance string) checker.File {
		return checker.File{Certs: []*checker.Cert{pair.Checked()}, Use: checker.Use{Profile: "kops", Role: role, Instance: instance}}
	}
	ports := func(files ...checker.File) (all []string) {
		for _, target := range probe.OnNode([]profile.Profile{profile.Kops()}, files) {
			_, port, err := net.SplitHostPort(target.Addresses[0])
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, port)
		}
		return all
	}
	if got := ports(file("kubelet-server", "")); !slices.Equal(got, []string{"10250"}) {
		t.Errorf("a worker: ports %v, want 10250 alone", got)
	}
	if got := ports(file("etcd-server", "events"), file("etcd-peer", "events")); !slices.Equal(got, []string{"4002", "2381"}) {
		t.Errorf("an events volume: ports %v, want 4002 and 2381", got)
	}
	if got := ports(file("apiserver", "")); !slices.Equal(got, []string{"443", "443", "10257", "10259"}) {
		t.Errorf("an API server: ports %v, want its own twice (once as loopback client) and its neighbours'", got)
	}
	orphan := file("etcd-server", "main")
	orphan.Orphan = "old"
	if got := ports(orphan); got != nil {
		t.Errorf("a leftover: ports %v, want none", got)
	}
}
