package rollout

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// State is what the roller must remember because it cannot be observed again.
// It is stored before anything is written to a workload, so a successor goes
// on where a killed controller stopped and never starts a roll twice.
type State struct {
	// BundleHash is the bundle that all counters belong to.
	BundleHash string
	// Wave is the wave that rolls; Completed how many of its workloads are done.
	Wave, Completed int
	InProgress      []Roll
	Failed          []Failure
	Attempts        []Attempts
	// FencedAt is when every injector served the bundle; zero before.
	FencedAt time.Time
	// Measured counts the rolls that ended well, and how long they took.
	Measured      int
	MeasuredTotal time.Duration
}

// Roll is one roll in flight.
type Roll struct {
	Key     Key
	Attempt int
	Verb    v1alpha1.Verb
	// For is the bundle hash that it rolls towards.
	For string
	// StartedAt is when it was decided.
	StartedAt time.Time
	// Before is the creation time of the newest pod at that moment, by the API
	// server's clock, or when its operator was asked: pods created later are the
	// roll's own.
	Before time.Time
	// Pods is how many pods it had at that moment, terminating ones included, or
	// later at any other: so many are expected of it when it is done.
	Pods int
	// Degraded says that fewer pods were available at that moment than there should
	// be, and Available how many, or of its old pods later: no more are expected when
	// all are replaced (see planner.asBefore). It is not known of a roll that was taken
	// up without its state, or tried before.
	Degraded  bool
	Available int
	// Applied says that the mark, the restart time or the annotation was seen on
	// the owner.
	Applied bool
	// Left is the least seen so far that its pods had still to go (see
	// planner.left), and ProgressAt when there was last progress: a pod that
	// becomes ready again and again is none.
	Left       int
	ProgressAt time.Time
	// Message says what it waits for.
	Message string
}

// restartAt is the time to write to an Argo Rollout, or for an operator into an
// annotation. It replaces all pods created before that time: one second after its newest pod, so by the clock that
// dates the pods. It comes from the stored state, so a repeat changes nothing.
func (r *Roll) restartAt() time.Time { return r.Before.Add(time.Second) }

// mark is the value of the template annotation for this roll.
func (r *Roll) mark() string { return Mark(r.For, r.Attempt) }

// Mark returns the value of the template annotation for an attempt: the bundle
// hash, and from the second attempt on its number. It is deterministic, so
// that writing it twice is one roll.
func Mark(hash string, attempt int) string {
	if attempt <= 1 {
		return hash
	}
	return hash + "." + strconv.Itoa(attempt)
}

// attemptOf reads the attempt from a mark; 0 when it is of another bundle.
func attemptOf(mark, hash string) int {
	rest, ok := strings.CutPrefix(mark, hash)
	if !ok || hash == "" {
		return 0
	}
	if rest == "" {
		return 1
	}
	n, err := strconv.Atoi(strings.TrimPrefix(rest, "."))
	if err != nil || n < 2 || !strings.HasPrefix(rest, ".") {
		return 0
	}
	return n
}

// Failure is a workload whose roll did not succeed.
type Failure struct {
	Key     Key
	Reason  v1alpha1.Reason
	Message string
	Attempt int
	Since   time.Time
}

// Attempts counts what cannot be read off the workload.
type Attempts struct {
	Key            Key
	Count, Reverts int
	LastAt         time.Time
}

// clone returns a copy that shares no slice with s.
func (s State) clone() State {
	s.InProgress = slices.Clone(s.InProgress)
	s.Failed = slices.Clone(s.Failed)
	s.Attempts = slices.Clone(s.Attempts)
	return s
}

// forBundle returns the state with the counters of another bundle cleared.
// Rolls in flight towards the older bundle stay: their pods are still being
// replaced, and they count in the budget until they have settled. How far they
// had to go was told by what was stale to that bundle, so that begins anew.
func (s State) forBundle(hash string) State {
	if s.BundleHash == hash {
		return s.clone()
	}
	rolls := slices.Clone(s.InProgress)
	for i := range rolls {
		rolls[i].Left = math.MaxInt32
	}
	return State{BundleHash: hash, InProgress: rolls, Measured: s.Measured, MeasuredTotal: s.MeasuredTotal}
}

func (s *State) roll(k Key) *Roll {
	for i := range s.InProgress {
		if s.InProgress[i].Key == k {
			return &s.InProgress[i]
		}
	}
	return nil
}

func (s *State) endRoll(k Key) {
	s.InProgress = slices.DeleteFunc(s.InProgress, func(r Roll) bool { return r.Key == k })
}

func (s *State) failure(k Key) *Failure {
	for i := range s.Failed {
		if s.Failed[i].Key == k {
			return &s.Failed[i]
		}
	}
	return nil
}

func (s *State) clearFailure(k Key) {
	s.Failed = slices.DeleteFunc(s.Failed, func(f Failure) bool { return f.Key == k })
}

func (s *State) fail(f Failure) {
	s.clearFailure(f.Key)
	s.Failed = append(s.Failed, f)
}

// sort brings everything into the order of the keys, so that the order in
// which it was stored decides nothing.
func (s *State) sort() {
	slices.SortFunc(s.InProgress, func(a, b Roll) int { return a.Key.compare(b.Key) })
	slices.SortFunc(s.Failed, func(a, b Failure) int { return a.Key.compare(b.Key) })
	slices.SortFunc(s.Attempts, func(a, b Attempts) int { return a.Key.compare(b.Key) })
}

// attempts returns the counters of a workload, adding them when absent.
func (s *State) attempts(k Key) *Attempts {
	for i := range s.Attempts {
		if s.Attempts[i].Key == k {
			return &s.Attempts[i]
		}
	}
	s.Attempts = append(s.Attempts, Attempts{Key: k})
	return &s.Attempts[len(s.Attempts)-1]
}

func (s *State) counted(k Key) Attempts {
	for i := range s.Attempts {
		if s.Attempts[i].Key == k {
			return s.Attempts[i]
		}
	}
	return Attempts{Key: k}
}
