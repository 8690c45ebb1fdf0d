package inventory

import (
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/reanchor/reanchor/mesh"
)

// compacted is what goes through the reflector instead of a Pod. It has just
// the metadata that the reflector asks for.
type compacted struct {
	key     podKey
	version string
	// records are those of the pod, one for each mesh of the session; nil for a
	// mesh that it is no member of.
	records []*record
}

// compact looks at a pod for every mesh.
func compact(meshes []mesh.Mesh, pod *corev1.Pod) *compacted {
	c := &compacted{key: podKey{unique.Make(pod.Namespace), pod.Name}, version: pod.ResourceVersion}
	if ended(pod) {
		return c
	}
	view := mesh.ViewOf(pod)
	for i := range meshes {
		if !meshes[i].Member(view) {
			continue
		}
		if c.records == nil {
			c.records = make([]*record, len(meshes))
		}
		c.records[i] = newRecord(&meshes[i], pod, view)
		c.key = c.records[i].key() // shares the record's text
	}
	return c
}

// member reports whether the pod is a member of any mesh.
func (c *compacted) member() bool { return c.records != nil }

// record returns the record for the i-th mesh of the session, or nil.
func (c *compacted) record(i int) *record {
	if c.records == nil {
		return nil
	}
	return c.records[i]
}

// GetObjectMeta implements metav1.ObjectMetaAccessor for the reflector.
func (c *compacted) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: c.key.namespace.Value(), Name: c.key.name, ResourceVersion: c.version}
}

// GetObjectKind implements runtime.Object.
func (c *compacted) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject implements runtime.Object; a compacted pod is immutable.
func (c *compacted) DeepCopyObject() runtime.Object { return c }
