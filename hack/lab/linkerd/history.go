package linkerd

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// History is every change of a mesh's pods since all were Ready, as the API told
// it. Resource versions are one order of all changes, so each instant is seen as
// it was, however late the watch is.
type History struct {
	workloads []Workload
	factory   informers.SharedInformerFactory
	cancel    context.CancelFunc

	mu      sync.Mutex
	changes []change
}

// change is what a pod became.
type change struct {
	version  uint64
	uid      types.UID
	workload string // NAMESPACE/NAME
	revision string
	up, gone bool
	// first is true for the pods that there were at the beginning.
	first bool
}

// startHistory begins it with the pods that there are.
func (m *Mesh) startHistory(ctx context.Context) error {
	set, err := kubernetes.NewForConfig(m.config)
	if err != nil {
		return fmt.Errorf("building the history's client: %w", err)
	}
	runCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h := &History{workloads: slices.Clone(m.workloads), cancel: cancel}
	h.factory = informers.NewSharedInformerFactoryWithOptions(set, 0, informers.WithTransform(slim),
		informers.WithTweakListOptions(func(l *metav1.ListOptions) { l.LabelSelector = ControlPlaneLabel + "=" + m.Mesh }))
	m.History = h
	registration, err := h.factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc:    func(obj any, initial bool) { h.add(obj, false, initial) },
		UpdateFunc: func(_, obj any) { h.add(obj, false, false) },
		DeleteFunc: func(obj any) { h.add(obj, true, false) },
	})
	if err != nil {
		return fmt.Errorf("watching the pods: %w", err)
	}
	h.factory.StartWithContext(runCtx)
	if !cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		return fmt.Errorf("waiting for the history to see the pods: %w", context.Cause(ctx))
	}
	return nil
}

// slim drops what is most of a pod in memory and nobody asks for.
func slim(obj any) (any, error) {
	if pod, ok := obj.(*corev1.Pod); ok {
		pod.ManagedFields, pod.Spec = nil, corev1.PodSpec{}
	}
	return obj, nil
}

func (h *History) stop() {
	h.cancel()
	h.factory.Shutdown()
}

func (h *History) add(obj any, gone, first bool) {
	if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = last.Obj
	}
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return
	}
	version, err := strconv.ParseUint(pod.ResourceVersion, 10, 64)
	if err != nil {
		return
	}
	c := change{
		version: version, uid: pod.UID, workload: pod.Namespace + "/" + pod.Labels[AppLabel], up: !gone && serves(pod), gone: gone, first: first,
		revision: cmp.Or(pod.Labels["pod-template-hash"], pod.Labels["controller-revision-hash"]),
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changes = append(h.changes, c)
}

func (h *History) sorted() []change {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := slices.Clone(h.changes)
	slices.SortStableFunc(all, func(a, b change) int { return cmp.Compare(a.version, b.version) })
	return all
}

// Restarted is what has become of a workload's pods.
type Restarted struct {
	Workload
	// Templates is how many pod templates it had after the first.
	Templates int
	// Replaced is how many pods were created after the first ones.
	Replaced int
}

// Times is how often each of its pods was replaced, on average.
func (r Restarted) Times() float64 { return float64(r.Replaced) / float64(r.Pods) }

// Restarted tells of each workload that the mesh was made with.
func (h *History) Restarted() []Restarted {
	revisions, created := map[string]map[string]bool{}, map[string]map[types.UID]bool{}
	for _, c := range h.sorted() {
		if revisions[c.workload] == nil {
			revisions[c.workload], created[c.workload] = map[string]bool{}, map[types.UID]bool{}
		}
		revisions[c.workload][c.revision] = true
		if _, known := created[c.workload][c.uid]; !known {
			created[c.workload][c.uid] = !c.first
		}
	}
	var out []Restarted
	for _, w := range h.workloads {
		key := w.Namespace + "/" + w.Name
		r := Restarted{Workload: w, Templates: len(revisions[key]) - 1}
		for _, later := range created[key] {
			if later {
				r.Replaced++
			}
		}
		out = append(out, r)
	}
	return out
}

// RestartsPerWorkload is the mean of Restarted.Times over the application, the
// control plane left out.
func (h *History) RestartsPerWorkload() float64 {
	sum, n := 0.0, 0
	for _, r := range h.Restarted() {
		if !r.ControlPlane {
			sum += r.Times()
			n++
		}
	}
	return sum / float64(max(1, n))
}

// MaxUnavailable is how many pods were missing at the worst instant: those that
// a workload should have, and that did not serve. A pod too many of another
// makes up for none.
func (h *History) MaxUnavailable() int {
	wanted, up := map[string]int{}, map[string]map[types.UID]bool{}
	missing := 0
	for _, w := range h.workloads {
		key := w.Namespace + "/" + w.Name
		wanted[key], up[key] = w.Pods, map[types.UID]bool{}
		missing += w.Pods
	}
	worst, begun := 0, false
	for _, c := range h.sorted() {
		pods := up[c.workload]
		if pods == nil {
			continue
		}
		missing -= max(0, wanted[c.workload]-len(pods))
		if delete(pods, c.uid); c.up {
			pods[c.uid] = true
		}
		missing += max(0, wanted[c.workload]-len(pods))
		if begun = begun || missing == 0; begun {
			worst = max(worst, missing)
		}
	}
	return worst
}
