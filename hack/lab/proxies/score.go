package proxies

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// kept is how many failures are: the first half and the last half of them.
const kept = 20

// Peer is a proxy as it was at a moment. Certificates are told by fingerprint.
type Peer struct {
	Namespace, Name string
	// Leaf and Issuer are of what it presents, "" without a leaf; NotAfter is
	// when the leaf ends.
	Leaf, Issuer string
	NotAfter     time.Time
	// Anchors are what it trusts.
	Anchors []string
}

// String is for a test's message.
func (p Peer) String() string {
	short := make([]string, 0, len(p.Anchors))
	for _, a := range p.Anchors {
		short = append(short, a[:8])
	}
	return fmt.Sprintf("%s/%s (leaf of issuer %.8s until %s, trusts %v)", p.Namespace, p.Name, p.Issuer, p.NotAfter.Format(time.TimeOnly), short)
}

// Failure is a handshake that failed.
type Failure struct {
	At             time.Time
	Client, Server Peer
	Reason         Reason
	// RefusedByClient tells who turned the other's certificate down, where the
	// reason is about one.
	RefusedByClient bool
	Err             error
}

// String says who refused whom and why, for a test's message.
func (f Failure) String() string {
	refuser := "server"
	if f.RefusedByClient {
		refuser = "client"
	}
	return fmt.Sprintf("%s %s, said by the %s: client %s, server %s: %v", f.At.Format(time.TimeOnly), f.Reason, refuser, f.Client, f.Server, f.Err)
}

// Stats are what was counted since the start.
type Stats struct {
	// Handshakes is how many were tried, Failed how many of them failed, and
	// ByReason why. Reasons that did not occur are not in it.
	Handshakes, Failed int
	ByReason           map[Reason]int
	// Proxies is how many are live now.
	Proxies int
	// Waiting is how many run now and have no leaf, although they asked.
	Waiting int
	// Leaves is how many leaves were taken, Rejected how many were not since the
	// proxy's own anchors did not verify them, Unsigned how often identity gave none.
	Leaves, Rejected, Unsigned int
	// LongestPause is the longest time between two handshakes while there were
	// proxies for one: how long a failure could have gone unseen.
	LongestPause time.Duration
}

// score counts.
type score struct {
	mu       sync.Mutex
	counted  Stats
	last     time.Time // zero after an idle moment
	failures []Failure
}

func newScore() *score { return &score{counted: Stats{ByReason: map[Reason]int{}}} }

// idle tells that there were no two live proxies.
func (s *score) idle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = time.Time{}
}

// add a handshake that ended at now; failure is nil for one that succeeded.
func (s *score) add(now time.Time, failure *Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last.IsZero() {
		s.counted.LongestPause = max(s.counted.LongestPause, now.Sub(s.last))
	}
	s.last = now
	s.counted.Handshakes++
	if failure == nil {
		return
	}
	s.counted.Failed++
	s.counted.ByReason[failure.Reason]++
	if len(s.failures) == kept {
		s.failures = slices.Delete(s.failures, kept/2, kept/2+1)
	}
	s.failures = append(s.failures, *failure)
}

func (s *score) stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.counted
	stats.ByReason = maps.Clone(stats.ByReason)
	return stats
}

func (s *score) list() []Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.failures)
}
