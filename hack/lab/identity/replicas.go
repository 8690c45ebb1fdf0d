package identity

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// ErrUnreachable is what a proxy gets when no replica that it can reach has
// started.
var ErrUnreachable = errors.New("no replica of identity can be reached")

// start is one start of a pod's container.
type start struct {
	at       int64 // seconds, as the API has it
	restarts int32
}

// podState is what a replica's pod is like; the zero value is that of a replica
// that is no pod.
type podState struct {
	name  types.NamespacedName
	start start
	ready bool
	held  bool
}

// replica is one process.
type replica struct {
	uid   types.UID // "" when it is no pod
	pod   podState
	place *place
	// issuer is nil before its start; anchors are those of its start.
	issuer  *issuer
	anchors *x509.CertPool
	// notBefore is when it may try to start.
	notBefore time.Time
	// read is how many versions of the issuer it has read.
	read    int
	stopped bool
}

// place is what outlives a replica: a pod that takes another's place has its lag.
type place struct {
	number   int
	lag      time.Duration
	occupied bool
}

// replicas are all there are, with what they read.
type replicas struct {
	options Options

	mu       sync.Mutex
	all      []*replica
	places   []*place
	issuers  []version // never forgotten: they are few
	anchors  *x509.CertPool
	counters Counters
}

func newReplicas(o Options) *replicas {
	rs := &replicas{options: o, counters: Counters{Signed: map[string]int{}}}
	if o.PodSelector == "" {
		for range max(1, o.Replicas) {
			rs.add("", podState{ready: true})
		}
	}
	return rs
}

// setIssuer records what the Secret is from now on; none while it is deleted.
func (rs *replicas) setIssuer(f files) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.issuers = append(rs.issuers, version{rs.options.Clock.Now(), f})
}

// setAnchors records what the ConfigMap is from now on; nil while it is deleted.
func (rs *replicas) setAnchors(pem []byte) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.anchors = nil
	if pem != nil {
		rs.anchors = x509.NewCertPool()
		rs.anchors.AppendCertsFromPEM(pem)
	}
}

// setPod tells of a pod whose container runs. A container that has started again
// is a new process.
func (rs *replicas) setPod(uid types.UID, pod podState) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.find(uid)
	if r == nil {
		rs.add(uid, pod)
		return
	}
	if r.pod.start != pod.start {
		*r = replica{uid: uid, place: r.place}
	}
	r.pod = pod
}

func (rs *replicas) remove(uid types.UID) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r := rs.find(uid); r != nil {
		r.place.occupied = false
		rs.all = slices.DeleteFunc(rs.all, func(other *replica) bool { return other == r })
	}
}

func (rs *replicas) close() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.all = nil
}

func (rs *replicas) find(uid types.UID) *replica {
	if i := slices.IndexFunc(rs.all, func(r *replica) bool { return r.uid == uid }); i >= 0 {
		return rs.all[i]
	}
	return nil
}

// add puts a replica into the first free place.
func (rs *replicas) add(uid types.UID, pod podState) {
	free := rs.place(len(rs.places))
	if i := slices.IndexFunc(rs.places, func(p *place) bool { return !p.occupied }); i >= 0 {
		free = rs.places[i]
	}
	free.occupied = true
	rs.all = append(rs.all, &replica{uid: uid, pod: pod, place: free})
}

// place n, made when it is new.
func (rs *replicas) place(n int) *place {
	for len(rs.places) <= n {
		p := &place{number: len(rs.places)}
		if lags := rs.options.Lags; len(lags) > 0 {
			p.lag = lags[p.number%len(lags)]
		}
		rs.places = append(rs.places, p)
	}
	return rs.places[n]
}

func (rs *replicas) sign(request Request) (Leaf, error) {
	i, err := rs.pick(request.Pod)
	if err != nil {
		return Leaf{}, err
	}
	// Outside of the lock: signing is what takes time.
	leaf, err := i.sign(request, rs.options.Clock.Now(), rs.options)
	if err != nil {
		return Leaf{}, err
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.counters.Signed[i.fingerprint]++
	return leaf, nil
}

// pick returns the issuer of the replica that answers a pod.
func (rs *replicas) pick(caller types.UID) (*issuer, error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	var reachable []*replica
	if own := rs.find(caller); own != nil && caller != "" {
		if own.issuer != nil {
			reachable = []*replica{own}
		}
	} else {
		for _, r := range rs.all {
			if r.reachable() {
				reachable = append(reachable, r)
			}
		}
	}
	if len(reachable) == 0 {
		rs.counters.Unanswered++
		return nil, ErrUnreachable
	}
	r := reachable[rand.IntN(len(reachable))]
	rs.catchUp(r)
	return r.issuer, nil
}

func (r *replica) reachable() bool { return r.issuer != nil && r.pod.ready }

func (rs *replicas) setLag(n int, lag time.Duration) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.catchUpAll()
	rs.place(n).lag = lag
}

func (rs *replicas) stopReloading(n int) error {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, r := range rs.all {
		if r.place.number == n {
			rs.catchUp(r)
			r.stopped = true
			return nil
		}
	}
	return fmt.Errorf("identity has no replica %d", n)
}

func (rs *replicas) list() []Replica {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.catchUpAll()
	var list []Replica
	for _, r := range rs.all {
		one := Replica{Number: r.place.number, Pod: r.pod.name.Name, Started: r.issuer != nil, Reachable: r.reachable(), Reloads: !r.stopped}
		if r.issuer != nil {
			one.Issuer = r.issuer.fingerprint
		}
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b Replica) int { return cmp.Compare(a.Number, b.Number) })
	return list
}

// counted returns a copy, with what each replica has read by now.
func (rs *replicas) counted() Counters {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.catchUpAll()
	c := rs.counters
	c.Signed = maps.Clone(c.Signed)
	return c
}
