// Package identity is the lab's stand-in for Linkerd's identity service: replicas
// that sign the leaves of proxies with the issuer they last read.
//
// A replica behaves as linkerd-identity edge-26.8.3 does (pkg/identity, pkg/tls):
//
//   - It reads the anchors, ConfigMap linkerd-identity-trust-roots, once: when it
//     starts. With an issuer that it cannot verify against them, at that time and
//     expired anchors not counted, it refuses to start, and tries again
//     RestartDelay later, as a container that crashes does.
//   - It follows the issuer, Secret linkerd-identity-issuer, as a mounted file
//     shows it: a new one is there lag after the write, and at its start the
//     latest. One that it cannot verify against the anchors of its start is
//     skipped, and it goes on signing with the one before.
//   - A leaf ends with the issuer at the latest.
//
// Replicas are a fixed number, or follow pods (Options.PodSelector): then each pod
// whose container runs is a replica, which starts anew when the container does.
// Callers reach only those of Ready pods, each time a random one, but for a pod
// that is itself a replica: its proxy asks its own container.
//
// kwok makes any pod Ready. Pods of a template that [Hold] has changed wait until
// they are released, which happens here once their replica has started. So the
// rollout of an identity that refuses to start gets stuck, as it does in a
// cluster. A pod without it is Ready whatever becomes of its replica.
//
// It imports nothing of the packages it is the measure of.
package identity

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
)

// Names that Linkerd gives its objects, in the control plane's namespace.
const (
	// IssuerSecret holds the issuer, under the keys tls.crt and tls.key or
	// crt.pem and key.pem.
	IssuerSecret = "linkerd-identity-issuer"
	// BundleConfigMap and BundleKey are where the anchors are read from, unless
	// Options.Bundle says another name.
	BundleConfigMap = "linkerd-identity-trust-roots"
	BundleKey       = "ca-bundle.crt"
)

// Defaults of Options: those of Linkerd, and of a kubelet's first back-off.
const (
	DefaultControlPlane = "linkerd"
	DefaultLeafLifetime = 24 * time.Hour
	DefaultClockSkew    = 20 * time.Second
	DefaultRestartDelay = 10 * time.Second
)

// interval is how often the replicas that wait for their start are looked at.
const interval = 50 * time.Millisecond

// Options of an identity. The zero value is one replica without lag.
type Options struct {
	// ControlPlane is the namespace of the control plane; DefaultControlPlane
	// when empty.
	ControlPlane string
	// Bundle is the name of the ConfigMap with the anchors; BundleConfigMap when
	// empty. trust-manager names it as the Bundle, which is there once in a cluster.
	Bundle string
	// Replicas is how many there are; 0 means 1. With PodSelector it has no effect.
	Replicas int
	// Lags are those of the replicas, in order; when there are more replicas
	// they start over. None means no lag.
	Lags []time.Duration
	// PodSelector is the label selector of the pods in namespace ControlPlane that
	// are the replicas.
	PodSelector string
	// LeafLifetime is how long a leaf is good from its signing on, 0 means
	// DefaultLeafLifetime. ClockSkew is added at both ends; 0 means
	// DefaultClockSkew, negative none.
	LeafLifetime, ClockSkew time.Duration
	// RestartDelay is how long a replica that refused to start waits before it
	// tries again; 0 means DefaultRestartDelay.
	RestartDelay time.Duration
	// Clock is the wall clock by default.
	Clock clock.PassiveClock
}

func (o Options) withDefaults() Options {
	if o.ControlPlane == "" {
		o.ControlPlane = DefaultControlPlane
	}
	if o.Bundle == "" {
		o.Bundle = BundleConfigMap
	}
	if o.LeafLifetime == 0 {
		o.LeafLifetime = DefaultLeafLifetime
	}
	if o.ClockSkew == 0 {
		o.ClockSkew = DefaultClockSkew
	}
	o.ClockSkew = max(0, o.ClockSkew)
	if o.RestartDelay == 0 {
		o.RestartDelay = DefaultRestartDelay
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	return o
}

// Counters tell what the replicas have done, those that are gone included.
type Counters struct {
	// Signed is the number of leaves by the fingerprint of their issuer.
	Signed map[string]int
	// Skipped is how often a running replica read an issuer that it did not take.
	Skipped int
	// Refused is how often a replica did not start for its issuer.
	Refused int
	// Unanswered is how often somebody asked and no replica was there.
	Unanswered int
}

// Replica is one at a moment.
type Replica struct {
	// Number is what SetLag and StopReloading call it by.
	Number int
	// Pod is the name of its pod, if it is one.
	Pod string
	// Started is false while it waits for its files or refuses to start.
	Started bool
	// Reachable tells whether callers reach it: it has started and its pod is Ready.
	Reachable bool
	// Reloads is false after StopReloading.
	Reloads bool
	// Issuer is the fingerprint of the one it signs with, "" before its start.
	Issuer string
}

// Identity is a running one.
type Identity struct {
	client   kubernetes.Interface
	watches  *watches
	replicas *replicas
	stop     context.CancelFunc
	running  sync.WaitGroup
}

// Start returns when the issuer, the anchors and the pods that there are have
// been seen; the replicas start a moment later. ctx bounds that only; Stop ends
// the identity.
func Start(ctx context.Context, config *rest.Config, o Options) (*Identity, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("building identity's client: %w", err)
	}
	o = o.withDefaults()
	runCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	rs := newReplicas(o)
	i := &Identity{client: client, watches: newWatches(client, o, rs), replicas: rs, stop: stop}
	if err := i.watches.start(ctx, runCtx); err != nil {
		i.Stop()
		return nil, err
	}
	i.running.Go(func() { i.run(runCtx) })
	return i, nil
}

// run starts replicas and releases their pods until ctx ends.
func (i *Identity) run(ctx context.Context) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		for _, pod := range i.replicas.startWaiting() {
			// What fails is tried again the next time, while the pod is there.
			_ = Release(ctx, i.client, pod)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Stop ends the replicas.
func (i *Identity) Stop() {
	i.stop()
	i.running.Wait()
	i.watches.stop()
	i.replicas.close()
}

// Sign gives a proxy a leaf, from a random replica that its caller can reach. It
// returns ErrUnreachable when there is none.
func (i *Identity) Sign(r Request) (Leaf, error) { return i.replicas.sign(r) }

// SetLag changes the lag of a replica, counted from 0, and of those that follow
// it in the same place. What it has read it does not forget.
func (i *Identity) SetLag(replica int, lag time.Duration) { i.replicas.setLag(replica, lag) }

// StopReloading makes a replica go on with the issuer it has, whatever is
// written: its file watcher has left its loop (linkerd2#15109). Only a new start
// helps. It fails when there is no such replica.
func (i *Identity) StopReloading(replica int) error { return i.replicas.stopReloading(replica) }

// Replicas returns them in the order of their numbers.
func (i *Identity) Replicas() []Replica { return i.replicas.list() }

// Counters returns what was counted so far.
func (i *Identity) Counters() Counters { return i.replicas.counted() }
