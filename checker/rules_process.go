package checker

import (
	"fmt"
	"strings"
	"time"
)

// process compares a process with the files it loaded. This is a heuristic (a
// file's time is not its content), so it never goes beyond a warning.
func (r *run) process(p *Process) {
	said := map[string]bool{}
	for i := range r.facts.Files {
		f := &r.facts.Files[i]
		if f.Orphan != "" || f.Changed.IsZero() || said[f.Path] {
			continue
		}
		if trust, ok := p.loaded(f); ok && r.stale(p, f, trust) {
			said[f.Path] = true
			r.restartSuspected(p, f)
		}
	}
	r.restartDue(p)
}

// loaded reports whether the process uses the file, and whether as a CA.
func (p *Process) loaded(f *File) (trust, ok bool) {
	for _, l := range p.Loaded {
		if l.ID != (FileID{}) && f.ID != (FileID{}) {
			if l.ID == f.ID {
				return l.Trust, true
			}
			continue
		}
		if f.Path == hostPath(l.Path) || f.Resolved == hostPath(l.Path) {
			return l.Trust, true
		}
	}
	return f.Use.Purpose == CA, p.keeps(f)
}

// keeps reports whether a plain file belongs to a process that names none in its
// arguments, since it writes and loads its own: k3s and rke2 theirs, etcd-manager
// that of its cluster.
func (p *Process) keeps(f *File) bool {
	if f.Source != SourceFile || !p.Component.writesItsOwnFiles() || f.Use.Component != p.Component {
		return false
	}
	return p.Component != EtcdManager || f.Use.Instance != "" && f.Use.Instance == p.Instance
}

// hostPath undoes the mount of the host's root in etcd-manager's container.
func hostPath(p string) string {
	if rest, ok := strings.CutPrefix(p, "/rootfs/"); ok {
		return "/" + rest
	}
	return p
}

// stale reports whether the file changed under a process that will not notice.
func (r *run) stale(p *Process, f *File, trust bool) bool {
	own, cas := p.Component.ReloadBehaviour()
	behaviour := own
	switch {
	case f.Source == SourceKubeconfig && f.Use.Purpose == CA:
		// Its time is that of the whole kubeconfig, and CAs rarely change.
		behaviour = ReloadUnknown
	case f.Source == SourceKubeconfig:
		behaviour = p.Component.keepsKubeconfig()
	case trust:
		behaviour = cas
	}
	// The kernel tells when it was booted to the second, so a start may be
	// known a second too early.
	grace := 2 * time.Second
	if p.Component.writesItsOwnFiles() {
		grace = r.policy.StartGrace
	}
	return behaviour == NeedsRestart && f.Changed.Sub(p.Start) > grace
}

func (r *run) restartSuspected(p *Process, f *File) {
	finding := r.found(RestartSuspected, f.location(), fmt.Sprintf("changed at %s, after %s (pid %d) started at %s; it reads this file only at start",
		f.Changed.UTC().Format(time.RFC3339), p.Name, p.PID, p.Start.UTC().Format(time.RFC3339)))
	// The file knows its cluster better than the process: etcd says main or
	// events nowhere in its arguments.
	use := Use{Restart: f.Use.Restart, Instance: f.Use.Instance}
	if p.Restart != "" && f.Use.Component != p.Component {
		use.Restart = p.Restart
	}
	finding.Remedy = restart(&use, p.restart(finding.Remedy))
	r.onFile(f, finding)
}

func (p *Process) restart(otherwise string) string {
	return restart(&Use{Restart: p.Restart, Instance: p.Instance}, otherwise)
}

// restartDue judges certificates that exist only in a process's memory.
func (r *run) restartDue(p *Process) {
	if p.MemoryLifetime <= 0 {
		return
	}
	ends := p.Start.Add(p.MemoryLifetime)
	left := ends.Sub(r.now)
	if left >= r.policy.Leaf.Critical {
		return
	}
	name := fmt.Sprintf("%s[%d]", p.Name, p.PID)
	message := fmt.Sprintf("holds a certificate in memory that ends in %s, on %s", HumanDuration(left), ends.UTC().Format(time.RFC3339))
	if left < 0 {
		message = fmt.Sprintf("holds a certificate in memory that ended %s ago, on %s", HumanDuration(-left), ends.UTC().Format(time.RFC3339))
	}
	finding := r.found(RestartDue, name, message)
	finding.Remedy = p.restart(finding.Remedy)
	r.off(finding)
}
