package proxies

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/reanchor/reanchor/hack/lab/identity"
)

// member is a meshed pod whose proxy runs.
type member struct {
	ready, held bool
	// current takes part; next is a start of the container that has not asked for
	// a leaf yet, or of which there never was one that had a leaf.
	current, next *process
}

func (m *member) live() bool { return m.ready && m.current != nil }

// latest is the process that runs.
func (m *member) latest() *process {
	if m.next != nil {
		return m.next
	}
	return m.current
}

// population is all meshed pods.
type population struct {
	options   Options
	certifier certifier

	mu                         sync.Mutex
	members                    map[types.UID]*member
	leaves, rejected, unsigned int
}

func newPopulation(o Options) *population {
	return &population{options: o, certifier: certifier{o.Identity, o.Kubelet}, members: map[types.UID]*member{}}
}

// observe takes note of what a pod is now.
func (p *population) observe(obj any) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	began, running := runOf(pod)
	if !running || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		delete(p.members, pod.UID)
		return
	}
	m := p.members[pod.UID]
	if m == nil {
		m = &member{}
		p.members[pod.UID] = m
	}
	m.ready, m.held = isReady(pod), identity.Held(&pod.ObjectMeta)
	if known := m.latest(); known == nil || known.run != began {
		m.next = newProcess(pod, began, p.options.ControlPlane)
	}
}

func (p *population) forget(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	if pod, ok := obj.(*corev1.Pod); ok {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.members, pod.UID)
	}
}

func runOf(pod *corev1.Pod) (run, bool) {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for _, status := range list {
			if status.Name == proxyContainer && status.State.Running != nil {
				return run{status.State.Running.StartedAt.Unix(), status.RestartCount}, true
			}
		}
	}
	return run{}, false
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// refresh gets leaves for those that need one now. Only one goroutine calls it.
func (p *population) refresh() {
	now := p.options.Clock.Now()
	for _, due := range p.due(now) {
		// Outside of the lock: handshakes go on meanwhile.
		after, err := p.certifier.certify(*due, now)
		p.install(due, after, err)
	}
}

func (p *population) due(now time.Time) []*process {
	p.mu.Lock()
	defer p.mu.Unlock()
	var due []*process
	for _, m := range p.members {
		if latest := m.latest(); !now.Before(latest.refreshAt) {
			due = append(due, latest)
		}
	}
	return due
}

// install writes what came of an attempt.
func (p *population) install(before *process, after process, err error) {
	if errors.Is(err, errNotYet) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		p.leaves++
	case errors.Is(err, errRejected):
		p.rejected++
	case errors.Is(err, errUnsigned):
		p.unsigned++
	}
	now := p.options.Clock.Now()
	after.asked = true
	after.refreshAt = now.Add(p.wait(after.leaf, now))
	*before = after
	m := p.members[before.uid]
	if m == nil || m.next != before {
		return
	}
	// A process that follows another takes part whatever it got: its pod is Ready.
	if err == nil || m.current != nil {
		m.current, m.next = m.next, nil
	}
}

// wait is until 70 % of what is left of a leaf have passed, as Linkerd's proxies
// do it, whether the leaf is new or not.
func (p *population) wait(l *leaf, now time.Time) time.Duration {
	if l == nil {
		return p.options.MinRefresh
	}
	return max(p.options.MinRefresh, l.notAfter.Sub(now)*7/10)
}

// pair returns two live proxies as they are now; false when there are none.
func (p *population) pair() (client, server *process, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var live []*process
	for _, m := range p.members {
		if m.live() {
			live = append(live, m.current)
		}
	}
	if len(live) < 2 {
		return nil, nil, false
	}
	i, j := rand.IntN(len(live)), rand.IntN(len(live)-1)
	if j >= i {
		j++
	}
	from, to := *live[i], *live[j]
	return &from, &to, true
}

// releasable are the held pods whose proxies have their leaf.
func (p *population) releasable() []types.NamespacedName {
	p.mu.Lock()
	defer p.mu.Unlock()
	var pods []types.NamespacedName
	for _, m := range p.members {
		if m.held && m.current != nil && m.current.leaf != nil {
			pods = append(pods, m.current.name)
		}
	}
	return pods
}

func (p *population) count(s *Stats) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Leaves, s.Rejected, s.Unsigned = p.leaves, p.rejected, p.unsigned
	for _, m := range p.members {
		if m.live() {
			s.Proxies++
		}
		if latest := m.latest(); latest.asked && latest.leaf == nil {
			s.Waiting++
		}
	}
}

func (p *population) peers() []Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	var peers []Peer
	for _, m := range p.members {
		if m.live() {
			peers = append(peers, m.current.peer())
		}
	}
	slices.SortFunc(peers, func(a, b Peer) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return peers
}
