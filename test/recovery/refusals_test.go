package recovery

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// An owner whose pods are refused pauses 5 ms after the first refusal and twice as
// long after each further one: it tries 10, 20, 41 and 82 seconds after the first,
// later if its tries take their time. After so many refusals it is silent for
// silence at least, so that pods which come within soon did not wait for its next
// try.
const (
	refusals = 14
	silence  = 5 * time.Millisecond << (refusals - 1)
	soon     = 13 * time.Second
)

// refused waits until pods of all those owners have been refused for so long that
// none of them tries again before the time it returns.
func (w *world) refused(t *testing.T, namespace, because string, owners map[string]int) time.Time {
	t.Helper()
	end := time.Now().Add(3 * time.Minute)
	for {
		said := w.said(t, namespace, because)
		var faults []error
		var retry time.Time
		for kind := range owners {
			r := said[kind]
			if r.count < refusals {
				faults = append(faults, fmt.Errorf("the %s in %s says %d times that its pods are refused, with %q", kind, namespace, r.count, because))
			} else if next := r.last.Add(silence); retry.IsZero() || next.Before(retry) {
				retry = next
			}
		}
		if n := w.pods(t, namespace); len(n) != 0 {
			t.Fatalf("pods were admitted in %s: %v", namespace, n)
		}
		if len(faults) == 0 {
			return retry
		}
		if time.Now().After(end) {
			t.Fatalf("want %d refusals: %v", refusals, errors.Join(faults...))
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// refusal counts what the events of an owner tell of. An event's time is cut to the
// second, so that the last refusal was at last or later.
type refusal struct {
	count int32
	last  time.Time
}

// said returns the refusals with a reason, by the kind of owner.
func (w *world) said(t *testing.T, namespace, because string) map[string]refusal {
	t.Helper()
	var events corev1.EventList
	if err := w.client.List(t.Context(), &events, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	out := map[string]refusal{}
	for i := range events.Items {
		e := &events.Items[i]
		if e.Reason != "FailedCreate" || !strings.Contains(e.Message, because) {
			continue
		}
		r := out[e.InvolvedObject.Kind]
		if r.count += e.Count; e.LastTimestamp.After(r.last) {
			r.last = e.LastTimestamp.Time
		}
		out[e.InvolvedObject.Kind] = r
	}
	return out
}

// comeBack waits for all pods, reports how long those of each owner took, and
// checks that they came before any owner could try by itself.
func (w *world) comeBack(t *testing.T, namespace string, owners map[string]int, retry time.Time) {
	t.Helper()
	began := time.Now()
	if late := began.Add(soon).Sub(retry); late > 0 {
		t.Fatalf("the machine is too slow to tell: the reason was gone %s too late, and owners try by themselves before %s have passed", late, soon)
	}
	took := map[string]string{}
	for len(took) < len(owners) {
		there := w.pods(t, namespace)
		for kind, want := range owners {
			if there[kind] == want && took[kind] == "" {
				took[kind] = fmt.Sprintf("%.1f s", time.Since(began).Seconds())
			}
		}
		if len(took) < len(owners) && time.Since(began) > soon {
			t.Fatalf("%s after the reason had gone there are pods of %v in %s, want %v", soon, there, namespace, owners)
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("%.1f s before owners try by themselves the reason was gone, and pods came back in %v", retry.Sub(began).Seconds(), took)
}

// woken checks that Reanchor woke each of the owners, for a reason that begins so.
func (w *world) woken(t *testing.T, namespace, prefix string) {
	t.Helper()
	lists := map[string]client.ObjectList{"ReplicaSet": &appsv1.ReplicaSetList{}, "StatefulSet": &appsv1.StatefulSetList{}, "DaemonSet": &appsv1.DaemonSetList{}}
	for kind, list := range lists {
		if err := w.client.List(t.Context(), list, client.InNamespace(namespace)); err != nil {
			t.Fatal(err)
		}
		if n := apimeta.LenList(list); n != 1 {
			t.Errorf("there are %d of kind %s in %s, want one", n, kind, namespace)
		}
		err := apimeta.EachListItem(list, func(o runtime.Object) error {
			if value := o.(client.Object).GetAnnotations()[v1alpha1.NudgedAnnotation]; !strings.HasPrefix(value, prefix) {
				t.Errorf("the %s in %s was woken for %q, want %s...", kind, namespace, value, prefix)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}
