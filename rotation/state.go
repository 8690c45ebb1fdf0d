package rotation

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/record"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// stateOf reads back what storeState wrote. The waves may be others by now: the one
// that rolled is found by its name, and one that is gone has nothing done.
func stateOf(s *v1alpha1.RolloutStatus, waves []string) rollout.State {
	state := rollout.State{BundleHash: s.BundleHash}
	if s.Wave != nil {
		if i := slices.Index(waves, s.Wave.Name); i >= 0 {
			state.Wave, state.Completed = i, int(s.Wave.Completed)
		}
	}
	if s.Fence != nil && s.Fence.BundleHash == s.BundleHash {
		state.FencedAt = s.Fence.At.Time
	}
	if s.Measured != nil {
		state.Measured = int(s.Measured.Workloads)
		state.MeasuredTotal = time.Duration(s.Measured.TotalSeconds) * time.Second
	}
	for _, w := range s.InProgress {
		state.InProgress = append(state.InProgress, rollOf(w))
	}
	for _, w := range s.Failed {
		state.Failed = append(state.Failed, rollout.Failure{
			Key: keyOf(w.WorkloadRef), Reason: w.Reason, Message: w.Message, Attempt: int(w.Attempt), Since: w.Since.Time,
		})
	}
	for _, w := range s.Attempts {
		state.Attempts = append(state.Attempts, rollout.Attempts{
			Key: keyOf(w.WorkloadRef), Count: int(w.Count), Reverts: int(w.Reverts), LastAt: w.LastAt.Time,
		})
	}
	return state
}

func rollOf(w v1alpha1.InProgressWorkload) rollout.Roll {
	r := rollout.Roll{
		Key: keyOf(w.WorkloadRef), Attempt: int(w.Attempt), Verb: w.Verb, For: w.BundleHash, StartedAt: w.StartedAt.Time,
		Pods: int(w.Pods), Applied: w.Applied, Left: int(w.Left), Message: w.Message, ProgressAt: w.StartedAt.Time,
	}
	if w.AvailableBefore != nil {
		r.Degraded, r.Available = true, int(*w.AvailableBefore)
	}
	if w.OldPodsUntil != nil {
		r.Before = w.OldPodsUntil.Time
	}
	if w.ProgressAt != nil {
		r.ProgressAt = w.ProgressAt.Time
	}
	return r
}

// storeState writes the state into a status, with times in the resolution of
// the API, so that reading it back gives the same. Messages are cut to what the
// API takes: they may quote others, and it refuses a whole status for one.
func storeState(s *v1alpha1.RolloutStatus, state rollout.State, waves []string) {
	s.BundleHash = state.BundleHash
	s.Wave, s.Fence, s.Measured = nil, nil, nil
	if state.Wave < len(waves) {
		s.Wave = &v1alpha1.WaveStatus{Name: waves[state.Wave], Index: int32(state.Wave), Completed: int32(state.Completed)}
	}
	if !state.FencedAt.IsZero() {
		s.Fence = &v1alpha1.FenceStatus{BundleHash: state.BundleHash, At: micro(state.FencedAt)}
	}
	if state.Measured > 0 {
		s.Measured = &v1alpha1.MeasuredRolls{Workloads: int32(state.Measured), TotalSeconds: int64(state.MeasuredTotal / time.Second)}
	}
	s.InProgress, s.InProgressTotal = nil, int32(len(state.InProgress))
	for _, r := range state.InProgress {
		s.InProgress = append(s.InProgress, inProgress(r))
	}
	s.Failed, s.FailedTotal = nil, int32(len(state.Failed))
	for _, f := range capped(state.Failed, v1alpha1.MaxFailed) {
		s.Failed = append(s.Failed, v1alpha1.FailedWorkload{
			WorkloadRef: refOf(f.Key), Reason: f.Reason, Message: record.Clip(f.Message), Attempt: int32(f.Attempt), Since: second(f.Since),
		})
	}
	s.Attempts, s.AttemptsTotal = nil, int32(len(state.Attempts))
	for _, a := range capped(state.Attempts, v1alpha1.MaxAttempts) {
		s.Attempts = append(s.Attempts, v1alpha1.WorkloadAttempts{
			WorkloadRef: refOf(a.Key), Count: int32(a.Count), Reverts: int32(a.Reverts), LastAt: micro(a.LastAt),
		})
	}
}

func inProgress(r rollout.Roll) v1alpha1.InProgressWorkload {
	w := v1alpha1.InProgressWorkload{
		WorkloadRef: refOf(r.Key), Attempt: int32(r.Attempt), BundleHash: r.For, Verb: r.Verb, StartedAt: micro(r.StartedAt),
		Pods: int32(r.Pods), Applied: r.Applied, Left: int32(r.Left), Message: record.Clip(r.Message),
	}
	if r.Verb == v1alpha1.VerbRestart {
		w.RestartedFor = rollout.Mark(r.For, r.Attempt)
	}
	if r.Degraded {
		n := int32(r.Available)
		w.AvailableBefore = &n
	}
	if !r.Before.IsZero() {
		at := second(r.Before)
		w.OldPodsUntil = &at
	}
	if !r.ProgressAt.Equal(r.StartedAt) {
		at := micro(r.ProgressAt)
		w.ProgressAt = &at
	}
	return w
}

func keyOf(r v1alpha1.WorkloadRef) rollout.Key {
	return rollout.Key{Group: r.Group, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
}

func refOf(k rollout.Key) v1alpha1.WorkloadRef {
	return v1alpha1.WorkloadRef{Namespace: k.Namespace, Kind: k.Kind, Name: k.Name, Group: k.Group}
}

func capped[T any](list []T, most int) []T { return list[:min(len(list), most)] }

// second and micro cut a time to what the API keeps.
func second(t time.Time) metav1.Time { return metav1.NewTime(t.Truncate(time.Second)) }

func micro(t time.Time) metav1.MicroTime { return metav1.NewMicroTime(t.Truncate(time.Microsecond)) }
