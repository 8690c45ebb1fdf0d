// Package process finds the running components of a control plane, when they
// started and which certificate files they loaded.
//
// Files are named by arguments and environment, in the process's own file
// system. What lies behind a name is looked up through /proc/<pid>/root, so
// that a container's path and the host's are known to be the same inode; where
// that is not permitted (it needs CAP_SYS_PTRACE), names are compared.
package process

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/prometheus/procfs"

	"github.com/reanchor/reanchor/checker"
)

// List returns the control-plane processes below a proc file system. A process
// that ends meanwhile, or that may not be looked at, is left out.
func List(proc string) ([]checker.Process, error) {
	fs, err := procfs.NewFS(proc)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", proc, err)
	}
	all, err := fs.AllProcs()
	if err != nil {
		return nil, fmt.Errorf("listing processes in %s: %w", proc, err)
	}
	var found []checker.Process
	for _, p := range all {
		args, err := p.CmdLine()
		if err != nil || len(args) == 0 {
			continue
		}
		component, ok := componentOf(args)
		if !ok {
			continue
		}
		if described, err := describe(proc, p, args); err == nil {
			described.Component = component
			described.MemoryLifetime = memoryLifetime(component, environ(p))
			found = append(found, described)
		}
	}
	return found, nil
}

// componentOf goes by the program's name; k3s and rke2 write their role behind
// it in the same argument.
func componentOf(args []string) (checker.Component, bool) {
	words := strings.Fields(args[0])
	if len(words) == 0 {
		return "", false
	}
	c := checker.Component(path.Base(words[0]))
	switch c {
	case checker.Etcd, checker.EtcdManager, checker.APIServer, checker.ControllerManager,
		checker.Scheduler, checker.Kubelet, checker.KubeProxy, checker.KopsController, checker.K3s, checker.RKE2:
		return c, true
	default:
		return "", false
	}
}

func describe(proc string, p procfs.Proc, args []string) (checker.Process, error) {
	stat, err := p.Stat()
	if err != nil {
		return checker.Process{}, fmt.Errorf("reading process %d: %w", p.PID, err)
	}
	start, err := stat.StartTime()
	if err != nil {
		return checker.Process{}, fmt.Errorf("reading the start of process %d: %w", p.PID, err)
	}
	described := checker.Process{
		PID: p.PID, Name: path.Base(strings.Fields(args[0])[0]), Instance: instanceOf(args),
		Start: time.Unix(0, int64(start*float64(time.Second))),
	}
	root := filepath.Join(proc, strconv.Itoa(p.PID), "root")
	for _, f := range loaded(args, environ(p)) {
		f.ID = identityIn(root, f.Path)
		described.Loaded = append(described.Loaded, f)
	}
	return described, nil
}

// environ is empty where it may not be read.
func environ(p procfs.Proc) map[string]string {
	lines, err := p.Environ()
	if err != nil {
		return nil
	}
	env := map[string]string{}
	for _, line := range lines {
		if name, value, ok := strings.Cut(line, "="); ok {
			env[name] = value
		}
	}
	return env
}

// instanceOf tells etcd-manager's clusters apart by their port.
func instanceOf(args []string) string {
	ports := map[string]string{"3996": "main", "3997": "events", "3991": "cilium", "4006": "leases"}
	return ports[flag(args, "grpc-port")]
}

// flag is the value of --name=value or --name value.
func flag(args []string, name string) string {
	for i, a := range args {
		given, value, inline := strings.Cut(strings.TrimLeft(a, "-"), "=")
		switch {
		case given != name || !strings.HasPrefix(a, "-"):
		case inline:
			return value
		case i+1 < len(args):
			return args[i+1]
		}
	}
	return ""
}

// loaded are the files that arguments and environment name.
func loaded(args []string, env map[string]string) []checker.LoadedFile {
	own := []string{"cert-file", "peer-cert-file", "tls-cert-file", "etcd-certfile", "kubelet-client-certificate", "proxy-client-cert-file", "kubeconfig"}
	trust := []string{"trusted-ca-file", "peer-trusted-ca-file", "client-ca-file", "etcd-cafile", "requestheader-client-ca-file", "root-ca-file"}
	var files []checker.LoadedFile
	add := func(file string, isTrust bool) {
		if file != "" {
			files = append(files, checker.LoadedFile{Path: file, Trust: isTrust})
		}
	}
	for _, name := range own {
		add(flag(args, name), false)
		add(env["ETCD_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))], false)
	}
	for _, name := range trust {
		add(flag(args, name), true)
		add(env["ETCD_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))], true)
	}
	return files
}

// identityIn is the inode behind a path in a process's root, or zero.
func identityIn(root, file string) checker.FileID {
	resolved, err := securejoin.SecureJoin(root, file)
	if err != nil {
		return checker.FileID{}
	}
	info, err := os.Stat(resolved)
	if err != nil {
		return checker.FileID{}
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return checker.FileID{}
	}
	return checker.FileID{Dev: uint64(st.Dev), Ino: st.Ino} // differs by architecture
}

const (
	// managerLifetime is etcd-manager's default for the client certificate it
	// makes at start and keeps in memory.
	managerLifetime = 2 * 365 * 24 * time.Hour
	// loopbackLifetime is that of kube-apiserver's connection to itself;
	// releases since 2025 make it longer.
	loopbackLifetime = 365 * 24 * time.Hour
)

// memoryLifetime is how long what a component makes at start lives.
func memoryLifetime(c checker.Component, env map[string]string) time.Duration {
	switch c {
	case checker.EtcdManager:
		if d, err := time.ParseDuration(env["ETCD_MANAGER_CERT_DURATION"]); err == nil && d > 0 {
			return d
		}
		return managerLifetime
	case checker.APIServer:
		return loopbackLifetime
	default:
		return 0
	}
}
