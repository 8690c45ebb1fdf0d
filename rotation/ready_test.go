package rotation

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllertest"

	"github.com/reanchor/reanchor/rotation/inventory"
)

// partCache is a cache of which one kind is not served, and another not listed, by the
// name of its Go type.
type partCache struct {
	informertest.FakeInformers
	unserved, unlisted string
	asked              int
}

func (k *partCache) GetInformer(_ context.Context, o client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	k.asked++
	switch name := fmt.Sprintf("%T", o); name {
	case k.unserved:
		return nil, &meta.NoKindMatchError{GroupKind: schema.GroupKind{Kind: name}}
	case k.unlisted:
		return controllertest.NewFakeInformer(), nil
	default:
		return controllertest.NewFakeInformer(controllertest.Synced), nil
	}
}

func TestAReplicaIsReadyOnceAllThatDecidesWasRead(t *testing.T) {
	for name, tc := range map[string]struct {
		cache   partCache
		waiting string
	}{
		"everything":               {partCache{}, ""},
		"MeshTrusts unserved":      {partCache{unserved: "*v1alpha1.MeshTrust"}, "CRDs"},
		"AnchorRotations unread":   {partCache{unlisted: "*v1alpha1.AnchorRotation"}, "AnchorRotation has not been listed"},
		"Deployments unread":       {partCache{unlisted: "*v1.Deployment"}, "Deployment has not been listed"},
		"AnchorRotations unserved": {partCache{unserved: "*v1alpha1.AnchorRotation"}, "AnchorRotation cannot be watched"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &warmth{
					cache: &tc.cache, inventory: inventory.New(nil), changed: make(chan struct{}, 1), waiting: "nothing has been read yet",
					setMeshes: func(context.Context) error { return nil },
				}
				go w.Start(t.Context())
				time.Sleep(time.Minute)
				synctest.Wait()
				switch err := w.check(nil); {
				case (err == nil) != (tc.waiting == ""):
					t.Errorf("readiness %v, want %q", err, tc.waiting)
				case err != nil && !strings.Contains(err.Error(), tc.waiting):
					t.Errorf("readiness %v, want %q", err, tc.waiting)
				}
				if tc.cache.asked > 40 {
					t.Errorf("the API server was asked %d times in a minute", tc.cache.asked)
				}
			})
		})
	}
}
