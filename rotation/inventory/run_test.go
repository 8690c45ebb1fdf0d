package inventory

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const patience = 20 * time.Second

// names returns the names of all members of the mesh; nil while it is not
// synced.
func names(x *Index, mesh string) []string {
	workloads, ok := x.Workloads(mesh, Question{Now: now})
	if !ok {
		return nil
	}
	all := []string{}
	for _, w := range workloads {
		for pod := range w.Pods() {
			all = append(all, pod.Name)
		}
	}
	slices.Sort(all)
	return all
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func wantNames(t *testing.T, x *Index, mesh string, want ...string) {
	t.Helper()
	var got []string
	eventually(t, fmt.Sprintf("pods of %s %v", mesh, want), func() bool {
		got = names(x, mesh)
		return got != nil && cmp.Equal(got, append([]string{}, want...))
	})
}

// start runs the index until the test ends.
func start(t *testing.T, x *Index) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- x.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func nextWatch(t *testing.T, s *server) watchRequest {
	t.Helper()
	select {
	case w := <-s.watches:
		return w
	case <-time.After(patience):
		t.Fatal("nobody watches")
		return watchRequest{}
	}
}

func TestListsComeInPagesEvenWhereTheServerDoesNotStreamThem(t *testing.T) {
	var pods []*corev1.Pod
	for i := range 2*pageSize + 7 {
		pods = append(pods, meshedPod("shop", fmt.Sprintf("p-%d", i), ""))
	}
	s := newServer(t, pods...)
	x := New(s.client(t))
	x.SetMeshes(linkerd())
	start(t, x)
	first := nextWatch(t, s)
	if n := len(names(x, "linkerd")); n != len(pods) {
		t.Errorf("%d pods, want %d", n, len(pods))
	}
	// The watch is gone and its version too: the reflector then lists without a
	// limit, so as to be served from memory.
	expired := apierrors.NewResourceExpired("too old").Status()
	expired.Kind, expired.APIVersion = "Status", "v1"
	s.set(pods[:3]...)
	first.events <- event{"ERROR", expired}
	nextWatch(t, s)
	wantNames(t, x, "linkerd", "p-0", "p-1", "p-2")
	s.mu.Lock()
	defer s.mu.Unlock()
	if want := []int{pageSize, pageSize, pageSize, pageSize}; !cmp.Equal(s.pages, want) || s.refused == 0 {
		t.Errorf("pages of %v, want %v after a refused stream (%d)", s.pages, want, s.refused)
	}
}

func TestEventsAreFollowedAndStrangersLeaveNothing(t *testing.T) {
	a := meshedPod("shop", "a", "")
	s := newServer(t, a)
	x := New(s.client(t))
	x.SetMeshes(linkerd())
	start(t, x)
	w := nextWatch(t, s)
	stranger := meshedPod("shop", "stranger", "")
	stranger.Spec.InitContainers = nil
	w.events <- event{"ADDED", typed(meshedPod("shop", "b", ""), "110")}
	w.events <- event{"ADDED", typed(stranger, "111")}
	wantNames(t, x, "linkerd", "a", "b")
	a.Status.Phase = corev1.PodSucceeded
	w.events <- event{"MODIFIED", typed(a, "112")}
	wantNames(t, x, "linkerd", "b")
	w.events <- event{"DELETED", typed(meshedPod("shop", "b", ""), "113")}
	wantNames(t, x, "linkerd")
	w.events <- event{"BOOKMARK", typed(&corev1.Pod{}, "120")}
	w.events <- event{"ADDED", typed(stranger, "121")}
	close(w.events) // as a server does after some minutes
	if w = nextWatch(t, s); w.version != "121" {
		t.Errorf("the watch goes on from version %s, want 121: that of a pod which was not kept", w.version)
	}
}

func TestAMeshThatComesLaterFindsPodsThatWereNotKept(t *testing.T) {
	s := newServer(t, meshedPod("shop", "a", ""), erlangPod("b", now, now))
	x := New(s.client(t))
	start(t, x)
	x.SetMeshes(linkerd())
	nextWatch(t, s)
	wantNames(t, x, "linkerd", "a")
	x.SetMeshes(linkerd(), erlang())
	nextWatch(t, s)
	wantNames(t, x, "erlang", "b")
	wantNames(t, x, "linkerd", "a")
}

func TestWithoutMeshesNothingIsRead(t *testing.T) {
	s := newServer(t, meshedPod("shop", "a", ""))
	x := New(s.client(t))
	start(t, x)
	x.SetMeshes(linkerd())
	nextWatch(t, s)
	x.SetMeshes()
	s.mu.Lock()
	before := len(s.pages)
	s.mu.Unlock()
	x.SetMeshes(linkerd())
	nextWatch(t, s)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pages) != before+1 {
		t.Errorf("%d lists, want one for the mesh and none for no mesh", len(s.pages)-before)
	}
}

func TestBuildReadsAllPagesOnceAndFails(t *testing.T) {
	var pods []*corev1.Pod
	for i := range pageSize + 1 {
		pods = append(pods, meshedPod("shop", fmt.Sprintf("p-%d", i), ""))
	}
	s := newServer(t, pods...)
	x, err := Build(t.Context(), s.client(t), Scope{}, linkerd())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(names(x, "linkerd")); n != len(pods) {
		t.Errorf("%d pods, want %d", n, len(pods))
	}
	// The server of this test knows no pods of one namespace.
	if _, err := Build(t.Context(), s.client(t), Scope{Namespace: "shop"}, linkerd()); !apierrors.IsNotFound(err) {
		t.Errorf("got %v, want what the server answered", err)
	}
	if _, err := Build(t.Context(), s.client(t), Scope{}); err != nil {
		t.Error(err)
	}
}
