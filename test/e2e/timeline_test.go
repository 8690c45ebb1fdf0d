package e2e

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// timeline is the history of a scenario's pods and workloads, every change of
// it. All kinds live in one etcd, so their resource versions are one order of
// all changes: replay shows each instant as it truly was, whatever the watches
// were slow to tell.
type timeline struct {
	t      *testing.T
	prefix string
	also   []string
	client *kubernetes.Clientset

	mu      sync.Mutex
	changes []change
}

// change is what one object became, or that it is gone.
type change struct {
	version uint64
	kind    string
	object  metav1.Object
	gone    bool
}

func (c change) key() string {
	return c.kind + " " + c.object.GetNamespace() + "/" + c.object.GetName()
}

// record begins the timeline of all namespaces of the scenario's applications,
// and of others that are named.
func (m *meshWorld) record(also ...string) *timeline {
	m.t.Helper()
	set, err := kubernetes.NewForConfig(env.lab.Config())
	if err != nil {
		m.t.Fatal(err)
	}
	l := &timeline{t: m.t, prefix: m.name + "-", also: also, client: set}
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	m.t.Cleanup(func() { cancel(); wait.Wait() })
	for kind, source := range l.sources() {
		list, err := source.ListWithContext(l.t.Context(), metav1.ListOptions{})
		if err != nil {
			m.t.Fatal(err)
		}
		version := l.addList(kind, list)
		w, err := watchtools.NewRetryWatcherWithContext(ctx, version, source)
		if err != nil {
			m.t.Fatal(err)
		}
		wait.Go(func() { l.follow(kind, w) })
	}
	return l
}

func (l *timeline) sources() map[string]*cache.ListWatch {
	rest, apps := l.client.CoreV1().RESTClient(), l.client.AppsV1().RESTClient()
	return map[string]*cache.ListWatch{
		"Pod":         everywhere(rest, "pods"),
		"Namespace":   everywhere(rest, "namespaces"),
		"Deployment":  everywhere(apps, "deployments"),
		"StatefulSet": everywhere(apps, "statefulsets"),
		"DaemonSet":   everywhere(apps, "daemonsets"),
	}
}

func everywhere(c cache.Getter, resource string) *cache.ListWatch {
	return cache.NewFilteredListWatchFromClient(c, resource, "", func(*metav1.ListOptions) {})
}

func (l *timeline) addList(kind string, list runtime.Object) string {
	l.t.Helper()
	items, err := metaList(list)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, item := range items {
		l.add(kind, item, false)
	}
	return list.(metav1.ListInterface).GetResourceVersion()
}

func (l *timeline) follow(kind string, w watch.Interface) {
	for e := range w.ResultChan() {
		if o, ok := e.Object.(metav1.Object); ok && e.Type != watch.Bookmark {
			l.add(kind, o, e.Type == watch.Deleted)
		}
	}
}

func (l *timeline) add(kind string, o metav1.Object, gone bool) {
	namespace := o.GetNamespace()
	if kind == "Namespace" {
		namespace = o.GetName()
	}
	if !strings.HasPrefix(namespace, l.prefix) && !slices.Contains(l.also, namespace) {
		return
	}
	version, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes = append(l.changes, change{version: version, kind: kind, object: o, gone: gone})
}

// replay lets visit see every instant until now, in order.
func (l *timeline) replay(visit func(*instant)) {
	l.t.Helper()
	l.awaitPresent()
	l.mu.Lock()
	all := slices.Clone(l.changes)
	l.mu.Unlock()
	slices.SortStableFunc(all, func(a, b change) int { return int(int64(a.version) - int64(b.version)) })
	at := &instant{objects: map[string]metav1.Object{}}
	for _, c := range all {
		at.change, at.before = c, at.objects[c.key()]
		if at.objects[c.key()] = c.object; c.gone {
			delete(at.objects, c.key())
		}
		visit(at)
	}
}

// awaitPresent waits until the watches have told all that is there now.
func (l *timeline) awaitPresent() {
	l.t.Helper()
	want := map[string]uint64{}
	for kind, source := range l.sources() {
		list, err := source.ListWithContext(l.t.Context(), metav1.ListOptions{})
		if err != nil {
			l.t.Fatal(err)
		}
		version, err := strconv.ParseUint(list.(metav1.ListInterface).GetResourceVersion(), 10, 64)
		if err != nil {
			l.t.Fatal(err)
		}
		items, err := metaList(list)
		if err != nil {
			l.t.Fatal(err)
		}
		present := &timeline{prefix: l.prefix, also: l.also}
		for _, item := range items {
			present.add(kind, item, false)
		}
		for _, c := range present.changes {
			want[c.key()] = c.version
		}
		eventually(l.t, 20*time.Second, func() error { return l.shows(kind, want, version) })
	}
}

// shows returns an error while an object of the kind is not known as it was at
// the version, or one that was gone by then still is.
func (l *timeline) shows(kind string, want map[string]uint64, version uint64) error {
	last := map[string]change{}
	l.mu.Lock()
	for _, c := range l.changes {
		if c.kind == kind {
			last[c.key()] = c
		}
	}
	l.mu.Unlock()
	for key, least := range want {
		if strings.HasPrefix(key, kind+" ") && last[key].version < least {
			return fmt.Errorf("the watch has not told of %s yet", key)
		}
	}
	for key, c := range last {
		if want[key] == 0 && !c.gone && c.version <= version {
			return fmt.Errorf("the watch has not told of the end of %s yet", key)
		}
	}
	return nil
}

func metaList(list runtime.Object) ([]metav1.Object, error) {
	var out []metav1.Object
	switch l := list.(type) {
	case *corev1.PodList:
		for i := range l.Items {
			out = append(out, &l.Items[i])
		}
	case *corev1.NamespaceList:
		for i := range l.Items {
			out = append(out, &l.Items[i])
		}
	case *appsv1.DeploymentList:
		for i := range l.Items {
			out = append(out, &l.Items[i])
		}
	case *appsv1.StatefulSetList:
		for i := range l.Items {
			out = append(out, &l.Items[i])
		}
	case *appsv1.DaemonSetList:
		for i := range l.Items {
			out = append(out, &l.Items[i])
		}
	default:
		return nil, fmt.Errorf("a list of %T is not expected", list)
	}
	return out, nil
}

// instant is the world just after one change.
type instant struct {
	objects map[string]metav1.Object
	change  change
	// before is the changed object as it was; nil when it is new.
	before metav1.Object
}

// pods returns the pods of an application.
func (i *instant) pods(namespace, app string) []*corev1.Pod {
	var out []*corev1.Pod
	for _, o := range i.objects {
		if p, ok := o.(*corev1.Pod); ok && p.Namespace == namespace && p.Labels["app"] == app {
			out = append(out, p)
		}
	}
	return out
}

func (i *instant) deployments() []*appsv1.Deployment {
	var out []*appsv1.Deployment
	for _, o := range i.objects {
		if d, ok := o.(*appsv1.Deployment); ok {
			out = append(out, d)
		}
	}
	return out
}

// up counts the pods that serve: ready and not told to end.
func up(pods []*corev1.Pod) int {
	n := 0
	for _, p := range pods {
		if p.DeletionTimestamp == nil && podReady(p) {
			n++
		}
	}
	return n
}

// marks returns every value that the annotation restarted-for took on a
// template of the workload, in order, "" for its removal.
func (l *timeline) marks(kind, namespace, name string) []string {
	l.t.Helper()
	var out []string
	last := ""
	l.replay(func(i *instant) {
		if i.change.key() != kind+" "+namespace+"/"+name {
			return
		}
		if m := mark(i.change.object); m != last {
			last, out = m, append(out, m)
		}
	})
	return out
}

// mark is the annotation restarted-for of a workload's template, or of a pod.
func mark(o metav1.Object) string {
	switch o := o.(type) {
	case *appsv1.Deployment:
		return o.Spec.Template.Annotations[v1alpha1.RestartedForAnnotation]
	case *appsv1.StatefulSet:
		return o.Spec.Template.Annotations[v1alpha1.RestartedForAnnotation]
	case *appsv1.DaemonSet:
		return o.Spec.Template.Annotations[v1alpha1.RestartedForAnnotation]
	case *corev1.Pod:
		return o.Annotations[v1alpha1.RestartedForAnnotation]
	default:
		return ""
	}
}

// created returns when, in the order of all changes, the first and the last of a
// namespace's pods were created that were not there at the beginning.
func (l *timeline) created(namespace string) (first, last uint64) {
	l.t.Helper()
	began := false
	l.replay(func(i *instant) {
		began = began || i.before != nil || i.change.gone // the list has been told
		if p, ok := i.change.object.(*corev1.Pod); ok && began && i.before == nil && p.Namespace == namespace {
			if last = i.change.version; first == 0 {
				first = last
			}
		}
	})
	return first, last
}

// leastUp is the fewest pods of the applications together that served at any
// instant, counted from the moment when want of them did for the first time.
func (l *timeline) leastUp(want int, namespace string, apps ...string) int {
	l.t.Helper()
	least, began := want, false
	l.replay(func(i *instant) {
		n := 0
		for _, app := range apps {
			n += up(i.pods(namespace, app))
		}
		if began = began || n >= want; began {
			least = min(least, n)
		}
	})
	return least
}

// endings returns the names of an application's pods in the order in which
// they were told to end.
func (l *timeline) endings(namespace, app string) []string {
	l.t.Helper()
	var out []string
	ended := map[string]bool{}
	l.replay(func(i *instant) {
		p, ok := i.change.object.(*corev1.Pod)
		if !ok || p.Namespace != namespace || p.Labels["app"] != app || ended[string(p.UID)] {
			return
		}
		if i.change.gone || p.DeletionTimestamp != nil {
			ended[string(p.UID)] = true
			out = append(out, p.Name)
		}
	})
	return out
}

// now returns the world as it is.
func (l *timeline) now() *instant {
	l.t.Helper()
	last := &instant{objects: map[string]metav1.Object{}}
	l.replay(func(i *instant) { last = i })
	return last
}

// writing is something that the controller wrote to a workload or a pod, and when
// that was by the API server's clock, which is cut to the second.
type writing struct {
	what string
	at   time.Time
}

// writings returns each write to a workload's template and each eviction, in
// order.
func (l *timeline) writings() []writing {
	l.t.Helper()
	var out []writing
	l.replay(func(i *instant) {
		at := writtenAt(i.change.object)
		if at.IsZero() || i.before != nil && writtenAt(i.before).Equal(at) {
			return
		}
		out = append(out, writing{i.change.key(), at})
	})
	return out
}

// writtenAt is when the controller last wrote to a workload, or when the API
// server granted the eviction of a pod; zero when that never was.
func writtenAt(o metav1.Object) time.Time {
	if p, ok := o.(*corev1.Pod); ok {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.DisruptionTarget && c.Reason == "EvictionByEvictionAPI" {
				return c.LastTransitionTime.Time
			}
		}
		return time.Time{}
	}
	for _, f := range o.GetManagedFields() {
		if f.Manager == v1alpha1.FieldManager && f.Time != nil && mark(o) != "" {
			return f.Time.Time
		}
	}
	return time.Time{}
}

// awaitWritings waits until there are so many.
func (l *timeline) awaitWritings(least int, within time.Duration) {
	l.t.Helper()
	eventually(l.t, within, func() error {
		if have := len(l.writings()); have < least {
			return fmt.Errorf("%d writes, want %d", have, least)
		}
		return nil
	})
}
