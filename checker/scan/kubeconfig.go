package scan

import (
	"path"
	"slices"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/decode"
)

// reference is a file that a kubeconfig refers to.
type reference struct {
	kubeconfig checker.File
	entry      decode.Entry
}

// decodeKubeconfig decodes what is embedded; key material is cleared at once.
func (s *Scanner) decodeKubeconfig(data []byte) *content {
	c := &content{kubeconfig: true}
	entries, err := decode.Kubeconfig(data)
	if err != nil {
		c.faults = []checker.Fault{{ID: checker.KubeconfigInvalid, Detail: err.Error()}}
	}
	for _, e := range entries {
		if e.Ref != "" {
			c.refs = append(c.refs, e)
			continue
		}
		found := embedded{key: e.Key, ca: e.CA, otherContext: e.OtherContext, Content: s.decoder.Decode(e.Data)}
		if len(e.KeyData) > 0 {
			found.keys = s.decoder.Decode(e.KeyData)
			clear(e.KeyData)
		}
		c.embedded = append(c.embedded, found)
	}
	return c
}

// kubeconfigFiles makes one file of each embedded certificate.
func kubeconfigFiles(file checker.File, c *content, checkKeys bool) ([]checker.File, []reference) {
	file.Source = checker.SourceKubeconfig
	var files []checker.File
	if len(c.faults) > 0 {
		broken := file
		broken.Faults = c.faults
		files = append(files, broken)
	}
	for _, e := range c.embedded {
		f := file
		f.Key, f.OtherContext, f.Certs, f.Faults = e.key, e.otherContext, e.Certs, e.Faults
		if checkKeys {
			f.Keys = slices.Concat(e.Keys, e.keys.Keys)
			f.Faults = slices.Concat(e.Faults, e.KeyFaults, e.keys.KeyFaults)
		}
		f.Use.Purpose = checker.Client
		if e.ca {
			f.Use.Purpose = checker.CA
			// Renewing a kubeconfig's user does not renew its CA.
			f.Use.Renew = ""
		}
		files = append(files, f)
	}
	if file.Orphan != "" {
		// What only a leftover refers to is not in use.
		return files, nil
	}
	refs := make([]reference, 0, len(c.refs))
	for _, e := range c.refs {
		refs = append(refs, reference{kubeconfig: file, entry: e})
	}
	return files, refs
}

// refer adds the files that kubeconfigs refer to, relative to the kubeconfig's
// own directory. Those that are not there are findings of the kubeconfig.
func (c *collection) refer(refs []reference) []checker.File {
	var broken []checker.File
	for _, r := range refs {
		base := path.Dir(r.kubeconfig.Path)
		target := absolute(base, r.entry.Ref)
		e := c.s.tree.look(target)
		if e.err != nil {
			f := r.kubeconfig
			f.Key, f.OtherContext = r.entry.Key, r.entry.OtherContext
			f.Faults = []checker.Fault{{ID: checker.KubeconfigReferenceMissing, Detail: "refers to " + target + ": " + c.s.tree.fault(e).Detail}}
			broken = append(broken, f)
			continue
		}
		f := found{entry: e, use: r.kubeconfig.Use, root: none, otherContext: r.entry.OtherContext}
		f.use.Purpose = checker.Client
		if r.entry.CA {
			f.use.Purpose, f.use.Renew = checker.CA, ""
		}
		if r.entry.KeyRef != "" {
			f.keyRef = absolute(base, r.entry.KeyRef)
		}
		c.add(f)
	}
	return broken
}

func absolute(base, p string) string {
	if path.IsAbs(p) {
		return path.Clean(p)
	}
	return path.Join(base, p)
}
