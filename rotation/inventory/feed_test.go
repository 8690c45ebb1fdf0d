package inventory

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// listen starts a source of the index and returns the queue it feeds.
func listen(t *testing.T, x *Index) queue {
	t.Helper()
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	t.Cleanup(q.ShutDown)
	if err := x.Source().Start(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	return q
}

// next returns the next mesh that is asked for, "" when none is.
func next(q queue) string {
	defer time.AfterFunc(patience, q.ShutDown).Stop()
	request, _ := q.Get()
	q.Done(request)
	return request.Name
}

// settled takes the two meshes that a new listener is told of.
func settled(t *testing.T, q queue) {
	t.Helper()
	if a, b := next(q), next(q); a == "" || b == "" || a == b {
		t.Fatalf("told of %q and %q, want both meshes", a, b)
	}
}

func TestEveryListenerIsTold(t *testing.T) {
	x := New(nil)
	x.SetMeshes(linkerd())
	early := listen(t, x)
	replace(t, x.session)
	late := listen(t, x)
	if got := []string{next(early), next(late)}; !cmp.Equal(got, []string{"linkerd", "linkerd"}) {
		t.Errorf("told of %q, want to be told that linkerd is synced, however early one listens", got)
	}
}

func TestOnlyWhatAQuestionCanShowIsTold(t *testing.T) {
	ca := newAnchors(t)
	pod := meshedPod("shop", "a", ca.old.PEM())
	x := indexOf(t, pod)
	q := listen(t, x)
	settled(t, q)
	heartbeat := pod.DeepCopy()
	heartbeat.ResourceVersion = "99"
	heartbeat.Status.Conditions = append(heartbeat.Status.Conditions, pod.Status.Conditions[0])
	heartbeat.Status.Conditions[1].Type = "example.com/Gate"
	if err := x.session.Update(compact(x.session.meshes, heartbeat)); err != nil {
		t.Fatal(err)
	}
	replace(t, x.session, heartbeat)
	unready := pod.DeepCopy()
	unready.Status.Conditions[0].Status = "False"
	// If the steps before had been told, linkerd would come first.
	if err := x.session.Update(compact(x.session.meshes, erlangPod("b", now, now))); err != nil {
		t.Fatal(err)
	}
	if got := next(q); got != "erlang" {
		t.Errorf("told of %s, want erlang: nothing changed in the other mesh", got)
	}
	if err := x.session.Update(compact(x.session.meshes, unready)); err != nil {
		t.Fatal(err)
	}
	if got := next(q); got != "linkerd" {
		t.Errorf("told of %s, want linkerd", got)
	}
}

func TestABurstOfChangesIsToldOnce(t *testing.T) {
	ca := newAnchors(t)
	x := indexOf(t)
	q := listen(t, x)
	settled(t, q)
	begin := time.Now()
	go func() {
		for i := range 2000 {
			pod := meshedPod("shop", "a", []string{ca.old.PEM(), ca.next.PEM()}[i%2])
			if err := x.session.Update(compact(x.session.meshes, pod)); err != nil {
				t.Error(err)
			}
		}
		if err := x.session.Update(compact(x.session.meshes, erlangPod("the-end", now, now))); err != nil {
			t.Error(err)
		}
	}()
	told := 0
	for name := next(q); name != "erlang"; name = next(q) {
		if told++; name == "" {
			t.Fatal("the end was not told")
		}
	}
	if most := 1 + int(time.Since(begin)/settle); told > most {
		t.Errorf("told %d times of a burst, want at most %d", told, most)
	}
}

func TestWaitingForTheInventory(t *testing.T) {
	x := New(nil)
	wait := func(ctx context.Context) error { return x.Source().WaitForSync(ctx) }
	if err := wait(t.Context()); err != nil {
		t.Errorf("without any mesh there is nothing to wait for: %v", err)
	}
	x.SetMeshes(linkerd())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := wait(ctx); err == nil {
		t.Error("no pod was listed yet")
	}
	synced := make(chan error)
	go func() { synced <- wait(t.Context()) }()
	replace(t, x.session)
	if err := <-synced; err != nil {
		t.Error(err)
	}
}
