package probe_test

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/probe"
	"github.com/reanchor/reanchor/checker/profile"
)

// TestTheEndpointMap compares what is dialled on a node that has everything
// with testdata/PROFILE.txt: address, name sent, protocol, server, and the files
// it loads or "memory". The lists were written by hand from the ports and paths
// of kops (pkg/wellknownports, nodeup), etcd-manager, kubeadm and k3s.
func TestTheEndpointMap(t *testing.T) {
	for _, p := range profile.All() {
		t.Run(p.Name, func(t *testing.T) {
			want, err := os.ReadFile("testdata/" + p.Name + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, target := range probe.OnNode([]profile.Profile{p}, everything(t, p)) {
				fmt.Fprintln(&got, describe(p, target))
			}
			if diff := cmp.Diff(withoutComments(string(want)), got.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func withoutComments(text string) string {
	lines := slices.Collect(strings.Lines(text))
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "#") }), "")
}

// everything is a file of every role that a server loads or runs beside.
func everything(t *testing.T, p profile.Profile) []checker.File {
	t.Helper()
	pair := issue(t, "x", time.Hour)
	var files []checker.File
	for _, s := range p.Servers {
		for _, role := range slices.Concat(s.Loads, s.Beside) {
			files = append(files, checker.File{Certs: []*checker.Cert{pair.Checked()}, Use: checker.Use{Profile: p.Name, Role: role, Instance: s.Use.Instance}})
		}
	}
	return files
}

// describe is a line of the map. Loopback is the one address here: this
// machine's others are in no certificate.
func describe(p profile.Profile, target probe.Target) string {
	e, name, from := target.Endpoint, "-", []string{}
	if e.ServerName != "" {
		name = e.ServerName
	}
	for _, root := range p.Roots {
		for _, f := range root.Files {
			if slices.Contains(e.Expect, f.Role) {
				from = append(from, path.Join(root.Path, f.Glob))
			}
		}
	}
	if e.InMemory {
		from = append(from, "memory")
	}
	server := string(e.Use.Role)
	if e.Use.Instance != "" {
		server += "/" + e.Use.Instance
	}
	return fmt.Sprintf("%s sni=%s tls %s\n  %s", strings.Join(target.Addresses, " "), name, server, strings.Join(from, "\n  "))
}
