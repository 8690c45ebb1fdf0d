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
	// refused holds the workloads to which the last write was refused.
	refused map[rollout.Key]refused
}

// refused is a write that was refused, maybe several times in a row.
type refused struct {
	by    string
	times int
	// until is when it may be tried again.
	until time.Time
}

// patience is how long a write waits that was refused so many times in a row: from a
// second, since a PodDisruptionBudget may allow the next one that soon, to many, since
// each try asks much of the API server, and nobody may ever allow it.
func patience(times int) time.Duration { return time.Second << min(times-1, 4) }

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
		m.meshes[name] = &remembered{written: map[rollout.Key]write{}, evicted: map[types.UID]rollout.Key{}, refused: map[rollout.Key]refused{}}
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
	maps.DeleteFunc(one.refused, func(key rollout.Key, _ refused) bool {
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

// wasRefused notes what refused a write to a workload, such as the eviction of its
// pod.
func (m *memory) wasRefused(name string, key rollout.Key, by string, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.mesh(name).refused
	times := all[key].times + 1
	all[key] = refused{by: by, times: times, until: at.Add(patience(times))}
}

// notNeeded forgets that a write to a workload was refused: nobody wants it any more.
func (m *memory) notNeeded(name string, key rollout.Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.mesh(name).refused, key)
}

// wait is how long a write to a workload is not to be tried again; 0 when it may be.
func (m *memory) wait(name string, key rollout.Key, now time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(0, m.mesh(name).refused[key].until.Sub(now))
}

func (m *memory) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.meshes, name)
}
