package rotation

import (
	"sync"

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
	// expected holds the generation that a write gave a workload.
	expected map[rollout.Key]int64
	// refused holds what refused the last eviction.
	refused map[rollout.Key]string
}

func newMemory() *memory { return &memory{meshes: map[string]*remembered{}} }

func (m *memory) mesh(name string) *remembered {
	if m.meshes[name] == nil {
		m.meshes[name] = &remembered{expected: map[rollout.Key]int64{}, refused: map[rollout.Key]string{}}
	}
	return m.meshes[name]
}

// of returns copies of what is remembered.
func (m *memory) of(name string) (expected map[rollout.Key]int64, refused map[rollout.Key]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	one := m.mesh(name)
	return cloned(one.expected), cloned(one.refused)
}

func cloned[V any](m map[rollout.Key]V) map[rollout.Key]V {
	out := make(map[rollout.Key]V, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// caughtUp forgets the writes that the cache shows, and workloads that are gone.
func (m *memory) caughtUp(name string, workloads []rollout.Workload) {
	m.mu.Lock()
	defer m.mu.Unlock()
	one := m.mesh(name)
	lags := map[rollout.Key]bool{}
	there := map[rollout.Key]bool{}
	for i := range workloads {
		there[workloads[i].Key] = true
		lags[workloads[i].Key] = workloads[i].Owner.Lags
	}
	for key := range one.expected {
		if !lags[key] {
			delete(one.expected, key)
		}
	}
	for key := range one.refused {
		if !there[key] {
			delete(one.refused, key)
		}
	}
}

// wrote notes the outcome of a write.
func (m *memory) wrote(name string, key rollout.Key, generation int64, refusedBy string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	one := m.mesh(name)
	if generation > 0 {
		one.expected[key] = generation
	}
	if refusedBy == "" {
		delete(one.refused, key)
	} else {
		one.refused[key] = refusedBy
	}
}

func (m *memory) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.meshes, name)
}
