package published

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle/bundletest"
)

// refusing is an API server that may refuse verbs, and ends watches when asked to.
type refusing struct {
	*fake.FakeDynamicClient
	refused atomic.Pointer[string] // verbs; nil for none
	events  atomic.Pointer[apiwatch.RaceFreeFakeWatcher]
	lists   atomic.Int64
}

func newRefusing(objects ...runtime.Object) *refusing {
	r := &refusing{FakeDynamicClient: fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
		map[schema.GroupVersionResource]string{configMaps: "ConfigMapList"}, objects...)}
	answer := func(a clienttesting.Action) error {
		if verbs := r.refused.Load(); verbs != nil && strings.Contains(*verbs, a.GetVerb()) {
			return apierrors.NewForbidden(a.GetResource().GroupResource(), "roots", errors.New("a role was taken away"))
		}
		return nil
	}
	r.PrependReactor("list", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		r.lists.Add(1)
		err := answer(a)
		return err != nil, nil, err
	})
	r.PrependWatchReactor("*", func(a clienttesting.Action) (bool, apiwatch.Interface, error) {
		if err := answer(a); err != nil {
			return true, nil, err
		}
		events := apiwatch.NewRaceFreeFake()
		r.events.Store(events)
		return true, events, nil
	})
	return r
}

// record keeps what was read whenever a change was told.
type record struct {
	mu   sync.Mutex
	read []string
}

func (r *record) add(message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read = append(r.read, message)
}

// last reports whether what was read last says it; all is what was read.
func (r *record) last(what string) (all []string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.read)
	return slices.Clone(r.read), n > 0 && strings.Contains(r.read[n-1], what)
}

// A watch may be refused for a while, when somebody mends roles. Whoever waits must be
// told then, and when it is permitted again, whether there is an object or not.
func TestARefusalLastsAsLongAsTheWatchIsRefused(t *testing.T) {
	root := bundletest.NewRoot(t, "root", bundletest.From(now.Add(-time.Hour), 24*time.Hour))
	roots := object("ConfigMap", "linkerd", "roots", map[string]any{"data": map[string]any{"ca-bundle.crt": root.PEM()}})
	roots.SetResourceVersion("7")
	spec := v1alpha1.BundleSpec{ConfigMapRef: &v1alpha1.KeyRef{Namespace: "linkerd", Name: "roots", Key: "ca-bundle.crt"}}
	for name, tc := range map[string]struct {
		objects []runtime.Object
		verbs   string
		says    string
	}{
		"an object that may not be read":    {[]runtime.Object{roots}, "list watch", "holds 1 anchors"},
		"an object that may only be listed": {[]runtime.Object{roots}, "watch", "holds 1 anchors"},
		"no object, which may not be read":  {nil, "list watch", "does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // retries come after many seconds
				server := newRefusing(tc.objects...)
				var told record
				var w *Watcher
				w = NewWatcher(server, func() { told.add(w.Bundle(spec, now).Message) })
				go w.Start(t.Context())
				settled(t, func() ([]string, bool) { return told.last(tc.says) })
				settled(t, func() (any, bool) { return nil, server.events.Load() != nil })
				server.refused.Store(&tc.verbs)
				server.events.Load().Stop()
				before := settled(t, func() ([]string, bool) { return told.last("forbidden") })
				tries := server.lists.Load()
				settled(t, func() (any, bool) { return nil, server.lists.Load() >= tries+2 })
				after, _ := told.last("")
				for _, message := range after[len(before):] {
					if !strings.Contains(message, "forbidden") {
						t.Errorf("while it is refused it says: %s", message)
					}
				}
				server.refused.Store(nil)
				settled(t, func() ([]string, bool) { return told.last(tc.says) })
			})
		})
	}
}
