package anchorrotation

import (
	"sync"
	"time"
)

// pace is the least time between two looks at a mesh: each is some twenty reads,
// and while pods roll there are events all the time.
const pace = time.Second

// pacer remembers when each mesh was looked at. Its zero value is ready.
type pacer struct {
	mu     sync.Mutex
	looked map[string]time.Time
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
}
