package admission

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

func base64PEM(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// The load is 50 dry runs and 10 creations a second for 26 seconds, and goes on
// until the certificate has been rotated twice. Each is begun at its time, whatever
// has come of those before, so that a slow answer does not spare the webhook the
// next request. The least that is asserted of the pace leaves a tenth to a machine
// that stands still when the rotations have just been seen.
const (
	dryRunsPerSecond      = 50
	createsPerSecond      = 10
	leastDryRunsPerSecond = 45
	leastCreatesPerSecond = 9
	wantSeconds           = 26
	wantConnections       = 50
	// wantGenerations of CAs and leaves make two rotations.
	wantGenerations = 3
	// mostUnderWay of one kind are ten seconds of the load: where so many wait
	// for an answer, none comes.
	mostUnderWay = 500
	loadDeadline = 4 * time.Minute
)

func TestNoCreationFailsWhileTheServingCertificateRotates(t *testing.T) {
	valid := root(t, "valid", -time.Hour, time.Hour)
	linkerd(t, "rotating", v1alpha1.AdmissionSpec{}, bundle.Of(valid.Cert))
	ns := namespace(t, "rotating", nil)
	revive(t)
	showLogs(t)
	restart(t, "--certificate-life", "24s", "--certificate-renewal", "20s", "--certificate-pause", "2s")
	// Afterwards with the lifetimes of everybody else.
	defer restart(t)

	dry := &load{pod: carrying(t, ns, "rotating", valid.PEM()), perSecond: dryRunsPerSecond, least: leastDryRunsPerSecond, options: metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}}
	real := &load{pod: dry.pod, perSecond: createsPerSecond, least: leastCreatesPerSecond}
	// The API server sees the new caBundle a moment after it was written.
	eventually(t, time.Minute, func() string {
		if err := dry.stamped(t.Context()); err != nil {
			return err.Error()
		}
		return ""
	})

	ctx, cancel := context.WithTimeout(t.Context(), loadDeadline)
	defer cancel()
	began, before := time.Now(), shared.balancer.accepted.Load()
	seen := &generations{cas: map[string]bool{}, leaves: map[string]map[string]bool{}}
	var wg sync.WaitGroup
	for _, f := range []func(context.Context){dry.run, real.run, seen.watch, func(ctx context.Context) { moveAround(ctx, t) }} {
		wg.Go(func() { f(ctx) })
	}
	// Each must come to its number, so none of them is judged by less.
	missing := func() (out []string) {
		cas, leaves := seen.count()
		for what, n := range map[string][2]int64{
			"seconds":           {int64(time.Since(began).Seconds()), wantSeconds},
			"new connections":   {shared.balancer.accepted.Load() - before, wantConnections},
			"CAs in a caBundle": {cas, wantGenerations}, "leaves served by each replica": {leaves, wantGenerations},
		} {
			if n[0] < n[1] {
				out = append(out, fmt.Sprintf("%d of %d %s", n[0], n[1], what))
			}
		}
		return out
	}
	for len(missing()) > 0 && ctx.Err() == nil && dry.first.Load() == nil && real.first.Load() == nil {
		time.Sleep(100 * time.Millisecond)
	}
	took := time.Since(began)
	dry.stop(took)
	real.stop(took)
	cancel()
	wg.Wait()

	cas, leaves := seen.count()
	t.Logf("within %s: %s; %s; %d new connections, %d CAs, %d leaves", took.Round(100*time.Millisecond),
		dry.describe("dry runs"), real.describe("creations"), shared.balancer.accepted.Load()-before, cas, leaves)
	for _, l := range []*load{dry, real} {
		if first := l.first.Load(); first != nil {
			t.Errorf("%d of %d failed, the first with: %v", l.failed.Load(), l.done.Load(), *first)
		}
		if l.rate < l.least {
			t.Errorf("%.1f a second were begun, want %.0f at least", l.rate, l.least)
		}
	}
	if left := missing(); len(left) > 0 {
		t.Errorf("within %s there were only %s", took, strings.Join(left, ", "))
	}
	pods, err := shared.kube.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil || int64(len(pods.Items)) != real.done.Load()-real.failed.Load() {
		t.Errorf("there are %d pods after %d creations (%v)", len(pods.Items), real.done.Load(), err)
	}
}

// restart runs the replicas with other flags, and with a serving certificate
// made under them.
func restart(t *testing.T, args ...string) {
	t.Helper()
	for _, r := range shared.replicas {
		r.kill()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := shared.kube.CoreV1().Secrets(systemNamespace).Delete(ctx, servingSecret, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := shared.startReplicas(ctx, args...); err != nil {
		t.Fatal(err)
	}
}

// load creates pods at a steady pace.
type load struct {
	pod                 *corev1.Pod
	perSecond           int
	least               float64 // begun a second
	options             metav1.CreateOptions
	begun, done, failed atomic.Int64
	// most is the most that were under way at once, and latest how late one was begun.
	most, latest atomic.Int64
	first        atomic.Pointer[error]
	// rate is how many a second were begun until it was stopped.
	rate float64
}

// run begins each creation at its time and waits for no answer. Those whose time
// has come while this goroutine did not run, on a machine that is busy, are begun
// together. It ends when nothing seems to be answered any more.
func (l *load) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	began := time.Now()
	for n := int64(0); ; n++ {
		due := began.Add(time.Duration(n) * time.Second / time.Duration(l.perSecond))
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(due)):
		}
		underWay := n - l.done.Load()
		l.most.Store(max(l.most.Load(), underWay))
		l.latest.Store(max(l.latest.Load(), int64(time.Since(due))))
		if underWay >= mostUnderWay {
			l.first.CompareAndSwap(nil, new(fmt.Errorf("%d were under way at once", underWay)))
			return
		}
		l.begun.Add(1)
		wg.Go(func() { l.create(context.WithoutCancel(ctx)) })
	}
}

// stop takes the rate of what was begun in a time.
func (l *load) stop(took time.Duration) { l.rate = float64(l.begun.Load()) / took.Seconds() }

// stamped is nil when a pod was created and stamped.
func (l *load) stamped(ctx context.Context) error {
	created, err := shared.kube.CoreV1().Pods(l.pod.Namespace).Create(ctx, l.pod.DeepCopy(), l.options)
	if err == nil && len(stampOf(created)) != 3 {
		err = fmt.Errorf("pod %s is not stamped", created.Name)
	}
	return err
}

func (l *load) create(ctx context.Context) {
	if err := l.stamped(ctx); err != nil {
		l.failed.Add(1)
		l.first.CompareAndSwap(nil, &err)
	}
	l.done.Add(1)
}

func (l *load) describe(what string) string {
	return fmt.Sprintf("%d %s, begun %.1f a second and %s late at most, %d under way at most",
		l.done.Load(), what, l.rate, time.Duration(l.latest.Load()).Round(time.Millisecond), l.most.Load())
}

// moveAround tells the API server of one address after the other, so that it
// connects anew. A port's connections are cut when they have had nothing to do
// for two moves.
func moveAround(ctx context.Context, t *testing.T) {
	t.Helper()
	const every = 400 * time.Millisecond
	api := shared.kube.AdmissionregistrationV1()
	move := func(port int) {
		patch := func(path string) []byte {
			return fmt.Appendf(nil, `[{"op":"replace","path":"/webhooks/0/clientConfig/url","value":%q}]`, shared.balancer.url(port)+path)
		}
		if _, err := api.MutatingWebhookConfigurations().Patch(context.WithoutCancel(ctx), stampName, types.JSONPatchType, patch("/stamp"), metav1.PatchOptions{}); err != nil {
			t.Error(err)
		}
		if _, err := api.ValidatingWebhookConfigurations().Patch(context.WithoutCancel(ctx), validateName, types.JSONPatchType, patch("/validate"), metav1.PatchOptions{}); err != nil {
			t.Error(err)
		}
	}
	for i := 1; ; i++ {
		select {
		case <-ctx.Done():
			move(0)
			return
		case <-time.After(every):
			shared.balancer.cut((i + ports - 3) % ports)
			move(i % ports)
		}
	}
}

// generations are the distinct CAs that the API server was told of, and the
// distinct leaves that each replica showed in a handshake.
type generations struct {
	mu     sync.Mutex
	cas    map[string]bool
	leaves map[string]map[string]bool
}

// watch looks all the time. What cannot be read at a moment is read at the next.
func (g *generations) watch(ctx context.Context) {
	for ctx.Err() == nil {
		if c, err := shared.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(ctx, validateName, metav1.GetOptions{}); err == nil {
			g.addBundle(c.Webhooks[0].ClientConfig.CABundle)
		}
		for _, r := range shared.replicas {
			g.addLeaf(ctx, r.webhook)
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (g *generations) addBundle(text []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		g.cas[fmt.Sprintf("%x", sha256.Sum256(block.Bytes))] = true
	}
}

func (g *generations) addLeaf(ctx context.Context, address string) {
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // it is looked at, not trusted
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return
	}
	defer conn.Close()
	leaf := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.leaves[address] == nil {
		g.leaves[address] = map[string]bool{}
	}
	g.leaves[address][fmt.Sprintf("%x", sha256.Sum256(leaf.Raw))] = true
}

// count returns the number of CAs, and of the leaves of the replica that showed
// the fewest.
func (g *generations) count() (cas, leaves int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	fewest := math.MaxInt
	for _, r := range shared.replicas {
		fewest = min(fewest, len(g.leaves[r.webhook]))
	}
	return int64(len(g.cas)), int64(fewest)
}
