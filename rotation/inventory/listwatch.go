package inventory

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/reanchor/reanchor/mesh"
)

// pageSize is how many whole pods are in memory at once while listing.
const pageSize = 500

// NewClient returns a client for New and Build. Pods come as protobuf, five
// times faster to read than JSON, and without a limit of requests on this side:
// there is never more than one in flight.
func NewClient(config *rest.Config) (corev1client.PodsGetter, error) {
	config = rest.CopyConfig(config)
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	config.QPS = -1
	config.Timeout = 0 // it would end every watch
	client, err := corev1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for pods: %w", err)
	}
	return client, nil
}

// Scope narrows a list of pods; its zero value is all pods.
type Scope struct {
	// Namespace is where to look; empty means everywhere.
	Namespace string
	// LabelSelector is that of a workload, for a look at its pods alone. A gate
	// never uses one.
	LabelSelector string
}

// podSource lists and watches pods and compacts each as it comes.
type podSource struct {
	client corev1client.PodsGetter
	meshes []mesh.Mesh
	scope  Scope
}

// listerWatcher returns the source as the reflector wants it.
func (s *podSource) listerWatcher() cache.ListerWatcher {
	return &cache.ListWatch{ListWithContextFunc: s.listAll, WatchFuncWithContext: s.watch}
}

// list reads all pods, page by page, from a consistent state of the cluster. It
// returns the resource version of that state.
func (s *podSource) list(ctx context.Context) ([]*compacted, string, error) {
	var pods []*compacted
	options := metav1.ListOptions{Limit: pageSize, LabelSelector: s.scope.LabelSelector}
	for {
		page, err := s.client.Pods(s.scope.Namespace).List(ctx, options)
		if err != nil {
			return nil, "", fmt.Errorf("listing pods: %w", err)
		}
		for i := range page.Items {
			if c := compact(s.meshes, &page.Items[i]); c.member() {
				pods = append(pods, c)
			}
		}
		if page.Continue == "" {
			return pods, page.ResourceVersion, nil
		}
		options.Continue = page.Continue
	}
}

// listAll is what the reflector calls where the server does not stream lists,
// and silently whenever that fails. It then asks for one page of everything, or
// for any state that the server has at hand, which comes in one page whatever
// the limit: both would have all pods in memory at once. So its options are not
// used; the newest state satisfies every one of them.
func (s *podSource) listAll(ctx context.Context, _ metav1.ListOptions) (runtime.Object, error) {
	pods, version, err := s.list(ctx)
	if err != nil {
		return nil, err
	}
	list := &internalversion.List{Items: make([]runtime.Object, len(pods))}
	list.ResourceVersion = version
	for i, c := range pods {
		list.Items[i] = c
	}
	return list, nil
}

// watch is what the reflector calls for events and for streamed lists.
func (s *podSource) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	events, err := s.client.Pods(s.scope.Namespace).Watch(ctx, options)
	if err != nil {
		return nil, err // the reflector tells the kinds of errors apart
	}
	return compacting(events, s.compactEvent), nil
}

// compactEvent compacts the pod of an event. One that is no member of a mesh,
// or not any more, is to the store a pod that is gone: so it leaves no trace,
// and the reflector still learns how far it has read.
func (s *podSource) compactEvent(event watch.Event) watch.Event {
	pod, ok := event.Object.(*corev1.Pod)
	if !ok || event.Type == watch.Bookmark {
		return event
	}
	c := compact(s.meshes, pod)
	if !c.member() {
		event.Type = watch.Deleted
	}
	event.Object = c
	return event
}

// compactedWatch is a watch whose events are changed on their way. (That of
// apimachinery, watch.Filter, waits for its reader for ever, also for one that has
// stopped it and went away.)
type compactedWatch struct {
	incoming watch.Interface
	events   chan watch.Event
	done     chan struct{}
	stop     sync.Once
}

func compacting(incoming watch.Interface, change func(watch.Event) watch.Event) *compactedWatch {
	w := &compactedWatch{incoming: incoming, events: make(chan watch.Event), done: make(chan struct{})}
	go func() {
		defer close(w.events)
		for event := range incoming.ResultChan() {
			select {
			case w.events <- change(event):
			case <-w.done:
				return
			}
		}
	}()
	return w
}

// ResultChan implements watch.Interface.
func (w *compactedWatch) ResultChan() <-chan watch.Event { return w.events }

// Stop implements watch.Interface.
func (w *compactedWatch) Stop() {
	w.incoming.Stop()
	w.stop.Do(func() { close(w.done) })
}
