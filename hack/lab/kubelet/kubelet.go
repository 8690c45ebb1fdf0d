// Package kubelet is the lab's kubelet of references. kwok's fake kubelets report
// containers as running and run none; this tells what a container would have got
// from its references to ConfigMaps and Secrets, so that a test can compare what
// Reanchor infers with what happened.
//
// It watches pods. When it sees that a container runs, for the first time or
// again with another start time or restart count, it resolves the container's
// env and volumes as it sees the objects at that moment, and keeps that: the
// process has read it. What it sees is EnvLag old for env and FileLag old for
// files; a lag of nothing means a read from the API server, as a kubelet without
// a cache does. An object that is newer than the lag is seen as it was first.
// Files of running containers go on changing, FileLag behind the object.
//
// Values of fieldRef and resourceFieldRef are left out, and $(NAME) in a literal
// is not expanded. What ran before Start counts as started then.
//
// It imports nothing of the packages whose inference it measures.
package kubelet

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

// Options of a kubelet. The zero value sees everything at once.
type Options struct {
	// EnvLag is how old the objects are that env is resolved from.
	EnvLag time.Duration
	// FileLag is how old the objects are that files are made of, at the start of
	// a container and while it runs.
	FileLag time.Duration
	// Clock is the wall clock by default.
	Clock clock.PassiveClock
}

// Resolved is what a container was given when it started.
type Resolved struct {
	// Env holds literals and resolved references by the variable's name.
	Env map[string]string
	// Files holds the contents by absolute path, as the process found them.
	Files map[string][]byte
	// Missing names the references that are not optional and led nowhere. A real
	// kubelet would not have started the container.
	Missing []string
	// StartedAt is the start that this belongs to, as the pod's status has it.
	StartedAt time.Time
}

// Kubelet resolves the references of every container of the cluster.
type Kubelet struct {
	client  kubernetes.Interface
	clock   clock.PassiveClock
	objects *objects
	stop    context.CancelFunc
	factory informers.SharedInformerFactory

	mu         sync.Mutex
	env, files time.Duration
	pods       map[types.UID]map[string]started
}

// started is one start of one container.
type started struct {
	pod      *corev1.Pod // shared with the informer, never written
	at       time.Time
	restarts int32
	// cut is the moment as of which files were read.
	cut      time.Time
	resolved Resolved
}

// Start returns when the kubelet has seen every object there is. ctx bounds that
// only; Stop ends the kubelet.
func Start(ctx context.Context, config *rest.Config, o Options) (*Kubelet, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("building the kubelet's client: %w", err)
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	runCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	k := &Kubelet{
		client: client, clock: o.Clock, objects: newObjects(o.Clock), stop: stop,
		factory: informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(slim)),
		env:     o.EnvLag, files: o.FileLag, pods: map[types.UID]map[string]started{},
	}
	core := k.factory.Core().V1()
	// Pods come last, when the objects that they refer to are known.
	err = k.follow(ctx, runCtx, k.objects.handler(), core.ConfigMaps().Informer(), core.Secrets().Informer())
	if err == nil {
		err = k.follow(ctx, runCtx, k.handler(runCtx), core.Pods().Informer())
	}
	if err != nil {
		k.Stop()
		return nil, err
	}
	return k, nil
}

// follow starts informers that run until runCtx ends, and waits within ctx until
// the handler has been given every object there is.
func (k *Kubelet) follow(ctx, runCtx context.Context, handler cache.ResourceEventHandler, informers ...cache.SharedIndexInformer) error {
	var synced []cache.InformerSynced
	for _, informer := range informers {
		registration, err := informer.AddEventHandler(handler)
		if err != nil {
			return fmt.Errorf("starting the kubelet's watches: %w", err)
		}
		synced = append(synced, registration.HasSynced)
	}
	k.factory.StartWithContext(runCtx)
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return fmt.Errorf("waiting for the kubelet to see everything: %w", context.Cause(ctx))
	}
	return nil
}

// slim drops what is most of a pod in memory and nobody asks for.
func slim(obj any) (any, error) {
	if accessor, err := meta.Accessor(obj); err == nil {
		accessor.SetManagedFields(nil)
	}
	return obj, nil
}

func (k *Kubelet) handler(ctx context.Context) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { k.observe(ctx, obj) },
		UpdateFunc: func(_, obj any) { k.observe(ctx, obj) },
		DeleteFunc: k.forget,
	}
}

// Stop ends the watches. What was resolved can still be asked for.
func (k *Kubelet) Stop() {
	k.stop()
	k.factory.Shutdown()
}

// SetLag changes how old the objects are that it sees, for the containers that
// start from now on and for the files that change from now on.
func (k *Kubelet) SetLag(env, files time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.env, k.files = env, files
}

// Resolved returns what the container was given at its latest start; false when
// the kubelet has not seen it running, or the pod is gone.
func (k *Kubelet) Resolved(pod types.UID, container string) (Resolved, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.pods[pod][container]
	return s.resolved, ok
}

// Mounted returns the files of a running container as they are now, which the
// process may or may not have read again. A subPath never changes.
func (k *Kubelet) Mounted(pod types.UID, container string) (map[string][]byte, bool) {
	k.mu.Lock()
	s, ok := k.pods[pod][container]
	cut := k.clock.Now().Add(-k.files)
	k.mu.Unlock()
	if !ok {
		return nil, false
	}
	if cut.Before(s.cut) {
		cut = s.cut
	}
	c := find(s.pod, container)
	mounted, _ := files(s.pod, c, k.objects.asOf(s.pod.Namespace, cut), func(m corev1.VolumeMount) bool { return !fixed(m) })
	pinned, _ := files(s.pod, c, k.objects.asOf(s.pod.Namespace, s.cut), fixed)
	maps.Copy(mounted, pinned)
	return mounted, true
}

func (k *Kubelet) forget(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	if pod, ok := obj.(*corev1.Pod); ok {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.pods, pod.UID)
	}
}

// observe looks for containers that have started since the last look.
func (k *Kubelet) observe(ctx context.Context, obj any) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return
	}
	fresh := k.live(ctx, pod.Namespace)
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for _, status := range list {
			if status.State.Running != nil {
				k.observeRunning(pod, status, fresh)
			}
		}
	}
}

func (k *Kubelet) observeRunning(pod *corev1.Pod, status corev1.ContainerStatus, fresh lookup) {
	at := status.State.Running.StartedAt.Time
	k.mu.Lock()
	before, seen := k.pods[pod.UID][status.Name]
	envLag, fileLag := k.env, k.files
	k.mu.Unlock()
	c := find(pod, status.Name)
	if c == nil || seen && before.at.Equal(at) && before.restarts == status.RestartCount {
		return
	}
	now := k.clock.Now()
	s := started{pod: pod, at: at, restarts: status.RestartCount, cut: now.Add(-fileLag)}
	s.resolved = resolve(pod, c, k.seen(pod, now, envLag, fresh), k.seen(pod, now, fileLag, fresh))
	s.resolved.StartedAt = at
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pods[pod.UID] == nil {
		k.pods[pod.UID] = map[string]started{}
	}
	k.pods[pod.UID][status.Name] = s
}

// seen is the view of one who sees everything lag late, but fetches what it has
// never seen.
func (k *Kubelet) seen(pod *corev1.Pod, now time.Time, lag time.Duration, fresh lookup) lookup {
	if lag <= 0 {
		return fresh
	}
	past := k.objects.asOf(pod.Namespace, now.Add(-lag))
	return func(kind kind, name string) (content, bool) {
		if data, ok := past(kind, name); ok {
			return data, true
		}
		return fresh(kind, name)
	}
}

func find(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}
