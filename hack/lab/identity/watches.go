package identity

import (
	"bytes"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

const proxyContainer = "linkerd-proxy"

// watches follow what the replicas depend on: the issuer, the anchors and, when
// they are pods, the pods.
type watches struct {
	options               Options
	replicas              *replicas
	issuer, anchors, pods informers.SharedInformerFactory
	last                  files // of the one goroutine that gets the issuer's events
}

func newWatches(client kubernetes.Interface, o Options, rs *replicas) *watches {
	factory := func(tweak func(*metav1.ListOptions)) informers.SharedInformerFactory {
		return informers.NewSharedInformerFactoryWithOptions(client, 0,
			informers.WithNamespace(o.ControlPlane), informers.WithTweakListOptions(tweak))
	}
	named := func(name string) func(*metav1.ListOptions) {
		return func(l *metav1.ListOptions) {
			l.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
		}
	}
	return &watches{
		options: o, replicas: rs,
		issuer: factory(named(IssuerSecret)), anchors: factory(named(o.Bundle)),
		pods: factory(func(l *metav1.ListOptions) { l.LabelSelector = o.PodSelector }),
	}
}

// followed is an informer with what becomes of its events.
type followed struct {
	informer  cache.SharedIndexInformer
	set, gone func(obj any)
}

// start waits within ctx for what there is, and watches until runCtx ends.
func (w *watches) start(ctx, runCtx context.Context) error {
	all := []followed{
		{w.anchors.Core().V1().ConfigMaps().Informer(), w.setAnchors, func(any) { w.replicas.setAnchors(nil) }},
		{w.issuer.Core().V1().Secrets().Informer(), w.setIssuer, func(any) { w.changeIssuer(files{}) }},
	}
	if w.options.PodSelector != "" {
		all = append(all, followed{w.pods.Core().V1().Pods().Informer(), w.setPod, w.removePod})
	}
	var synced []cache.InformerSynced
	for _, f := range all {
		registration, err := f.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: f.set, UpdateFunc: func(_, obj any) { f.set(obj) }, DeleteFunc: f.gone,
		})
		if err != nil {
			return fmt.Errorf("starting identity's watches: %w", err)
		}
		synced = append(synced, registration.HasSynced)
	}
	for _, factory := range w.factories() {
		factory.StartWithContext(runCtx)
	}
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return fmt.Errorf("waiting for identity to see its issuer and anchors: %w", context.Cause(ctx))
	}
	return nil
}

func (w *watches) factories() []informers.SharedInformerFactory {
	return []informers.SharedInformerFactory{w.anchors, w.issuer, w.pods}
}

func (w *watches) stop() {
	for _, factory := range w.factories() {
		factory.Shutdown()
	}
}

func (w *watches) setAnchors(obj any) {
	if cm, ok := obj.(*corev1.ConfigMap); ok {
		w.replicas.setAnchors([]byte(cm.Data[BundleKey]))
	}
}

func (w *watches) setIssuer(obj any) {
	if secret, ok := obj.(*corev1.Secret); ok {
		w.changeIssuer(filesOf(secret.Data))
	}
}

// changeIssuer leaves out what changes no file, such as a label of the Secret.
func (w *watches) changeIssuer(f files) {
	if !bytes.Equal(f.certificate, w.last.certificate) || !bytes.Equal(f.key, w.last.key) {
		w.last = f
		w.replicas.setIssuer(f)
	}
}

func (w *watches) setPod(obj any) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return
	}
	began, running := startOf(pod)
	if !running {
		w.replicas.remove(pod.UID)
		return
	}
	w.replicas.setPod(pod.UID, podState{
		name:  types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name},
		start: began, ready: pod.DeletionTimestamp == nil && isReady(pod), held: Held(&pod.ObjectMeta),
	})
}

func (w *watches) removePod(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	if pod, ok := obj.(*corev1.Pod); ok {
		w.replicas.remove(pod.UID)
	}
}

// startOf is the start of the container that is identity: the first one that is
// not the proxy.
func startOf(pod *corev1.Pod) (start, bool) {
	name := ""
	for _, c := range pod.Spec.Containers {
		if name == "" && c.Name != proxyContainer {
			name = c.Name
		}
	}
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == name && status.State.Running != nil {
			return start{status.State.Running.StartedAt.Unix(), status.RestartCount}, true
		}
	}
	return start{}, false
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
