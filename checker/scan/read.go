package scan

import (
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"time"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/decode"
)

// content is what was decoded from one file's bytes. It holds no key and no
// PEM, so it may be cached.
type content struct {
	decode.Content
	// embedded and refs are set for a kubeconfig.
	kubeconfig bool
	embedded   []embedded
	refs       []decode.Entry
	faults     []checker.Fault
}

// embedded is one decoded entry of a kubeconfig.
type embedded struct {
	key          string
	ca           bool
	otherContext bool
	decode.Content
	keys decode.Content
}

// outcome is what reading one path gave: a single file, or what a kubeconfig
// holds, or nothing where a configuration file is none.
type outcome struct {
	single     bool
	files      []checker.File
	refs       []reference
	unfinished bool
}

// read reads one path. A single file is written to file, which is empty.
func (s *Scanner) read(f *found, file *checker.File) outcome {
	s.tree.ensure(&f.entry)
	file.Source, file.Path, file.Use, file.Named = checker.SourceFile, f.host, f.use, f.named
	file.OtherContext = f.otherContext
	if f.link && f.real != "" {
		file.Resolved = s.tree.host(f.real)
	}
	file.Orphan = s.orphan(f)
	if f.err != nil {
		file.Faults = []checker.Fault{s.tree.fault(f.entry)}
		return outcome{single: true}
	}
	c, unfinished := s.load(f.entry)
	if !f.concerns(c) || f.key && file.Orphan != "" {
		return outcome{}
	}
	id := identify(f.info)
	file.ID, file.Mode = id.id, uint32(f.info.Mode().Perm())
	file.Modified, file.Changed = time.Unix(0, id.modified), id.changed()
	o := outcome{single: !c.kubeconfig, unfinished: unfinished}
	switch {
	case c.kubeconfig:
		o.files, o.refs = kubeconfigFiles(*file, c, s.options.CheckKeys)
	case f.kubeconfig && len(c.faults) == 0:
		file.Faults = []checker.Fault{{ID: checker.KubeconfigInvalid, Detail: "it is not a kubeconfig"}}
	default:
		s.fill(file, f, c)
	}
	return o
}

// concerns tells the files that a broad pattern is there for from the others
// that it matches. Of one that cannot be read nobody knows.
func (f *found) concerns(c *content) bool {
	wanted := true
	switch {
	case f.key:
		return len(c.Keys) > 0
	case f.backup:
		wanted = len(c.Certs)+len(c.embedded) > 0
	case f.sniffed:
		wanted = c.kubeconfig
	}
	return wanted || slices.ContainsFunc(c.faults, func(f checker.Fault) bool { return f.ID == checker.Unreadable })
}

// fill copies what was decoded and finds the key that belongs to it.
func (s *Scanner) fill(file *checker.File, f *found, c *content) {
	file.Certs, file.Keys, file.Requests, file.CRLs = c.Certs, c.Keys, c.Requests, c.CRLs
	file.Faults = append(c.faults[:len(c.faults):len(c.faults)], c.Faults...)
	if !s.options.CheckKeys {
		file.Keys = nil
		return
	}
	file.Faults = append(file.Faults, c.KeyFaults...)
	if len(c.Certs) > 0 && len(c.Keys)+len(c.KeyFaults) == 0 {
		file.KeyFile = s.keyFile(f)
	}
}

// load decodes the file behind an entry, or takes it from the cache.
func (s *Scanner) load(e entry) (c *content, unfinished bool) {
	if !e.info.Mode().IsRegular() {
		return fault(checker.NotRegular, "it is a %s, not a regular file", kindOf(e.info.Mode())), false
	}
	if e.info.Size() > s.options.MaxFileSize {
		return fault(checker.TooLarge, "it has %d bytes; at most %d are read", e.info.Size(), s.options.MaxFileSize), false
	}
	want := identify(e.info)
	if c, ok := s.cache.get(want); ok {
		return c, false
	}
	f, err := os.OpenFile(e.real, openFlags, 0)
	if err != nil {
		e.err = err
		return &content{faults: []checker.Fault{s.tree.fault(e)}}, false
	}
	defer f.Close()
	c, unfinished = s.decodeOpen(f)
	if !unfinished {
		s.cache.put(want, c)
	}
	return c, unfinished
}

// decodeOpen reads an open file and checks that it did not change meanwhile.
func (s *Scanner) decodeOpen(f *os.File) (*content, bool) {
	before, err := f.Stat()
	if err != nil {
		return fault(checker.Unreadable, "%s", reason(err)), false
	}
	if !before.Mode().IsRegular() {
		return fault(checker.NotRegular, "it is a %s, not a regular file", kindOf(before.Mode())), false
	}
	data, err := readUpTo(f, before.Size(), s.options.MaxFileSize)
	defer clear(data)
	if err != nil {
		return fault(checker.Unreadable, "%s", reason(err)), false
	}
	if int64(len(data)) > s.options.MaxFileSize {
		return fault(checker.TooLarge, "more than %d bytes", s.options.MaxFileSize), false
	}
	c := s.decode(data)
	after, err := f.Stat()
	changed := err != nil || identify(after) != identify(before)
	return c, changed || c.MaybeUnfinished
}

// readUpTo reads at most one byte more than the limit, into one allocation
// where the size is right: a buffer that grows would leave copies of keys.
func readUpTo(f *os.File, size, limit int64) ([]byte, error) {
	data := make([]byte, 0, min(size, limit)+1)
	for int64(len(data)) <= limit {
		if len(data) == cap(data) {
			grown := make([]byte, len(data), 2*cap(data)+512)
			copy(grown, data)
			clear(data)
			data = grown
		}
		n, err := f.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if err == io.EOF {
			return data, nil
		}
		if err != nil {
			return data, fmt.Errorf("reading: %w", err)
		}
	}
	return data, nil
}

func (s *Scanner) decode(data []byte) *content {
	if decode.LooksLikeKubeconfig(data) {
		return s.decodeKubeconfig(data)
	}
	return &content{Content: s.decoder.Decode(data)}
}

func fault(id checker.RuleID, format string, args ...any) *content {
	return &content{faults: []checker.Fault{{ID: id, Detail: fmt.Sprintf(format, args...)}}}
}

func kindOf(m os.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&os.ModeNamedPipe != 0:
		return "FIFO"
	case m&os.ModeSocket != 0:
		return "socket"
	default:
		return "device"
	}
}

// keyFile finds and reads the private key that belongs to a certificate file.
func (s *Scanner) keyFile(f *found) *checker.KeyFile {
	var names []string
	if f.keys == nil || len(f.keys) > 0 {
		names = keyNames(path.Base(f.host))
	}
	for _, name := range names {
		if f.keys != nil && !f.keys[name] {
			continue
		}
		e := s.tree.lookIn(path.Dir(f.host), f.dir, name)
		if e.err == nil && e.info.Mode().IsRegular() {
			return s.readKey(e)
		}
	}
	if f.keyRef == "" {
		return nil
	}
	e := s.tree.look(f.keyRef)
	if e.err != nil {
		return &checker.KeyFile{Path: e.host, Faults: []checker.Fault{{ID: checker.KubeconfigReferenceMissing, Detail: "the client key that a kubeconfig refers to cannot be read: " + s.tree.fault(e).Detail}}}
	}
	return s.readKey(e)
}

func (s *Scanner) readKey(e entry) *checker.KeyFile {
	key := &checker.KeyFile{Path: e.host, Mode: uint32(e.info.Mode().Perm())}
	c, _ := s.load(e)
	for _, f := range c.faults {
		key.Faults = append(key.Faults, checker.Fault{ID: checker.KeyUnreadable, Detail: f.Detail})
	}
	key.Faults, key.Keys = append(key.Faults, c.KeyFaults...), c.Keys
	if len(key.Faults)+len(key.Keys) == 0 {
		key.Faults = []checker.Fault{{ID: checker.KeyUnreadable, Detail: "the file holds no private key"}}
	}
	return key
}

// keyNames are the names a certificate's key may have, most likely first.
func keyNames(cert string) []string {
	extension := path.Ext(cert)
	base := cert[:len(cert)-len(extension)]
	switch {
	case extension == ".pem" && base == "cert":
		return []string{"key.pem"}
	case extension == ".pem":
		return []string{base + "-key.pem", base + ".key"}
	case extension == ".crt", extension == ".cert", extension == ".cer":
		return []string{base + ".key"}
	default:
		return nil
	}
}
