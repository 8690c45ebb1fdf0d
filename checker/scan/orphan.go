package scan

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/reanchor/reanchor/checker/profile"
)

var (
	// A token is 16 random bytes in base64.RawURLEncoding (etcd-manager
	// pkg/controller), so it may start with a dash.
	tokenPath = regexp.MustCompile(`^(.*)/pki/([A-Za-z0-9_-]{22})/(peers|clients)/[^/]+$`)
	// Unix time, in seconds (k3s pkg/cli/cert).
	k3sBackup    = regexp.MustCompile(`/(server|agent)/tls-[0-9]{10}/`)
	datedKubelet = regexp.MustCompile(`^(kubelet-(?:client|server))-[0-9]{4}(-[0-9]{2}){5}\.pem$`)
)

// orphan says why nothing uses a file any more, or nothing. It needs positive
// evidence: a data directory that is not visible (only pki is mounted) makes no
// orphan of a live certificate.
func (s *Scanner) orphan(f *found) string {
	// Regular expressions are dear, so a literal part is looked for first.
	if m := submatch(tokenPath, "/pki/", f.host); m != nil {
		if why := s.orphanToken(m[1], m[2]); why != "" {
			return why
		}
	}
	if submatch(k3sBackup, "/tls-", f.host) != nil {
		return "a backup made when certificates were rotated"
	}
	if m := submatch(datedKubelet, "kubelet-", path.Base(f.host)); m != nil {
		if why := s.orphanOfKubelet(f, m[1]); why != "" {
			return why
		}
	}
	if !f.named && hasBackupSuffix(f.host[f.base:]) {
		return "its name is that of a backup"
	}
	return ""
}

// orphanOfKubelet: kubelet keeps its earlier certificates beside the one that
// it uses, which the link leads to.
func (s *Scanner) orphanOfKubelet(f *found, kind string) string {
	current := s.tree.look(path.Join(path.Dir(f.host), kind+"-current.pem"))
	if current.err != nil || filepath.Base(current.real) == filepath.Base(f.real) {
		return ""
	}
	return "an earlier certificate of kubelet; " + kind + "-current.pem leads to another file"
}

// submatch matches a text that has the literal that every match has.
func submatch(expression *regexp.Regexp, literal, text string) []string {
	if !strings.Contains(text, literal) {
		return nil
	}
	return expression.FindStringSubmatch(text)
}

// orphanToken: StopEtcd moves data/<token> to data-trashcan and leaves
// pki/<token> behind (etcd-manager pkg/etcd/etcdserver.go).
func (s *Scanner) orphanToken(base, token string) string {
	tokens, err := os.ReadDir(s.tree.look(path.Join(base, "data")).real)
	if err != nil || slices.ContainsFunc(tokens, func(e os.DirEntry) bool { return e.Name() == token }) {
		return ""
	}
	return "etcd-manager no longer uses this token (there is no " + path.Join(base, "data", token) + ")"
}

// hasBackupSuffix judges each element: a copy of a whole directory is one too.
func hasBackupSuffix(below string) bool {
	for element := range strings.SplitSeq(below, "/") {
		for _, suffix := range profile.BackupSuffixes() {
			if strings.HasSuffix(element, suffix) {
				return true
			}
		}
	}
	return false
}
