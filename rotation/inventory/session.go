package inventory

import (
	"fmt"

	"k8s.io/client-go/tools/cache"

	"github.com/reanchor/reanchor/mesh"
)

// session is one run of the reflector: the store it writes to, for one set of
// meshes. When that changes, another session takes over; what an old one may
// still deliver ends in members that nobody asks any more.
type session struct {
	index *Index
	// meshes are what pods are inspected for, and members where they go, in the
	// same order.
	meshes  []mesh.Mesh
	members []*members
	// superseded is closed when another session takes over.
	superseded chan struct{}
}

// members holds the records of one mesh.
type members struct {
	mesh   *mesh.Mesh
	pods   map[podKey]*record
	synced bool
}

var _ cache.ReflectorStore = (*session)(nil)

// Add implements cache.ReflectorStore.
func (s *session) Add(obj any) error { return s.Update(obj) }

// Update implements cache.ReflectorStore.
func (s *session) Update(obj any) error {
	c, ok := obj.(*compacted)
	if !ok {
		return fmt.Errorf("storing a %T: want a compacted pod", obj)
	}
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	for i, m := range s.members {
		if m.put(c.key, c.record(i)) {
			s.index.announce(m.mesh.Name)
		}
	}
	return nil
}

// Delete implements cache.ReflectorStore.
func (s *session) Delete(obj any) error {
	c, ok := obj.(*compacted)
	if !ok {
		return fmt.Errorf("deleting a %T: want a compacted pod", obj)
	}
	return s.Update(&compacted{key: c.key})
}

// Replace implements cache.ReflectorStore: the list is the whole truth. After
// it, the session's meshes are synced.
func (s *session) Replace(list []any, _ string) error {
	pods := make([]*compacted, len(list))
	for i, obj := range list {
		c, ok := obj.(*compacted)
		if !ok {
			return fmt.Errorf("storing a list with a %T: want compacted pods", obj)
		}
		pods[i] = c
	}
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	for i, m := range s.members {
		if changed := m.replace(pods, i); changed || !m.synced {
			m.synced = true
			s.index.announce(m.mesh.Name)
		}
	}
	return nil
}

// Resync implements cache.ReflectorStore; the session asks for none.
func (s *session) Resync() error { return nil }

// put stores the record of a pod, or removes the pod when it is nil, and
// reports whether that changed anything.
func (m *members) put(key podKey, r *record) bool {
	old, had := m.pods[key]
	switch {
	case r == nil:
		delete(m.pods, key)
		return had
	case had && old.same(r):
		return false
	default:
		m.pods[r.key()] = r
		return true
	}
}

// replace stores the records of the i-th mesh in place of all others. Equal
// ones stay, so that a relist that brings nothing new announces nothing.
func (m *members) replace(pods []*compacted, i int) bool {
	changed := false
	next := make(map[podKey]*record, len(m.pods))
	for _, c := range pods {
		r := c.record(i)
		if r == nil {
			continue
		}
		if old := m.pods[r.key()]; old != nil && old.same(r) {
			r = old
		} else {
			changed = true
		}
		next[r.key()] = r
	}
	// Equal records of as many pods leave no room for one that went.
	changed = changed || len(next) != len(m.pods)
	m.pods = next
	return changed
}
