package e2e

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// Pods of a mesh that come and go all the time change its counts all the time.
// Such writes of the status are coalesced to one in two seconds, and it is right
// in the end.
func TestStatusWritesAreCoalesced(t *testing.T) {
	t.Parallel()
	const every, storm, least = 2 * time.Second, 12 * time.Second, 40
	m := newMesh(t, meshOptions{spec: quick()})
	ns := m.namespace("storm")
	deployment(t, ns, "stays", 1, nil)
	ready(t, ns, 1)
	m.awaitConverged(time.Minute, m.root)

	writes := m.writes()
	began, came := time.Now(), 0
	for time.Since(began) < storm || came < least {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprint("passing-", came)}, Spec: podTemplate("passing", nil).Spec,
		}
		create(t, pod)
		if came++; came%2 == 0 { // so that the counts grow as well
			if err := env.client.Delete(t.Context(), pod, client.GracePeriodSeconds(0)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	total := int32(1 + came - came/2)
	eventually(t, time.Minute, func() error {
		if have := m.status().Status.Pods; have.Total != total || have.Current != total {
			return fmt.Errorf("want %d pods, all current, have %+v", total, have)
		}
		return nil
	})
	n, took := writes(), time.Since(began)
	t.Logf("%d pods came, %d writes of the status within %s", came, n, took.Round(100*time.Millisecond))
	// A change of more than counts is written at once; nothing here is known to
	// make one, but a busy machine may.
	if most := int(took/every) + 1 + 3; n > most || n < 3 {
		t.Errorf("%d pods came and the status was written %d times within %s, want 3 times at least and %d at most", came, n, took, most)
	}
}

// writes counts the writes of the MeshTrust from now until the returned function
// is called.
func (m *meshWorld) writes() func() int {
	m.t.Helper()
	objects, err := dynamic.NewForConfig(env.lab.Config())
	if err != nil {
		m.t.Fatal(err)
	}
	first := m.status().ResourceVersion
	w, err := objects.Resource(v1alpha1.GroupVersion.WithResource("meshtrusts")).Watch(m.t.Context(), metav1.ListOptions{
		FieldSelector: "metadata.name=" + m.name, ResourceVersion: first,
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(w.Stop)
	var mu sync.Mutex
	var versions []string
	go func() {
		for e := range w.ResultChan() {
			if o, ok := e.Object.(metav1.Object); ok {
				mu.Lock()
				versions = append(versions, o.GetResourceVersion())
				mu.Unlock()
			}
		}
	}()
	return func() int {
		m.t.Helper()
		n, now := 0, m.status().ResourceVersion
		eventually(m.t, time.Minute, func() error {
			mu.Lock()
			defer mu.Unlock()
			if n = slices.Index(versions, now) + 1; n == 0 && now != first {
				return fmt.Errorf("the watch has told of %d writes and not of the last one", len(versions))
			}
			return nil
		})
		return n
	}
}
