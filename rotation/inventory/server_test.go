package inventory

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
)

// server is an API server as old ones are: it does not stream lists. It holds
// one version of the pods and tells what was asked of it.
type server struct {
	url string

	mu      sync.Mutex
	pods    map[string]*corev1.Pod
	version int
	pages   []int // the size of each page that was asked for; 0 without a limit
	refused int   // streamed lists that were refused
	watches chan watchRequest
}

// watchRequest is a watch that the test answers.
type watchRequest struct {
	version string
	events  chan<- event
}

type event struct {
	Type   string `json:"type"`
	Object any    `json:"object"`
}

func newServer(t *testing.T, pods ...*corev1.Pod) *server {
	s := &server{pods: map[string]*corev1.Pod{}, version: 100, watches: make(chan watchRequest)}
	s.set(pods...)
	http := httptest.NewServer(s)
	t.Cleanup(http.Close)
	t.Cleanup(http.CloseClientConnections)
	s.url = http.URL
	return s
}

func (s *server) client(t *testing.T) corev1client.PodsGetter {
	t.Helper()
	client, err := NewClient(&rest.Config{Host: s.url})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (s *server) set(pods ...*corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	clear(s.pods)
	for _, pod := range pods {
		s.pods[pod.Namespace+"/"+pod.Name] = pod
	}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch {
	case r.URL.Path != "/api/v1/pods":
		answer(w, apierrors.NewNotFound(corev1.Resource("path"), r.URL.Path).Status())
	case q.Get("sendInitialEvents") != "":
		s.mu.Lock()
		s.refused++
		s.mu.Unlock()
		answer(w, apierrors.NewBadRequest("sendInitialEvents is not known").Status())
	case q.Get("watch") != "":
		s.watch(w, r)
	default:
		answer(w, s.list(q.Get("limit"), q.Get("continue")))
	}
}

func answer(w http.ResponseWriter, object any) {
	w.Header().Set("Content-Type", "application/json")
	if status, ok := object.(metav1.Status); ok {
		status.Kind, status.APIVersion = "Status", "v1"
		w.WriteHeader(int(status.Code))
		object = status
	}
	_ = json.NewEncoder(w).Encode(object)
}

func (s *server) list(limit, token string) corev1.PodList {
	s.mu.Lock()
	defer s.mu.Unlock()
	size, _ := strconv.Atoi(limit)
	s.pages = append(s.pages, size)
	keys := slices.Sorted(maps.Keys(s.pods))
	from, _ := strconv.Atoi(token)
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}}
	list.ResourceVersion = fmt.Sprint(s.version)
	to := len(keys)
	if size > 0 && from+size < to {
		to = from + size
		list.Continue = fmt.Sprint(to)
	}
	for _, key := range keys[from:to] {
		list.Items = append(list.Items, *s.pods[key])
	}
	return list
}

// watch hands the watch to the test and sends what the test says.
func (s *server) watch(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.(http.Flusher).Flush()
	events := make(chan event)
	select {
	case s.watches <- watchRequest{r.URL.Query().Get("resourceVersion"), events}:
	case <-r.Context().Done():
		return
	}
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			_ = json.NewEncoder(w).Encode(e)
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// typed sets what a client needs to decode the pod from an event.
func typed(pod *corev1.Pod, version string) *corev1.Pod {
	pod = pod.DeepCopy()
	pod.TypeMeta = metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}
	pod.ResourceVersion = version
	return pod
}
