package bundle

import (
	"strings"
	"sync"
)

// Cache remembers what Parse made of texts, failures included: the pods of a
// cluster carry very few distinct bundles, and parsing one costs a hundred times
// a look-up. It is bounded, so that pods that each carry another text cost time
// and not memory. Safe for concurrent use.
//
// It keeps two generations. What is used moves to the young one; when that is
// half the bound, it becomes the old one and what was old and unused is gone.
type Cache struct {
	maxEntries, maxBytes int

	mu         sync.RWMutex
	young, old map[string]parsed
	youngBytes int
}

type parsed struct {
	set Set
	err error
}

// NewCache returns a cache of at most maxEntries texts that together have at
// most maxBytes bytes (the parsed certificates take about three times as much
// besides). Smaller bounds than two entries remember nothing.
func NewCache(maxEntries, maxBytes int) *Cache {
	return &Cache{maxEntries: maxEntries, maxBytes: maxBytes, young: map[string]parsed{}}
}

// Parse returns what the function Parse returns for the text. The text itself
// is not kept, but a copy, so that it may be part of something large.
func (c *Cache) Parse(text string) (Set, error) {
	c.mu.RLock()
	hit, ok := c.young[text]
	c.mu.RUnlock()
	if ok {
		return hit.set, hit.err
	}
	return c.miss(text)
}

// Len returns the number of texts that are remembered.
func (c *Cache) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.young) + len(c.old)
}

// miss looks among the old ones, or parses. Two callers may parse one text at
// the same time: that is cheaper than to let one wait for the other.
func (c *Cache) miss(text string) (Set, error) {
	c.mu.RLock()
	p, ok := c.old[text]
	c.mu.RUnlock()
	if !ok {
		p.set, p.err = Parse([]byte(text))
	}
	c.put(text, p)
	return p.set, p.err
}

func (c *Cache) put(text string, p parsed) {
	if len(text) > c.maxBytes/2 || c.maxEntries < 2 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.young[text]; ok {
		return
	}
	delete(c.old, text)
	if len(c.young)+1 > c.maxEntries/2 || c.youngBytes+len(text) > c.maxBytes/2 {
		c.old, c.young, c.youngBytes = c.young, map[string]parsed{}, 0
	}
	c.young[strings.Clone(text)] = p
	c.youngBytes += len(text)
}
