package probe

import (
	"fmt"
	"net"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/profile"
)

// loopback is dialled first: most servers of a node listen there, and nothing
// between can answer in their place.
const loopback = "127.0.0.1"

// OnNode lists the servers of the profiles that should run on this node: those
// whose files (or the files beside which they run) were found.
func OnNode(profiles []profile.Profile, files []checker.File) []Target {
	local := localAddresses()
	var targets []Target
	for _, p := range profiles {
		for _, s := range p.Servers {
			if t, ok := target(s, files, local); ok {
				targets = append(targets, t)
			}
		}
	}
	return targets
}

// target is one server with the addresses it may listen on: loopback, and the
// addresses of this node that its certificate names.
func target(s profile.Server, files []checker.File, local []string) (Target, bool) {
	t := Target{Addresses: []string{join(loopback, s.Port)}, Endpoint: checker.Endpoint{
		ServerName: s.ServerName, Use: s.Use, Expect: s.Loads, InMemory: s.InMemory,
		MayBeElsewhere: s.MayBeElsewhere, NamesAddress: s.NamesLoopback,
	}}
	present := false
	for i := range files {
		f := &files[i]
		if len(f.Certs) == 0 || f.Orphan != "" || f.Use.Profile != s.Use.Profile {
			continue
		}
		if slices.Contains(s.Loads, f.Use.Role) && sameInstance(s.Use.Instance, f.Use.Instance) {
			present = true
			t.listens(f.Certs[0], s.Port, local)
		}
		present = present || slices.Contains(s.Beside, f.Use.Role)
	}
	return t, present
}

// listens adds the addresses of this node that a certificate names.
func (t *Target) listens(c *checker.Cert, port int, local []string) {
	for _, ip := range c.IPAddresses {
		if a := join(ip, port); slices.Contains(local, ip) && !slices.Contains(t.Addresses, a) {
			t.Addresses = append(t.Addresses, a)
		}
	}
}

// sameInstance: an unknown instance of a file could be main, which every
// etcd-manager node has, but not one of the others.
func sameInstance(server, file string) bool {
	return server == file || (file == "" && (server == "" || server == "main"))
}

func join(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// localAddresses are this host's, without loopback. Without them only loopback
// is dialled.
func localAddresses() []string {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var local []string
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() {
			local = append(local, n.IP.String())
		}
	}
	return local
}

// Parse reads what a user writes: host:port, https://host[:port] or
// tcp://host:port, and for --endpoint "=FILE" with a pattern of the files that
// the server loads.
func Parse(text string) (Target, error) {
	address, pattern, hasFile := strings.Cut(text, "=")
	host, port, err := hostPort(address)
	if err != nil {
		return Target{}, err
	}
	e := checker.Endpoint{NamesAddress: true}
	if net.ParseIP(host) == nil {
		// The user named this host, so the name is no invention.
		e.ServerName = host
	}
	if hasFile {
		if _, err := path.Match(pattern, ""); err != nil {
			return Target{}, fmt.Errorf("reading endpoint %q: pattern %q: %w", text, pattern, err)
		}
		e.ExpectPaths = []string{pattern}
	}
	return Target{Addresses: []string{net.JoinHostPort(host, port)}, Endpoint: e}, nil
}

func hostPort(address string) (host, port string, err error) {
	if strings.Contains(address, "://") {
		return hostPortOfURL(address)
	}
	host, port, err = net.SplitHostPort(address)
	if err != nil {
		return "", "", fmt.Errorf("reading endpoint %q: %w", address, err)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || host == "" {
		return "", "", fmt.Errorf("reading endpoint %q: want a host, and a port of 1 to 65535", address)
	}
	return host, port, nil
}

func hostPortOfURL(address string) (host, port string, err error) {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "tcp") {
		return "", "", fmt.Errorf("reading endpoint %q: want https://host[:port], tcp://host:port or host:port", address)
	}
	if u.Port() == "" {
		return u.Hostname(), "443", nil
	}
	return u.Hostname(), u.Port(), nil
}

// LooksLike reports whether a command-line argument is an endpoint rather than
// a path.
func LooksLike(text string) bool {
	if strings.HasPrefix(text, "https://") || strings.HasPrefix(text, "tcp://") {
		return true
	}
	if strings.ContainsRune(text, '/') {
		return false
	}
	_, _, err := hostPort(text)
	return err == nil
}
