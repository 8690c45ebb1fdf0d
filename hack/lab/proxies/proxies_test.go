package proxies

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/lab/identity"
	"github.com/reanchor/reanchor/hack/lab/kubelet"
)

// world is proxies without a cluster, in the time of a synctest bubble: the test
// says what the pods are like.
type world struct {
	*testing.T
	*Proxies
	identity  *authority
	old, new  *bundletest.CA // anchors of the same name
	oldIssuer *bundletest.CA
	newIssuer *bundletest.CA
}

// in runs a test whose leaves last 100 s, with three handshakes a second.
func in(t *testing.T, o Options, test func(w world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		w := world{T: t, old: bundletest.NewRoot(t, "root", long(now)), new: bundletest.NewRoot(t, "root", long(now))}
		w.oldIssuer, w.newIssuer = w.old.Intermediate("issuer", long(now)), w.new.Intermediate("issuer", long(now))
		w.identity = &authority{t: t, issuer: w.oldIssuer, lifetime: 100 * time.Second}
		if o.Rate == 0 {
			o.Rate = 3
		}
		o.Identity, o.MinRefresh = w.identity, time.Second
		o, err := o.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		w.Proxies = &Proxies{options: o, client: fake.NewClientset(), population: newPopulation(o), score: newScore()}
		ctx, stop := context.WithCancel(t.Context())
		w.run(ctx)
		test(w)
		stop()
		w.running.Wait()
	})
}

func text(anchors ...*bundletest.CA) corev1.EnvVar {
	var out strings.Builder
	for _, a := range anchors {
		out.WriteString(a.PEM())
	}
	return corev1.EnvVar{Name: anchorsVariable, Value: out.String()}
}

// pod is a Ready one whose proxy, a native sidecar, has just started.
func (w world) pod(name string, anchors corev1.EnvVar) *corev1.Pod {
	always := corev1.ContainerRestartPolicyAlways
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: name, UID: types.UID(name)},
		Spec:       corev1.PodSpec{InitContainers: []corev1.Container{{Name: proxyContainer, RestartPolicy: &always, Env: []corev1.EnvVar{anchors}}}},
		Status: corev1.PodStatus{
			Phase:      corev1.PodRunning,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
			InitContainerStatuses: []corev1.ContainerStatus{{
				Name: proxyContainer, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
			}},
		},
	}
}

func (w world) start(names string, anchors ...*bundletest.CA) {
	for _, name := range strings.Fields(names) {
		w.population.observe(w.pod(name, text(anchors...)))
	}
}

// pass lets time pass and returns what was counted in it.
func (w world) pass(d time.Duration) Stats {
	before := w.Stats()
	time.Sleep(d)
	synctest.Wait()
	after := w.Stats()
	after.Handshakes -= before.Handshakes
	after.Failed -= before.Failed
	for reason, n := range before.ByReason {
		if after.ByReason[reason] -= n; after.ByReason[reason] == 0 {
			delete(after.ByReason, reason)
		}
	}
	return after
}

// fine fails unless there were handshakes between as many live proxies, and none
// failed.
func (w world) fine(s Stats, live int) {
	w.Helper()
	if s.Proxies != live || s.Handshakes == 0 || s.Failed != 0 {
		w.Errorf("%+v, want %d live proxies whose handshakes succeed; %v", s, live, w.Failures())
	}
}

// only fails unless handshakes failed, for the one reason.
func (w world) only(s Stats, reason Reason) {
	w.Helper()
	if s.Failed == 0 || s.ByReason[reason] != s.Failed {
		w.Errorf("%+v, want failures of reason %s", s, reason)
	}
}

func TestHandshakesKeepTheirRate(t *testing.T) {
	in(t, Options{Rate: 50}, func(w world) {
		if s := w.pass(time.Second); s.Handshakes != 0 {
			t.Errorf("%d handshakes without proxies", s.Handshakes)
		}
		w.start("a", w.old)
		if s := w.pass(time.Second); s.Handshakes != 0 || s.Proxies != 1 {
			t.Errorf("one proxy has handshakes with itself: %+v", s)
		}
		w.start("b c", w.old)
		w.pass(time.Second)
		s := w.pass(2 * time.Second)
		w.fine(s, 3)
		if s.Handshakes < 98 || s.Handshakes > 102 || s.LongestPause > 21*time.Millisecond {
			t.Errorf("%d handshakes in 2 s with a longest pause of %s, want 50 a second", s.Handshakes, s.LongestPause)
		}
	})
}

func TestALeafIsRefreshedWhen70PercentOfItHavePassed(t *testing.T) {
	in(t, Options{}, func(w world) {
		w.start("a b", w.old)
		w.pass(69 * time.Second)
		if n := w.identity.requests(); n != 2 {
			t.Errorf("%d requests for two leaves after 69 s of 100", n)
		}
		if s := w.pass(2 * time.Second); s.Leaves != 4 {
			t.Errorf("after 71 s of 100: %+v, want both leaves refreshed", s)
		}
		w.fine(w.pass(200*time.Second), 2)
	})
}

func TestALeafThatCannotBeRefreshedIsKeptUntilItEnds(t *testing.T) {
	in(t, Options{}, func(w world) {
		w.start("a b", w.old)
		w.fine(w.pass(time.Second), 2)
		w.identity.use(nil)
		s := w.pass(98 * time.Second)
		w.fine(s, 2)
		if s.Unsigned < 4 || s.Leaves != 2 {
			t.Errorf("%+v, want several tries in vain", s)
		}
		w.pass(2 * time.Second)
		s = w.pass(10 * time.Second)
		w.only(s, Expired)
		if s.Failed != s.Handshakes {
			t.Errorf("%+v, want all handshakes to fail", s)
		}
		w.identity.use(w.oldIssuer)
		w.pass(2 * time.Second)
		w.fine(w.pass(10*time.Second), 2)
	})
}

func TestAProxyRejectsALeafThatItsOwnAnchorsDoNotVerify(t *testing.T) {
	in(t, Options{}, func(w world) {
		w.start("a b", w.old)
		w.pass(time.Second)
		w.identity.use(w.newIssuer)
		s := w.pass(90 * time.Second)
		w.fine(s, 2)
		if s.Rejected < 2 || s.Leaves != 2 {
			t.Errorf("%+v, want the new issuer's leaves rejected", s)
		}
		w.start("c", w.old) // has nothing to keep
		w.start("d", w.old, w.new)
		s = w.pass(5 * time.Second)
		if s.Proxies != 3 || s.Waiting != 1 {
			t.Errorf("%+v, want c waiting and d live", s)
		}
		// d trusts all and is trusted by nobody.
		w.only(s, BadSignature)
		for _, f := range w.Failures() {
			if f.Client.Name != "d" && f.Server.Name != "d" {
				t.Errorf("a handshake without d failed: %s", f)
			}
		}
	})
}

func TestOnlyReadyPodsTakePart(t *testing.T) {
	in(t, Options{}, func(w world) {
		w.start("a b", w.old)
		c := w.pod("c", text(w.old))
		ready := &c.Status.Conditions[0]
		change := func(change func()) *corev1.Pod {
			c = c.DeepCopy()
			ready = &c.Status.Conditions[0]
			change()
			w.population.observe(c)
			return c
		}
		change(func() { ready.Status = corev1.ConditionFalse })
		w.fine(w.pass(time.Second), 2)
		change(func() { ready.Status = corev1.ConditionTrue })
		w.fine(w.pass(time.Second), 3)
		change(func() { c.DeletionTimestamp = new(metav1.Now()) })
		w.fine(w.pass(time.Second), 3) // Terminating, and not yet gone
		w.population.forget(c)
		w.fine(w.pass(time.Second), 2)
		c.UID = "c2"
		change(func() {})
		w.fine(w.pass(time.Second), 3)
		change(func() { c.Status.Phase = corev1.PodSucceeded })
		w.fine(w.pass(time.Second), 2)
		names := ""
		for _, p := range w.Peers() {
			names += p.Name
			if p.Issuer != identity.Fingerprint(w.oldIssuer.Cert.Raw) || len(p.Anchors) != 1 {
				t.Errorf("%s: want the old issuer and one anchor", p)
			}
		}
		if names != "ab" {
			t.Errorf("live are %s, want a and b", names)
		}
	})
}

func TestAPodThatNeverGotALeafIsNotLive(t *testing.T) {
	in(t, Options{}, func(w world) {
		w.start("a b", w.old)
		w.pass(time.Second)
		w.identity.use(nil)
		w.start("c", w.old)
		w.population.observe(w.pod("d", corev1.EnvVar{Name: anchorsVariable, Value: "no certificate"}))
		s := w.pass(10 * time.Second)
		w.fine(s, 2)
		if s.Waiting != 2 {
			t.Errorf("%d wait for a leaf, want c and d", s.Waiting)
		}
		w.identity.use(w.oldIssuer)
		w.fine(w.pass(2*time.Second), 3)
	})
}

func TestAContainerThatStartsAgainIsANewProcess(t *testing.T) {
	in(t, Options{}, func(w world) {
		w.start("a b", w.old, w.new)
		w.pass(time.Second)
		again := func(restarts int32) {
			p := w.pod("b", text(w.new))
			p.Status.InitContainerStatuses[0].RestartCount = restarts
			w.population.observe(p)
		}
		again(1)
		s := w.pass(2 * time.Second) // only the new anchor: it rejects the old issuer's leaf
		w.only(s, NoLeaf)
		if s.Proxies != 2 || s.Waiting != 1 {
			t.Errorf("%+v, want two live, one of them without a leaf", s)
		}
		w.identity.use(w.newIssuer)
		w.pass(2 * time.Second)
		w.only(w.pass(2*time.Second), BadSignature) // a keeps its old leaf for 70 s
		w.pass(70 * time.Second)
		w.fine(w.pass(10*time.Second), 2)
		before := w.Peers()[1].Leaf
		again(2)
		w.fine(w.pass(2*time.Second), 2)
		if after := w.Peers()[1].Leaf; after == before {
			t.Error("the new process has the leaf of the one before")
		}
	})
}

// resolver tells what pods got.
type resolver map[types.UID]kubelet.Resolved

func (r resolver) Resolved(pod types.UID, container string) (kubelet.Resolved, bool) {
	resolved, ok := r[pod]
	return resolved, ok && container == proxyContainer
}

func TestAReferenceIsWhatTheKubeletResolvedForThisStart(t *testing.T) {
	known := resolver{}
	in(t, Options{Kubelet: known}, func(w world) {
		w.start("a", w.old)
		w.pass(time.Second)
		reference := corev1.EnvVar{Name: anchorsVariable, ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{Key: "ca-bundle.crt"}}}
		earlier := time.Now().Add(-time.Minute)
		given := map[string]string{anchorsVariable: text(w.old).Value}
		w.stopped(func() { known["b"] = kubelet.Resolved{StartedAt: earlier, Env: given} })
		w.population.observe(w.pod("b", reference))
		if s := w.pass(time.Second); s.Proxies != 1 || s.Waiting != 0 {
			t.Errorf("%+v, want b to wait for the kubelet and not for a leaf", s)
		}
		w.stopped(func() {
			known["b"] = kubelet.Resolved{StartedAt: time.Unix(w.population.members["b"].next.run.at, 0), Env: given}
		})
		w.fine(w.pass(time.Second), 2)
	})
}

// stopped runs f while no goroutine of the bubble does.
func (w world) stopped(f func()) {
	synctest.Wait()
	f()
}

func TestAHeldPodIsReleasedWhenItsProxyHasALeaf(t *testing.T) {
	in(t, Options{}, func(w world) {
		w.identity.use(nil)
		p := w.pod("a", text(w.old))
		identity.Hold(&p.ObjectMeta)
		p.Status.Conditions[0].Status = corev1.ConditionFalse
		pods := w.client.CoreV1().Pods("apps")
		if _, err := pods.Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		held := func() bool {
			got, err := pods.Get(t.Context(), "a", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return got.Annotations[lab.NeverReadyAnnotation] == "true"
		}
		w.population.observe(p)
		w.pass(5 * time.Second)
		if !held() {
			t.Error("it was released without a leaf")
		}
		w.identity.use(w.oldIssuer)
		w.pass(2 * time.Second)
		if held() {
			t.Error("it has a leaf and was not released")
		}
	})
}

func TestTheFirstAndTheLastFailuresAreKept(t *testing.T) {
	s := newScore()
	for i := range 100 {
		s.add(noon.Add(time.Duration(i)*time.Second), &Failure{Err: fmt.Errorf("%d", i), Reason: Other})
	}
	var got []string
	for _, f := range s.list() {
		got = append(got, f.Err.Error())
	}
	want := strings.Fields("0 1 2 3 4 5 6 7 8 9 90 91 92 93 94 95 96 97 98 99")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("failures (-want +got):\n%s", diff)
	}
	s.idle()
	s.add(noon.Add(time.Hour), nil)
	stats := s.stats()
	if stats.Handshakes != 101 || stats.Failed != 100 || stats.ByReason[Other] != 100 {
		t.Errorf("%+v, want 100 of 101 failed", stats)
	}
	if stats.LongestPause != time.Second {
		t.Errorf("the longest pause is %s; an idle moment counts as none", stats.LongestPause)
	}
}

func TestProxiesWithoutAnIdentityAreRefused(t *testing.T) {
	if _, err := Start(t.Context(), nil, Options{}); err == nil {
		t.Error("they started")
	}
}
