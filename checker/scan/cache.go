package scan

import (
	"sync"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/decode"
)

// cache holds decoded files of the previous cycle, and only of that: what was
// not seen again is forgotten.
type cache struct {
	mu        sync.Mutex
	last, now map[checker.FileID]*cached
}

type cached struct {
	identity identity
	content  *content
}

func newCache() *cache { return &cache{} }

func (c *cache) reset() { c.last = nil }

func (c *cache) begin() { c.now = make(map[checker.FileID]*cached, len(c.last)) }

func (c *cache) get(want identity) (*content, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	hit, ok := c.last[want.id]
	if !ok || hit.identity != want || want.id == (checker.FileID{}) {
		return nil, false
	}
	c.now[want.id] = hit
	return hit.content, true
}

func (c *cache) put(id identity, content *content) {
	if id.id == (checker.FileID{}) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now[id.id] = &cached{id, content}
}

// end makes this cycle the last one, and lets the decoder forget certificates
// that are gone.
func (c *cache) end(d *decode.Decoder, files []checker.File) {
	c.last, c.now = c.now, nil
	seen := make(map[checker.Fingerprint]*checker.Cert, len(files))
	for i := range files {
		for _, cert := range files[i].Certs {
			seen[cert.Fingerprint] = cert
		}
	}
	d.Retain(seen)
}
