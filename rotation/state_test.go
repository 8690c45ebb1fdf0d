package rotation

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/record"
	"github.com/reanchor/reanchor/rotation/rollout"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 123456000, time.UTC)

func TestWhatIsStoredIsReadBack(t *testing.T) {
	key := func(name string) rollout.Key {
		return rollout.Key{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: name}
	}
	state := rollout.State{
		BundleHash: "v1:b", Wave: 1, Completed: 3, FencedAt: now, Measured: 2, MeasuredTotal: 90 * time.Second,
		InProgress: []rollout.Roll{
			{Key: key("web"), Attempt: 2, Verb: v1alpha1.VerbRestart, For: "v1:b", StartedAt: now, ProgressAt: now.Add(time.Minute),
				Before: now.Truncate(time.Second), Applied: true, Left: 4, Message: "waiting for its pods"},
			{Key: rollout.Key{Kind: "Pod", Namespace: "shop", Name: "bare"}, Attempt: 1, Verb: v1alpha1.VerbEvict, For: "v1:a", StartedAt: now, ProgressAt: now},
			{Key: key("full"), Attempt: 1, Verb: v1alpha1.VerbRestart, For: "v1:b", StartedAt: now, ProgressAt: now, Degraded: true, Available: 9},
			{Key: key("down"), Attempt: 1, Verb: v1alpha1.VerbRestart, For: "v1:b", StartedAt: now, ProgressAt: now, Degraded: true},
		},
		Failed:   []rollout.Failure{{Key: key("api"), Reason: v1alpha1.StillStale, Message: "m", Attempt: 3, Since: now.Truncate(time.Second)}},
		Attempts: []rollout.Attempts{{Key: key("web"), Count: 2, Reverts: 1, LastAt: now.Truncate(time.Second)}},
	}
	var status v1alpha1.RolloutStatus
	waves := []string{"control-plane", "rest"}
	storeState(&status, state, waves)
	if diff := cmp.Diff(state, stateOf(&status, waves)); diff != "" {
		t.Error(diff)
	}
	if got, want := status.InProgress[0].RestartedFor, "v1:b.2"; got != want {
		t.Errorf("the mark shown is %q, want %q", got, want)
	}
	status.Fence.BundleHash = "v1:other"
	if got := stateOf(&status, waves); !got.FencedAt.IsZero() {
		t.Error("the fence of another bundle counts for none")
	}
}

// What is done of a wave lets more of it begin at once, and says nothing of another
// that has its place.
func TestAWaveIsKnownByItsName(t *testing.T) {
	for name, c := range map[string]struct {
		now             []string
		wave, completed int
	}{
		"as it was":                 {[]string{"control-plane", "early", "rest"}, 1, 15},
		"another was put before it": {[]string{"control-plane", "canaries", "early", "rest"}, 2, 15},
		"another took its place":    {[]string{"control-plane", "canaries", "rest"}, 0, 0},
		"it is the last that went":  {[]string{"control-plane"}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var status v1alpha1.RolloutStatus
			storeState(&status, rollout.State{Wave: 1, Completed: 15}, []string{"control-plane", "early", "rest"})
			if got := stateOf(&status, c.now); got.Wave != c.wave || got.Completed != c.completed {
				t.Errorf("of wave %d are %d done, want wave %d with %d", got.Wave, got.Completed, c.wave, c.completed)
			}
		})
	}
}

func TestListsAreCutAndTheirLengthIsKept(t *testing.T) {
	var state rollout.State
	for i := range v1alpha1.MaxFailed + 5 {
		state.Failed = append(state.Failed, rollout.Failure{Key: rollout.Key{Kind: "Deployment", Name: string(rune('a' + i%26))}})
	}
	var status v1alpha1.RolloutStatus
	storeState(&status, state, []string{"rest"})
	if len(status.Failed) != v1alpha1.MaxFailed || status.FailedTotal != v1alpha1.MaxFailed+5 {
		t.Errorf("%d failures listed of %d", len(status.Failed), status.FailedTotal)
	}
}

// What refuses an eviction is named as it names itself, in any length.
func TestAMessageFitsIntoTheStatus(t *testing.T) {
	long := strings.Repeat("é", record.MostText)
	key := rollout.Key{Group: "apps", Kind: "StatefulSet", Namespace: "shop", Name: "db"}
	var status v1alpha1.RolloutStatus
	storeState(&status, rollout.State{InProgress: []rollout.Roll{{Key: key, Message: long}}, Failed: []rollout.Failure{{Key: key, Message: long}}}, nil)
	for list, message := range map[string]string{"inProgress": status.InProgress[0].Message, "failed": status.Failed[0].Message} {
		if len(message) > record.MostText || !utf8.ValidString(message) || !strings.HasPrefix(long, strings.TrimSuffix(message, "...")) {
			t.Errorf("the message in %s has %d bytes: %q", list, len(message), message)
		}
	}
}

// The API server refuses a status that names a workload twice, and with it all
// that was decided.
func TestABlockedWorkloadIsNamedOnce(t *testing.T) {
	key := rollout.Key{Group: "apps", Kind: "DaemonSet", Namespace: "n", Name: "d"}
	d := rollout.Decision{Blocked: []rollout.Blocked{
		{Key: key, Hold: rollout.Hold{Reason: v1alpha1.NodeNotReady, Message: "first"}},
		{Key: rollout.Key{Group: "a", Kind: "Database", Namespace: "n", Name: "x"}, Hold: rollout.Hold{Reason: v1alpha1.UnknownOwner}},
		{Key: rollout.Key{Group: "b", Kind: "Database", Namespace: "n", Name: "x"}, Hold: rollout.Hold{Reason: v1alpha1.UnknownOwner}},
	}}
	mt := &v1alpha1.MeshTrust{}
	render(mt, &observation{facts: rollout.Facts{Workloads: []rollout.Workload{{Key: key, Stranded: 1}}}}, d, time.Now())
	var names []string
	for _, b := range mt.Status.Rollout.Blocked {
		names = append(names, b.Kind+" "+b.Group+" "+b.Message)
	}
	if diff := cmp.Diff([]string{"DaemonSet apps first", "Database a ", "Database b "}, names); diff != "" {
		t.Error(diff)
	}
	if mt.Status.Rollout.BlockedTotal != 3 {
		t.Errorf("%d in all", mt.Status.Rollout.BlockedTotal)
	}
}
