package inventory

import (
	"context"
	"fmt"

	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/reanchor/reanchor/mesh"
)

var (
	_ manager.Runnable               = (*Index)(nil)
	_ manager.LeaderElectionRunnable = (*Index)(nil)
)

// NeedLeaderElection implements manager.LeaderElectionRunnable: every replica
// keeps its index, so that a new leader starts from a warm one.
func (x *Index) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable: it keeps the index up to date until ctx
// ends. Failures of the API server are logged and retried for ever, with a
// back-off of at most a minute.
func (x *Index) Start(ctx context.Context) error {
	for ctx.Err() == nil {
		x.mu.RLock()
		s := x.session
		x.mu.RUnlock()
		s.run(ctx)
	}
	return nil
}

// run watches pods until ctx ends or another session takes over.
func (s *session) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.superseded:
			cancel()
		case <-ctx.Done():
		}
	}()
	if len(s.meshes) == 0 {
		<-ctx.Done()
		return
	}
	logger := log.FromContext(ctx)
	source := &podSource{client: s.index.client, meshes: s.meshes}
	// No type is expected: bookmarks come as pods, the others compacted.
	cache.NewReflectorWithOptions(source.listerWatcher(), nil, s, cache.ReflectorOptions{
		Logger: &logger, Name: "inventory", TypeDescription: "pods",
	}).RunWithContext(ctx)
}

// Build returns an index of the pods as they are now, read from the API server
// and not from any cache: what a gate looks at before a step that cannot be
// undone, or a second look at one workload. It is never updated.
func Build(ctx context.Context, client corev1client.PodsGetter, scope Scope, meshes ...mesh.Mesh) (*Index, error) {
	x := New(client)
	x.SetMeshes(meshes...)
	pods, version, err := (&podSource{client: client, meshes: x.session.meshes, scope: scope}).list(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]any, len(pods))
	for i, c := range pods {
		list[i] = c
	}
	if err := x.session.Replace(list, version); err != nil {
		return nil, fmt.Errorf("indexing pods: %w", err)
	}
	return x, nil
}
