package inventory

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/reanchor/reanchor/hack/lab"
)

// link is the way from the index to the API server, which a test can cut.
type link struct {
	next http.RoundTripper

	mu      sync.Mutex
	down    bool
	conns   []net.Conn
	streams int      // streamed lists
	accepts []string // the encodings that were asked for
}

func (l *link) dial(ctx context.Context, network, address string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return nil, errors.New("the link is cut")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err == nil {
		l.conns = append(l.conns, conn)
	}
	return conn, err
}

func (l *link) RoundTrip(r *http.Request) (*http.Response, error) {
	l.mu.Lock()
	l.accepts = append(l.accepts, r.Header.Get("Accept"))
	if r.URL.Query().Get("sendInitialEvents") != "" {
		l.streams++
	}
	l.mu.Unlock()
	return l.next.RoundTrip(r)
}

func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for _, conn := range l.conns {
		_ = conn.Close()
	}
	l.conns = nil
}

func (l *link) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

func (l *link) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.streams
}

// world is a real API server, without nodes: its pods stay Pending.
type world struct {
	*testing.T
	lab    *lab.Lab
	client kubernetes.Interface
}

func newWorld(t *testing.T) *world {
	l, err := lab.Start(t.Context(), lab.Options{Nodes: -1, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
	})
	client, err := kubernetes.NewForConfig(l.Config())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t, l, client}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace's service account", func() bool {
		_, err := client.CoreV1().ServiceAccounts("shop").Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil
	})
	return w
}

// create creates a pod and tries again while the API server is not there.
func (w *world) create(pod *corev1.Pod) {
	w.Helper()
	pod.UID, pod.CreationTimestamp, pod.Status = "", metav1.Time{}, corev1.PodStatus{}
	pod.Spec.NodeName, pod.Spec.SchedulerName = "", "nobody"
	pod.Spec.Containers = []corev1.Container{{Name: "app", Image: "app"}}
	for i := range pod.Spec.InitContainers {
		pod.Spec.InitContainers[i].Image = "proxy"
	}
	var err error
	eventually(w.T, "creating "+pod.Name, func() bool {
		_, err = w.client.CoreV1().Pods(pod.Namespace).Create(w.Context(), pod, metav1.CreateOptions{})
		return err == nil
	})
}

func (w *world) delete(name string) {
	w.Helper()
	grace := int64(0)
	if err := w.client.CoreV1().Pods("shop").Delete(w.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: &grace}); err != nil {
		w.Fatal(err)
	}
}

func (w *world) restartAPIServer() {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 2*time.Minute)
	defer cancel()
	if err := w.lab.Restart(ctx, lab.APIServer); err != nil {
		w.Fatal(err)
	}
}

func TestTheIndexFollowsARealAPIServer(t *testing.T) {
	w := newWorld(t)
	ca := newAnchors(t)
	wire := &link{}
	config := w.lab.Config()
	config.Dial = wire.dial
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { wire.next = next; return wire })
	client, err := NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	stranger := meshedPod("shop", "stranger", "")
	stranger.Spec.InitContainers = nil
	w.create(stranger)
	w.create(labelled(meshedPod("shop", "a", ca.old.PEM()), "app", "a"))
	w.create(meshedPod("shop", "b", ca.old.PEM()))
	x := New(client)
	x.SetMeshes(linkerd(), erlang())
	start(t, x)

	wantNames(t, x, "linkerd", "a", "b")
	w.create(meshedPod("shop", "c", ca.next.PEM()))
	w.delete("a")
	wantNames(t, x, "linkerd", "b", "c")
	w.checkAgainst(x, config)

	w.restartAPIServer()
	w.create(meshedPod("shop", "d", ca.next.PEM()))
	wantNames(t, x, "linkerd", "b", "c", "d")

	// What happens while the link is cut is before the beginning of a restarted
	// server's memory: the index's version of the world has expired.
	wire.cut()
	before := wire.count()
	w.delete("b")
	w.create(meshedPod("shop", "e", ca.next.PEM()))
	w.create(meshedPod("shop", "f", ca.next.PEM()))
	w.restartAPIServer()
	if got := names(x, "linkerd"); !cmp.Equal(got, []string{"b", "c", "d"}) {
		t.Fatalf("the index knows of %v, although its link is cut", got)
	}
	wire.mend()
	wantNames(t, x, "linkerd", "c", "d", "e", "f")
	if wire.count() == before {
		t.Error("there was no second streamed list: the version had not expired")
	}
	w.checkAgainst(x, config)
	wire.mu.Lock()
	defer wire.mu.Unlock()
	for _, accept := range wire.accepts {
		if !strings.HasPrefix(accept, "application/vnd.kubernetes.protobuf") {
			t.Errorf("pods were asked for as %q", accept)
		}
	}
}

// checkAgainst compares the index with a live list, whole and in part.
func (w *world) checkAgainst(x *Index, config *rest.Config) {
	w.Helper()
	client, err := NewClient(config)
	if err != nil {
		w.Fatal(err)
	}
	live, err := Build(w.Context(), client, Scope{}, linkerd(), erlang())
	if err != nil {
		w.Fatal(err)
	}
	if diff := cmp.Diff(contents(w.T, live, Question{Now: now}), contents(w.T, x, Question{Now: now})); diff != "" {
		w.Errorf("the index is not what a live list says (-live +index):\n%s", diff)
	}
	w.create(labelled(meshedPod("shop", "mine", ""), "app", "mine"))
	part, err := Build(w.Context(), client, Scope{Namespace: "shop", LabelSelector: "app=mine"}, linkerd())
	if err != nil {
		w.Fatal(err)
	}
	workload, pods := only(w.T, ask(w.T, part, "linkerd", Question{Now: now}))
	mine, err := w.client.CoreV1().Pods("shop").Get(w.Context(), "mine", metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	if workload.Key.Name != "mine" || pods[0].UID != mine.UID {
		w.Errorf("got %v with UID %s, want %s", workload.Key, pods[0].UID, mine.UID)
	}
	w.delete("mine")
}
