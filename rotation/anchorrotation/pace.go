package anchorrotation

import (
	"sync"
	"time"
)

// pace is the least time between two looks at a mesh: each is some twenty reads,
// and while pods roll there are events all the time.
const pace = time.Second

// patience is how long what a mesh lacks is waited for without a word: after a
// start of the controller the pods are read well within it.
const patience = time.Minute

// pacer remembers when each mesh was looked at, and since when there is nothing
// that could be decided on. Its zero value is ready.
type pacer struct {
	mu              sync.Mutex
	looked, pending map[string]time.Time
}

// waited returns for how long nothing could be decided about a mesh.
func (p *pacer) waited(mesh string, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending == nil {
		p.pending = map[string]time.Time{}
	}
	since, ok := p.pending[mesh]
	if !ok {
		since = now
		p.pending[mesh] = since
	}
	return now.Sub(since)
}

// ready ends the waiting.
func (p *pacer) ready(mesh string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pending, mesh)
}

// wait returns how long a mesh is to be left alone; zero when it may be looked
// at now, which is noted.
func (p *pacer) wait(mesh string, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	// A clock that was set back keeps nobody waiting.
	if wait := p.looked[mesh].Add(pace).Sub(now); wait > 0 && wait <= pace {
		return wait
	}
	if p.looked == nil {
		p.looked = map[string]time.Time{}
	}
	p.looked[mesh] = now
	return 0
}

func (p *pacer) forget(mesh string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.looked, mesh)
	delete(p.pending, mesh)
}
