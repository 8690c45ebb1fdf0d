package scan

import (
	"maps"
	"sync"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/decode"
)

// cache holds decoded files of the previous cycle, and only of that: what was
// not seen again is forgotten.
type cache struct {
	mu    sync.Mutex
	files map[checker.FileID]*cached
	// cycle is the current one; seen counts the files met in it.
	cycle, seen int
	// changed says that since the last end a file was read.
	changed bool
}

type cached struct {
	identity identity
	content  *content
	// cycle is the last one that met the file.
	cycle int
}

func newCache() *cache { return &cache{files: map[checker.FileID]*cached{}} }

func (c *cache) reset() { clear(c.files) }

func (c *cache) begin() { c.cycle, c.seen = c.cycle+1, 0 }

func (c *cache) get(want identity) (*content, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	hit, ok := c.files[want.id]
	if !ok || hit.identity != want || want.id == (checker.FileID{}) {
		return nil, false
	}
	if hit.cycle != c.cycle {
		hit.cycle = c.cycle
		c.seen++
	}
	return hit.content, true
}

func (c *cache) put(id identity, content *content) {
	if id.id == (checker.FileID{}) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed = true
	if old := c.files[id.id]; old == nil || old.cycle != c.cycle {
		c.seen++
	}
	c.files[id.id] = &cached{id, content, c.cycle}
}

// end forgets files that are gone, and lets the decoder forget certificates
// that are. When nothing was read and nothing is gone, there are none.
func (c *cache) end(d *decode.Decoder, files []checker.File) {
	gone := c.seen < len(c.files)
	if gone {
		maps.DeleteFunc(c.files, func(_ checker.FileID, f *cached) bool { return f.cycle != c.cycle })
	}
	if !gone && !c.changed {
		return
	}
	c.changed = false
	seen := make(map[checker.Fingerprint]*checker.Cert, len(files))
	for i := range files {
		for _, cert := range files[i].Certs {
			seen[cert.Fingerprint] = cert
		}
	}
	d.Retain(seen)
}
