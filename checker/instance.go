package checker

import (
	"path"
	"strings"
)

const (
	peersCAPrefix  = "etcd-peers-ca-"
	managerDirName = "etcd-manager-"
	peersDir       = "peers"
	clientsDir     = "clients"
)

// AssignInstances fills in which etcd cluster a file of an etcd-manager node
// belongs to, where that can be told: the directory etcd-manager-<instance>, or
// for a volume the name of the peers CA (etcd-peers-ca-<instance>) beside it.
// The CA of clients is shared by main and events, so it tells nothing.
func AssignInstances(files []File) {
	byToken := map[string]string{}
	for i := range files {
		f := &files[i]
		if instance := instanceOfDir(f.Path); instance != "" {
			f.Use.Instance = instance
		}
		if path.Base(path.Dir(f.Path)) != peersDir {
			continue
		}
		for _, c := range f.Certs {
			for _, name := range []string{c.Subject.CommonName, c.Issuer.CommonName} {
				if instance, ok := strings.CutPrefix(name, peersCAPrefix); ok {
					byToken[tokenDir(f.Path)] = instance
				}
			}
		}
	}
	for i := range files {
		if f := &files[i]; f.Use.Instance == "" {
			f.Use.Instance = byToken[tokenDir(f.Path)]
		}
	}
}

func instanceOfDir(file string) string {
	for element := range strings.SplitSeq(file, "/") {
		if instance, ok := strings.CutPrefix(element, managerDirName); ok && !strings.Contains(instance, ".") {
			return instance
		}
	}
	return ""
}

// tokenDir is <base>/pki/<token> for a file in its peers or clients directory,
// and otherwise a key that no instance is stored under.
func tokenDir(file string) string {
	dir := path.Dir(file)
	switch path.Base(dir) {
	case peersDir, clientsDir:
		return path.Dir(dir)
	default:
		return "\x00"
	}
}
