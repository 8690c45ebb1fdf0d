package kubelet

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/reanchor/reanchor/hack/lab/timeline"
)

// remembered is how far back the objects' past is kept: no lag is longer.
const remembered = 30 * time.Minute

type kind string

const (
	configMap kind = "ConfigMap"
	secret    kind = "Secret"
)

// ref names an object that holds keys.
type ref struct {
	kind            kind
	namespace, name string
}

// content is an object's keys; nil keys mean that there is no such object.
type content map[string][]byte

// lookup answers what an object of one namespace holds, and false when there is
// none.
type lookup func(kind kind, name string) (content, bool)

// objects remembers the past of every ConfigMap and Secret.
type objects struct {
	clock clock.PassiveClock

	mu   sync.Mutex
	past map[ref]*timeline.Timeline[content]
}

func newObjects(c clock.PassiveClock) *objects {
	return &objects{clock: c, past: map[ref]*timeline.Timeline[content]{}}
}

func (o *objects) handler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { o.record(obj, false) },
		UpdateFunc: func(_, obj any) { o.record(obj, false) },
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			o.record(obj, true)
		},
	}
}

func (o *objects) record(obj any, gone bool) {
	r, data := keys(obj)
	if gone {
		data = nil
	}
	now := o.clock.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	line := o.past[r]
	if line == nil {
		line = &timeline.Timeline[content]{}
		o.past[r] = line
	}
	line.Record(now, data)
	line.Forget(now.Add(-remembered))
}

// asOf is what the objects of a namespace were at t.
func (o *objects) asOf(namespace string, t time.Time) lookup {
	return func(kind kind, name string) (content, bool) {
		o.mu.Lock()
		defer o.mu.Unlock()
		line := o.past[ref{kind, namespace, name}]
		if line == nil {
			return nil, false
		}
		data, _ := line.At(t)
		return data, data != nil
	}
}

// live reads from the API server, each object once. An API server that does not
// answer leaves what the watch last saw.
func (k *Kubelet) live(ctx context.Context, namespace string) lookup {
	read := map[ref]content{}
	return func(kind kind, name string) (content, bool) {
		r := ref{kind, namespace, name}
		if data, done := read[r]; done {
			return data, data != nil
		}
		data, err := k.get(ctx, r)
		switch {
		case apierrors.IsNotFound(err):
			data = nil
		case err != nil:
			return k.objects.asOf(namespace, k.clock.Now())(kind, name)
		}
		read[r] = data
		return data, data != nil
	}
}

func (k *Kubelet) get(ctx context.Context, r ref) (content, error) {
	var obj any
	var err error
	if r.kind == configMap {
		obj, err = k.client.CoreV1().ConfigMaps(r.namespace).Get(ctx, r.name, metav1.GetOptions{})
	} else {
		obj, err = k.client.CoreV1().Secrets(r.namespace).Get(ctx, r.name, metav1.GetOptions{})
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s %s/%s: %w", r.kind, r.namespace, r.name, err)
	}
	_, data := keys(obj)
	return data, nil
}

// keys of a ConfigMap or a Secret, never nil.
func keys(obj any) (ref, content) {
	data := content{}
	switch o := obj.(type) {
	case *corev1.ConfigMap:
		for key, value := range o.Data {
			data[key] = []byte(value)
		}
		for key, value := range o.BinaryData {
			data[key] = value
		}
		return ref{configMap, o.Namespace, o.Name}, data
	case *corev1.Secret:
		for key, value := range o.Data {
			data[key] = value
		}
		return ref{secret, o.Namespace, o.Name}, data
	}
	return ref{}, data
}
