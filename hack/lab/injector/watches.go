package injector

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/reanchor/reanchor/hack/lab/timeline"
)

// watches follow what the replicas depend on: the bundle and, when they are pods,
// the pods.
type watches struct {
	options      Options
	bundle, pods informers.SharedInformerFactory

	mu   sync.Mutex
	past timeline.Timeline[string]
}

func newWatches(client kubernetes.Interface, o Options) *watches {
	factory := func(tweak func(*metav1.ListOptions)) informers.SharedInformerFactory {
		return informers.NewSharedInformerFactoryWithOptions(client, 0,
			informers.WithNamespace(o.ControlPlane), informers.WithTweakListOptions(tweak))
	}
	return &watches{
		options: o,
		bundle: factory(func(l *metav1.ListOptions) {
			l.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, o.Bundle).String()
		}),
		pods: factory(func(l *metav1.ListOptions) { l.LabelSelector = o.PodSelector }),
	}
}

// start waits within ctx for what there is, and watches until runCtx ends.
func (w *watches) start(ctx, runCtx context.Context, rs *replicas) error {
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    w.record,
		UpdateFunc: func(_, obj any) { w.record(obj) },
		// A mounted file stays when its ConfigMap is deleted.
	}
	registration, err := w.bundle.Core().V1().ConfigMaps().Informer().AddEventHandler(handler)
	if err != nil {
		return fmt.Errorf("watching the bundle: %w", err)
	}
	w.bundle.StartWithContext(runCtx)
	synced := []cache.InformerSynced{registration.HasSynced}
	if w.options.PodSelector != "" {
		registration, err = w.pods.Core().V1().Pods().Informer().AddEventHandler(podHandler(rs))
		if err != nil {
			return fmt.Errorf("watching the injector's pods: %w", err)
		}
		w.pods.StartWithContext(runCtx)
		synced = append(synced, registration.HasSynced)
	}
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return fmt.Errorf("waiting for the injector to see its bundle: %w", context.Cause(ctx))
	}
	return nil
}

func (w *watches) stop() {
	w.bundle.Shutdown()
	w.pods.Shutdown()
}

func (w *watches) record(obj any) {
	cm, ok := obj.(*corev1.ConfigMap)
	if !ok {
		return
	}
	text, ok := cm.Data[BundleKey]
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.past.Record(w.options.Clock.Now(), text)
}

// text is the bundle as of t; false when there never was one.
func (w *watches) text(t time.Time) (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.past.At(t)
}

func podHandler(rs *replicas) cache.ResourceEventHandler {
	update := func(obj any) {
		if pod, ok := obj.(*corev1.Pod); ok {
			rs.setReady(pod.UID, pod.DeletionTimestamp == nil && isReady(pod))
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    update,
		UpdateFunc: func(_, obj any) { update(obj) },
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			if pod, ok := obj.(*corev1.Pod); ok {
				rs.remove(pod.UID)
			}
		},
	}
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
