package inventory

import (
	"slices"
	"sync"

	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/mesh"
)

// Bounds of the remembered parses of literal bundles: far more than a cluster
// has, and no more memory than a few hundred pods.
const (
	maxTexts     = 512
	maxTextBytes = 4 << 20
)

// Index is the index of all meshed pods. Use New for one that Start keeps up to
// date, and Build for one of this moment. Safe for concurrent use.
type Index struct {
	client corev1client.PodsGetter
	texts  *bundle.Cache

	mu      sync.RWMutex
	meshes  map[string]*members
	session *session
	feeds   []*feed
}

// New returns an empty index of the pods of all namespaces. See NewClient for
// the client; nothing is read before Start runs and SetMeshes names a mesh.
func New(client corev1client.PodsGetter) *Index {
	x := &Index{client: client, texts: bundle.NewCache(maxTexts, maxTextBytes), meshes: map[string]*members{}}
	x.session = x.newSession(nil)
	return x
}

// SetMeshes says which meshes there are: all of them, at every change. It is
// cheap when nothing changed that pods are inspected for. Otherwise all pods
// are listed again, and the meshes that are new or inspect pods in another way
// are not synced until that is done. A mesh must not be modified afterwards.
func (x *Index) SetMeshes(meshes ...mesh.Mesh) {
	x.mu.Lock()
	defer x.mu.Unlock()
	next := make(map[string]*members, len(meshes))
	same := true
	for i := range meshes {
		m := &meshes[i]
		kept := x.meshes[m.Name]
		if kept != nil && kept.mesh.SameInspection(m) {
			kept.mesh = m
		} else {
			kept, same = &members{mesh: m, pods: map[podKey]*record{}}, false
		}
		next[m.Name] = kept
	}
	same = same && len(next) == len(x.meshes)
	x.meshes = next
	if same {
		return
	}
	close(x.session.superseded)
	x.session = x.newSession(next)
}

func (x *Index) newSession(meshes map[string]*members) *session {
	s := &session{index: x, superseded: make(chan struct{})}
	for _, m := range meshes {
		s.meshes = append(s.meshes, *m.mesh)
		s.members = append(s.members, m)
	}
	return s
}

// HasSynced reports whether the index knows all members of the mesh. It is
// false for a mesh that SetMeshes did not name.
func (x *Index) HasSynced(name string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	m := x.meshes[name]
	return m != nil && m.synced
}

// Synced reports whether the index knows all members of all meshes; so also
// when there are none.
func (x *Index) Synced() bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, m := range x.meshes {
		if !m.synced {
			return false
		}
	}
	return true
}

// announce tells every feed that something changed in the mesh. The caller
// holds the lock.
func (x *Index) announce(name string) {
	for _, f := range x.feeds {
		f.add(name)
	}
}

func (x *Index) addFeed(f *feed) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.feeds = append(x.feeds, f)
	for name, m := range x.meshes {
		if m.synced {
			f.add(name)
		}
	}
}

func (x *Index) removeFeed(f *feed) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.feeds = slices.DeleteFunc(x.feeds, func(o *feed) bool { return o == f })
}
