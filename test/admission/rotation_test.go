package admission

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
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

// The load, the least number of new connections and of rotations under it. A
// machine that has other things to do gets less load, not a queue of it: what is
// tested is the rotation.
const (
	dryRunsPerSecond = 50
	createsPerSecond = 10
	mostInFlight     = 10
	loadFor          = 26 * time.Second
	wantCreations    = 400
	wantConnections  = 50
	wantRotations    = 2
)

func TestNoCreationFailsWhileTheServingCertificateRotates(t *testing.T) {
	valid := root(t, "valid", -time.Hour, time.Hour)
	linkerd(t, "rotating", v1alpha1.AdmissionSpec{}, bundle.Of(valid.Cert))
	ns := namespace(t, "rotating", nil)
	revive(t)
	restart(t, "--certificate-life", "24s", "--certificate-renewal", "20s", "--certificate-pause", "2s")
	// Afterwards with the lifetimes of everybody else.
	defer restart(t)

	ctx, cancel := context.WithTimeout(t.Context(), loadFor)
	defer cancel()
	seen := watchCertificates(ctx, t)
	before := shared.balancer.accepted.Load()
	load := &load{ctx: ctx, pod: carrying(t, ns, "rotating", valid.PEM())}
	var wg sync.WaitGroup
	wg.Go(func() { load.run(dryRunsPerSecond, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}) })
	wg.Go(func() { load.run(createsPerSecond, metav1.CreateOptions{}) })
	wg.Go(func() { moveAround(ctx, t) })
	wg.Wait()

	connections := shared.balancer.accepted.Load() - before
	t.Logf("%d creations, %d failed, %d new connections, %d certificates", load.done.Load(), load.failed.Load(), connections, seen())
	if n := load.failed.Load(); n > 0 {
		t.Errorf("%d creations failed, the first with: %v", n, *load.first.Load())
	}
	if load.done.Load() < wantCreations {
		t.Errorf("%d creations are no load, want at least %d", load.done.Load(), wantCreations)
	}
	if connections < wantConnections {
		t.Errorf("%d new connections, want %d", connections, wantConnections)
	}
	if seen() <= wantRotations {
		t.Errorf("%d serving certificates were seen, want more than %d", seen(), wantRotations)
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

// load creates pods at a steady pace, as long as not too many are in flight.
type load struct {
	ctx          context.Context
	pod          *corev1.Pod
	done, failed atomic.Int64
	first        atomic.Pointer[error]
}

func (l *load) run(perSecond int, options metav1.CreateOptions) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, mostInFlight)
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-tick.C:
			slots <- struct{}{}
			wg.Go(func() {
				l.create(options)
				<-slots
			})
		}
	}
}

func (l *load) create(options metav1.CreateOptions) {
	created, err := shared.kube.CoreV1().Pods(l.pod.Namespace).Create(context.WithoutCancel(l.ctx), l.pod.DeepCopy(), options)
	if err == nil && len(stampOf(created)) != 3 {
		err = fmt.Errorf("pod %s is not stamped", created.Name)
	}
	if err != nil {
		l.failed.Add(1)
		l.first.CompareAndSwap(nil, &err)
	}
	l.done.Add(1)
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

// watchCertificates counts the distinct certificates that the replicas serve
// from, as the Secret tells.
func watchCertificates(ctx context.Context, t *testing.T) func() int {
	t.Helper()
	var mu sync.Mutex
	seen := map[[sha256.Size]byte]bool{}
	go func() {
		for ctx.Err() == nil {
			secret, err := shared.kube.CoreV1().Secrets(systemNamespace).Get(ctx, servingSecret, metav1.GetOptions{})
			if err == nil {
				mu.Lock()
				seen[sha256.Sum256(secret.Data[corev1.TLSCertKey])] = true
				mu.Unlock()
			}
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(seen)
	}
}
