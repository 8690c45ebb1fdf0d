package checker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/checkertest"
)

// serving is an endpoint of role etcd-manager-server, instance main.
func serving(chain ...*checkertest.Pair) checker.Endpoint {
	e := checker.Endpoint{
		Address: "127.0.0.1:3996", State: checker.EndpointServing, Expect: []checker.Role{"manager"},
		Use: checker.Use{Profile: "kops", Role: "manager", Instance: "main", Restart: "restart etcd-manager-{instance}"},
	}
	for _, c := range chain {
		e.Chain = append(e.Chain, c.Checked())
	}
	return e
}

// managerFile is the file that endpoint loads.
func managerFile(instance string, p *checkertest.Pair) checker.File {
	f := file("/pki/"+instance+".crt", p)
	f.Use = checker.Use{Profile: "kops", Role: "manager", Instance: instance}
	return f
}

func liveCases() map[string]ruleCase {
	silent := func(state checker.EndpointState, elsewhere bool) func(*pki) checker.Facts {
		return func(p *pki) checker.Facts {
			e := serving()
			e.State, e.Detail, e.MayBeElsewhere = state, "why", elsewhere
			return checker.Facts{Files: []checker.File{p.caFile()}, Endpoints: []checker.Endpoint{e}}
		}
	}
	return map[string]ruleCase{
		"what is served is what is on disk": {
			facts: func(p *pki) checker.Facts {
				c := p.leaf(checkertest.Spec{})
				return checker.Facts{Files: []checker.File{p.caFile(), managerFile("main", c)}, Endpoints: []checker.Endpoint{serving(c)}}
			},
		},
		"an old certificate in memory is a warning": {
			facts: func(p *pki) checker.Facts {
				return checker.Facts{Files: []checker.File{p.caFile(), managerFile("main", p.leaf(checkertest.Spec{}))}, Endpoints: []checker.Endpoint{serving(p.leaf(checkertest.Spec{}))}}
			},
			want: []string{"warning live_mismatch 127.0.0.1:3996"},
		},
		"an expired certificate in memory is critical twice, though the disk is fine": {
			facts: func(p *pki) checker.Facts {
				return checker.Facts{Files: []checker.File{p.caFile(), managerFile("main", p.leaf(checkertest.Spec{}))}, Endpoints: []checker.Endpoint{serving(p.leaf(checkertest.Spec{NotAfter: now().Add(-day)}))}}
			},
			want: []string{"critical expired 127.0.0.1:3996", "critical live_mismatch 127.0.0.1:3996"},
		},
		"the file of another cluster of the node does not count": {
			facts: func(p *pki) checker.Facts {
				main, events := p.leaf(checkertest.Spec{}), p.leaf(checkertest.Spec{})
				return checker.Facts{Files: []checker.File{p.caFile(), managerFile("main", main), managerFile("events", events)}, Endpoints: []checker.Endpoint{serving(events)}}
			},
			want: []string{"warning live_mismatch 127.0.0.1:3996"},
		},
		"a file whose cluster is not known may be the endpoint's": {
			facts: func(p *pki) checker.Facts {
				return checker.Facts{Files: []checker.File{p.caFile(), managerFile("", p.leaf(checkertest.Spec{}))}, Endpoints: []checker.Endpoint{serving(p.leaf(checkertest.Spec{}))}}
			},
			want: []string{"warning live_mismatch 127.0.0.1:3996"},
		},
		"a leftover is not what an endpoint should serve": {
			facts: func(p *pki) checker.Facts {
				dead := managerFile("main", p.leaf(checkertest.Spec{}))
				dead.Orphan = "old"
				return checker.Facts{Files: []checker.File{p.caFile(), dead}, Endpoints: []checker.Endpoint{serving(p.leaf(checkertest.Spec{}))}}
			},
			want: []string{"info live_unmapped 127.0.0.1:3996", "info orphaned /pki/main.crt"},
		},
		"a certificate made in memory is information": {
			facts: func(p *pki) checker.Facts {
				e := serving(p.issue(checkertest.Spec{CN: "localhost@1", DNS: []string{"localhost"}}, nil))
				e.Expect, e.InMemory = nil, true
				return checker.Facts{Files: []checker.File{p.caFile()}, Endpoints: []checker.Endpoint{e}}
			},
			want: []string{"info live_unmapped 127.0.0.1:3996"},
		},
		"and critical when it ends soon": {
			facts: func(p *pki) checker.Facts {
				e := serving(p.issue(checkertest.Spec{CN: "localhost@1", DNS: []string{"localhost"}, NotAfter: now().Add(3 * day)}, nil))
				e.Expect, e.InMemory = nil, true
				return checker.Facts{Files: []checker.File{p.caFile()}, Endpoints: []checker.Endpoint{e}}
			},
			want: []string{"critical expiring 127.0.0.1:3996", "info live_unmapped 127.0.0.1:3996"},
		},
		"a server that does not name its address is a warning": {
			facts: func(p *pki) checker.Facts {
				e := serving(p.leaf(checkertest.Spec{IPs: []string{"192.0.2.1"}}))
				e.Expect, e.NamesAddress = nil, true
				return checker.Facts{Files: []checker.File{p.caFile()}, Endpoints: []checker.Endpoint{e}}
			},
			want: []string{"warning san_missing_endpoint 127.0.0.1:3996"},
		},
		"a wildcard names its hosts": {
			facts: func(p *pki) checker.Facts {
				e := serving(p.leaf(checkertest.Spec{DNS: []string{"*.example.com"}}))
				e.Expect, e.NamesAddress, e.Address, e.ServerName = nil, true, "api.example.com:443", "api.example.com"
				return checker.Facts{Files: []checker.File{p.caFile()}, Endpoints: []checker.Endpoint{e}}
			},
		},
		"nobody answers":                                  {facts: silent(checker.EndpointUnreachable, false), want: []string{"warning live_unreachable 127.0.0.1:3996"}},
		"nobody answers on loopback":                      {facts: silent(checker.EndpointUnreachable, true), want: []string{"info live_unreachable 127.0.0.1:3996"}},
		"plain HTTP is a state, not an error":             {facts: silent(checker.EndpointNotTLS, false), want: []string{"info live_not_tls 127.0.0.1:3996"}},
		"an endpoint is compared with the files it names": {facts: namedFiles, want: []string{"warning live_mismatch 127.0.0.1:3996"}},
	}
}

func namedFiles(p *pki) checker.Facts {
	e := serving(p.leaf(checkertest.Spec{}))
	e.Expect, e.ExpectPaths = nil, []string{"/pki/*.crt"}
	return checker.Facts{Files: []checker.File{file("/pki/x.crt", p.leaf(checkertest.Spec{})), file("/ca/ca.crt", p.ca)}, Endpoints: []checker.Endpoint{e}}
}

func processCases() map[string]ruleCase {
	etcd := func(kind checker.Component, trust bool, after time.Duration) func(*pki) checker.Facts {
		return func(p *pki) checker.Facts {
			f := p.caFile()
			f.Changed, f.ID, f.Use.Restart = now().Add(-day), checker.FileID{Dev: 1, Ino: 2}, "restart it"
			return checker.Facts{Files: []checker.File{f}, Processes: []checker.Process{{
				PID: 7, Name: string(kind), Component: kind, Start: f.Changed.Add(-after),
				Loaded: []checker.LoadedFile{{Path: "/in/container/ca.crt", ID: f.ID, Trust: trust}},
			}}}
		}
	}
	// What a kubeconfig embeds, changed an hour after the process has started.
	embedded := func(kind checker.Component, purpose checker.Purpose) func(*pki) checker.Facts {
		return func(p *pki) checker.Facts {
			f := p.entry("users/a/client-certificate-data", false, checkertest.Spec{})
			f.Changed, f.Use.Purpose = now().Add(-day), purpose
			return checker.Facts{Files: []checker.File{p.caFile(), f}, Processes: []checker.Process{{
				PID: 7, Name: string(kind), Component: kind, Start: f.Changed.Add(-time.Hour), Loaded: []checker.LoadedFile{{Path: f.Path}},
			}}}
		}
	}
	return map[string]ruleCase{
		"kube-scheduler keeps the certificate of the kubeconfig that it began with": {
			facts: embedded(checker.Scheduler, checker.Client), want: []string{"warning restart_suspected /root/.kube/config#users/a/client-certificate-data"},
		},
		"kubelet writes its kubeconfig itself": {facts: embedded(checker.Kubelet, checker.Client)},
		"that the kubeconfig changed says little about the CA in it": {
			facts: func(p *pki) checker.Facts {
				facts := embedded(checker.Scheduler, checker.CA)(p)
				facts.Files[1].Certs = facts.Files[0].Certs
				return facts
			},
		},
		"the kubeconfig that k3s writes for people is none that it reads": {
			facts: func(p *pki) checker.Facts {
				facts := embedded(checker.K3s, checker.Client)(p)
				facts.Files[1].Use.Component, facts.Processes[0].Loaded = checker.K3s, nil
				return facts
			},
		},
		"etcd does not reload a CA":                          {facts: etcd(checker.Etcd, true, time.Hour), want: []string{"warning restart_suspected /pki/ca.crt"}},
		"etcd reloads its own certificate":                   {facts: etcd(checker.Etcd, false, time.Hour)},
		"a CA older than etcd is what etcd has":              {facts: etcd(checker.Etcd, true, -time.Hour)},
		"kube-apiserver reloads":                             {facts: etcd(checker.APIServer, false, time.Hour)},
		"etcd-manager holds what it loaded":                  {facts: etcd(checker.EtcdManager, false, time.Hour), want: []string{"warning restart_suspected /pki/ca.crt"}},
		"etcd-manager writes its files soon after it starts": {facts: etcd(checker.EtcdManager, false, 5*time.Minute)},
		"names are compared where inodes are not known, the mount of the host's root undone": {
			facts: func(p *pki) checker.Facts {
				f := p.caFile()
				f.Changed = now()
				return checker.Facts{Files: []checker.File{f}, Processes: []checker.Process{{
					Name: "etcd", Component: checker.Etcd, Start: now().Add(-day), Loaded: []checker.LoadedFile{{Path: "/rootfs/pki/ca.crt", Trust: true}},
				}}}
			},
			want: []string{"warning restart_suspected /pki/ca.crt"},
		},
		"a file of the same name in a container is another file": {
			facts: func(p *pki) checker.Facts {
				f := p.caFile()
				f.Changed, f.ID = now(), checker.FileID{Dev: 1, Ino: 2}
				return checker.Facts{Files: []checker.File{f}, Processes: []checker.Process{{
					Name: "etcd", Component: checker.Etcd, Start: now().Add(-day),
					Loaded: []checker.LoadedFile{{Path: f.Path, ID: checker.FileID{Dev: 1, Ino: 3}, Trust: true}},
				}}}
			},
		},
		"etcd-manager is known by its cluster, since it names no file": {
			facts: func(p *pki) checker.Facts {
				own, other := managerFile("main", p.leaf(checkertest.Spec{})), managerFile("events", p.leaf(checkertest.Spec{}))
				for _, f := range []*checker.File{&own, &other} {
					f.Changed, f.Use.Component = now(), checker.EtcdManager
				}
				return checker.Facts{Files: []checker.File{p.caFile(), own, other}, Processes: []checker.Process{{
					Name: "etcd-manager", Component: checker.EtcdManager, Instance: "main", Start: now().Add(-day),
				}}}
			},
			want: []string{"warning restart_suspected /pki/main.crt"},
		},
		"k3s names no file either; what it keeps is its own": {
			facts: func(p *pki) checker.Facts {
				own, other := p.caFile(), managerFile("main", p.leaf(checkertest.Spec{}))
				own.Changed, own.Use.Component = now(), checker.K3s
				other.Changed, other.Use.Component = now(), checker.RKE2
				return checker.Facts{Files: []checker.File{own, other}, Processes: []checker.Process{{
					Name: "k3s", Component: checker.K3s, Start: now().Add(-day),
				}}}
			},
			want: []string{"warning restart_suspected /pki/ca.crt"},
		},
		"what k3s wrote when it started is what it has": {
			facts: func(p *pki) checker.Facts {
				own := p.caFile()
				own.Changed, own.Use.Component = now().Add(-day+time.Minute), checker.K3s
				return checker.Facts{Files: []checker.File{own}, Processes: []checker.Process{{
					Name: "k3s", Component: checker.K3s, Start: now().Add(-day),
				}}}
			},
		},
		"a certificate in memory that ends soon needs a restart": {
			facts: func(p *pki) checker.Facts {
				return checker.Facts{Files: []checker.File{p.caFile()}, Processes: []checker.Process{
					{PID: 7, Name: "etcd-manager", Component: checker.EtcdManager, Start: now().Add(-725 * day), MemoryLifetime: 730 * day},
					{PID: 8, Name: "etcd-manager", Component: checker.EtcdManager, Start: now().Add(-7 * day), MemoryLifetime: 730 * day},
				}}
			},
			want: []string{"warning restart_due etcd-manager[7]"},
		},
	}
}

func TestARemedyNamesTheClusterOfTheVolume(t *testing.T) {
	p := newPKI(t)
	peers := p.issue(root("etcd-peers-ca-events"), nil)
	expired := p.issue(checkertest.Spec{CN: "etcd-a", DNS: []string{"etcd-a"}, NotAfter: now().Add(-day)}, peers)
	const volume = "/mnt/master-vol-1/pki/-k3Vq0Zp8TtWmB1nXyL2ew"
	use := checker.Use{Profile: "kops", Role: "etcd-server", Renew: "restart etcd-manager-{instance} on this node"}
	all := []checker.File{file(volume+"/peers/ca.crt", peers), file(volume+"/clients/server.crt", expired)}
	all[1].Use = use
	checker.AssignInstances(all)
	r := checker.Check(files(all...), now(), checker.DefaultPolicy())
	if got := r.Certificates[0].Findings[0].Remedy; got != "restart etcd-manager-events on this node" {
		t.Errorf("remedy %q", got)
	}
}

// TestAnEndpointGivenByHandIsRestartedAsItsFileSays: only profiles know how a
// server is restarted.
func TestAnEndpointGivenByHandIsRestartedAsItsFileSays(t *testing.T) {
	p := newPKI(t)
	disk := managerFile("main", p.leaf(checkertest.Spec{}))
	disk.Use.Restart = "restart etcd-manager-{instance}"
	e := serving(p.leaf(checkertest.Spec{}))
	e.Use, e.Expect, e.ExpectPaths = checker.Use{}, nil, []string{disk.Path}
	r := checker.Check(checker.Facts{Files: []checker.File{p.caFile(), disk}, Endpoints: []checker.Endpoint{e}}, now(), checker.DefaultPolicy())
	if f := r.Endpoints[0].Findings; len(f) != 1 || f[0].Remedy != "restart etcd-manager-main" {
		t.Errorf("findings %+v", f)
	}
}

func TestARemedyForAnUnknownClusterAsksForIt(t *testing.T) {
	p := newPKI(t)
	f := file("/x/server.crt", p.leaf(checkertest.Spec{NotAfter: now().Add(-day)}))
	f.Use.Renew = "restart etcd-manager-{instance}"
	r := checker.Check(files(p.caFile(), f), now(), checker.DefaultPolicy())
	if got := r.Certificates[0].Findings[0].Remedy; !strings.Contains(got, "etcd-manager-<main|events") {
		t.Errorf("remedy %q", got)
	}
}
