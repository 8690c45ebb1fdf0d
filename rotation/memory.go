package rotation

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/owner"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// memory is what a controller remembers of its own writes until it sees them.
// It may be lost at any time: then a write that the cache does not show yet is
// made again, which changes nothing.
type memory struct {
	mu     sync.Mutex
	meshes map[string]*remembered
}

type remembered struct {
	// written holds the last write to each workload's object.
	written map[rollout.Key]write
	// evicted holds the pods whose eviction was granted, with their workload.
	evicted map[types.UID]rollout.Key
	// refused holds what refused the last eviction.
	refused map[rollout.Key]string
}

// write is a write to a workload's object.
type write struct {
	// uid is the object's: another of its name was not written to.
	uid types.UID
	// generation is the object's after it; 0 once the cache has shown it.
	generation int64
	at         time.Time
}

func (r *remembered) clone() remembered {
	return remembered{written: maps.Clone(r.written), evicted: maps.Clone(r.evicted), refused: maps.Clone(r.refused)}
}

func newMemory() *memory { return &memory{meshes: map[string]*remembered{}} }

func (m *memory) mesh(name string) *remembered {
	if m.meshes[name] == nil {
		m.meshes[name] = &remembered{written: map[rollout.Key]write{}, evicted: map[types.UID]rollout.Key{}, refused: map[rollout.Key]string{}}
	}
	return m.meshes[name]
}

// of returns a copy of what is remembered. Two meshes may share a pod, so what was
// written for another is in flight for this one, too.
func (m *memory) of(name string) remembered {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.mesh(name).clone()
	for other, one := range m.meshes {
		if other == name {
			continue
		}
		maps.Copy(out.evicted, one.evicted)
		for key, w := range one.written {
			if own := out.written[key]; own.generation < w.generation {
				out.written[key] = write{uid: w.uid, generation: w.generation, at: own.at}
			}
		}
	}
	return out
}

// caughtUp forgets the writes that the cache shows, and workloads that are gone.
func (m *memory) caughtUp(name string, workloads []rollout.Workload) {
	m.mu.Lock()
	defer m.mu.Unlock()
	one, lags := m.mesh(name), map[rollout.Key]bool{}
	for i := range workloads {
		lags[workloads[i].Key] = workloads[i].Owner.Lags
	}
	for key, w := range one.written {
		if lagging, there := lags[key]; !there {
			delete(one.written, key)
		} else if !lagging {
			one.written[key] = write{uid: w.uid, at: w.at}
		}
	}
	maps.DeleteFunc(one.evicted, func(_ types.UID, key rollout.Key) bool { return !lags[key] })
	maps.DeleteFunc(one.refused, func(key rollout.Key, _ string) bool {
		_, there := lags[key]
		return !there
	})
}

// wrote notes that an action was carried out.
func (m *memory) wrote(name string, a rollout.Action, w owner.Written, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	one := m.mesh(name)
	delete(one.refused, a.Key)
	if a.Verb == v1alpha1.VerbEvict {
		one.evicted[types.UID(a.Pod.UID)] = a.Key
		return
	}
	one.written[a.Key] = write{uid: w.UID, generation: w.Generation, at: at}
}

// wasRefused notes what refused the eviction of a workload's pod.
func (m *memory) wasRefused(name string, key rollout.Key, by string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mesh(name).refused[key] = by
}

func (m *memory) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.meshes, name)
}
