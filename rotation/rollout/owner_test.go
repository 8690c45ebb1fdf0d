package rollout_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// TestAnOwnerDecidesHowItsPodsAreReplaced is the table of owners in the design,
// row by row.
func TestAnOwnerDecidesHowItsPodsAreReplaced(t *testing.T) {
	spec := func(kind string, edits ...func(*rollout.OwnerSpec)) rollout.OwnerSpec {
		o := rollout.OwnerSpec{Key: rollout.Key{Group: groupOf(kind), Kind: kind, Namespace: "a", Name: "x"}, Found: true, Desired: 3}
		for _, edit := range edits {
			edit(&o)
		}
		return o
	}
	strategy := func(s rollout.Strategy) func(*rollout.OwnerSpec) {
		return func(o *rollout.OwnerSpec) { o.Strategy = s }
	}
	evictOnly := func(o *rollout.OwnerSpec) { o.EvictOnly = true }
	paused := func(o *rollout.OwnerSpec) { o.Paused = true }
	optedOut := func(o *rollout.OwnerSpec) { o.OptedOut = true }
	manual := func(o *rollout.OwnerSpec) { o.ManuallyInjected = true }
	missing := func(o *rollout.OwnerSpec) { o.Found = false }
	none := func(o *rollout.OwnerSpec) { o.Desired = 0 }
	lost := func(o *rollout.OwnerSpec) { o.Lost = 1 }
	partition := func(n int) func(*rollout.OwnerSpec) { return func(o *rollout.OwnerSpec) { o.Partition = n } }
	group := func(g string) func(*rollout.OwnerSpec) { return func(o *rollout.OwnerSpec) { o.Key.Group = g } }
	controlledBy := func(group, kind string) func(*rollout.OwnerSpec) {
		return func(o *rollout.OwnerSpec) {
			o.ControlledBy = rollout.Key{Group: group, Kind: kind, Namespace: "a", Name: "y"}
		}
	}
	unreadable := func(o *rollout.OwnerSpec) { o.Unreadable = "it is forbidden" }
	all := rollout.Policy{EvictBarePods: true, EvictJobs: true, EvictUnmanaged: true, Operators: simOperators()}
	configured := rollout.Policy{Operators: simOperators()}

	for name, c := range map[string]struct {
		owner  rollout.OwnerSpec
		policy rollout.Policy
		verb   v1alpha1.Verb
		block  v1alpha1.Reason
	}{
		"a Deployment is rolled by its template":                            {owner: spec("Deployment"), verb: v1alpha1.VerbRestart},
		"a StatefulSet is rolled by its template":                           {owner: spec("StatefulSet"), verb: v1alpha1.VerbRestart},
		"a DaemonSet is rolled by its template":                             {owner: spec("DaemonSet"), verb: v1alpha1.VerbRestart},
		"a Recreate Deployment is evicted":                                  {owner: spec("Deployment", strategy(rollout.Recreate)), verb: v1alpha1.VerbEvict},
		"an OnDelete StatefulSet is evicted":                                {owner: spec("StatefulSet", strategy(rollout.OnDelete)), verb: v1alpha1.VerbEvict},
		"an OnDelete DaemonSet is evicted":                                  {owner: spec("DaemonSet", strategy(rollout.OnDelete)), verb: v1alpha1.VerbEvict},
		"a bare ReplicaSet is evicted":                                      {owner: spec("ReplicaSet"), verb: v1alpha1.VerbEvict},
		"a ReplicaSet of a Deployment that is not seen is left alone":       {owner: spec("ReplicaSet", controlledBy("apps", "Deployment")), policy: all, block: v1alpha1.UnknownOwner},
		"a ReplicaSet of an unknown kind is reported":                       {owner: spec("ReplicaSet", controlledBy("example.org", "Deployment")), block: v1alpha1.UnknownOwner},
		"a ReplicaSet of an unknown kind is evicted when allowed":           {owner: spec("ReplicaSet", controlledBy("example.org", "Canary")), policy: rollout.Policy{EvictUnmanaged: true}, verb: v1alpha1.VerbEvict},
		"a ReplicationController is evicted":                                {owner: spec("ReplicationController"), verb: v1alpha1.VerbEvict},
		"rollout-strategy Evict spares the template":                        {owner: spec("Deployment", evictOnly), verb: v1alpha1.VerbEvict},
		"a StatefulSet with a partition is rolled by its template above it": {owner: spec("StatefulSet", partition(2)), verb: v1alpha1.VerbRestart},
		"a partition that covers all pods leaves nothing to the template":   {owner: spec("StatefulSet", partition(3)), verb: v1alpha1.VerbEvict},
		"a StatefulSet is left alone while a pod of it cannot end":          {owner: spec("StatefulSet", lost), block: v1alpha1.NodeNotReady},
		"nor are its other pods evicted":                                    {owner: spec("StatefulSet", lost, evictOnly), block: v1alpha1.NodeNotReady},
		"nor those of a kind that nobody knows":                             {owner: spec("Kafka", lost), policy: rollout.Policy{EvictUnmanaged: true}, block: v1alpha1.NodeNotReady},
		"one that is never rolled is said to be so":                         {owner: spec("Kafka", lost), block: v1alpha1.UnknownOwner},
		"a Deployment makes others in the place of such pods":               {owner: spec("Deployment", lost), verb: v1alpha1.VerbRestart},
		"a paused Deployment is never patched":                              {owner: spec("Deployment", paused), block: v1alpha1.WorkloadPaused},
		"a paused Deployment is evicted when asked for":                     {owner: spec("Deployment", paused, evictOnly), verb: v1alpha1.VerbEvict},
		"an Argo Rollout gets a restart time":                               {owner: spec("Rollout"), verb: v1alpha1.VerbRestartAt},
		"an Argo Rollout is evicted when asked for":                         {owner: spec("Rollout", evictOnly), verb: v1alpha1.VerbEvict},
		"a workload scaled to zero is left alone":                           {owner: spec("Deployment", none), block: v1alpha1.ScaledToZero},
		"a template injected by hand is never rolled":                       {owner: spec("Deployment", manual), block: v1alpha1.ManuallyInjected},
		"a template injected by hand is not evicted either":                 {owner: spec("Deployment", manual, evictOnly), block: v1alpha1.ManuallyInjected},
		"an owner that does not exist is not rolled":                        {owner: spec("ReplicaSet", missing), policy: all, block: v1alpha1.UnknownOwner},
		"a Job's pod is waited for":                                         {owner: spec("Job"), block: v1alpha1.JobPod},
		"a Job's pod is evicted when the policy says so":                    {owner: spec("Job"), policy: rollout.Policy{EvictJobs: true}, verb: v1alpha1.VerbEvict},
		"the policy for bare pods says nothing on Jobs":                     {owner: spec("Job"), policy: rollout.Policy{EvictBarePods: true, EvictUnmanaged: true}, block: v1alpha1.JobPod},
		"a bare pod is reported":                                            {owner: spec("Pod"), block: v1alpha1.BarePod},
		"a bare pod is evicted when the policy says so":                     {owner: spec("Pod"), policy: rollout.Policy{EvictBarePods: true}, verb: v1alpha1.VerbEvict},
		"an owner of an unknown kind is reported":                           {owner: spec("Kafka"), block: v1alpha1.UnknownOwner},
		"an owner of an unknown kind is evicted when the policy says so":    {owner: spec("Kafka"), policy: rollout.Policy{EvictUnmanaged: true}, verb: v1alpha1.VerbEvict},
		"a mirror pod is never touched, whatever the policy":                {owner: spec("Node"), policy: all, block: v1alpha1.MirrorPod},
		"a kind of another group is not Kubernetes' own":                    {owner: spec("StatefulSet", group("apps.kruise.io")), block: v1alpha1.UnknownOwner},
		"an operator that restarts pods is asked to":                        {owner: spec("ByToken"), policy: configured, verb: v1alpha1.VerbAnnotate},
		"an operator outranks the policy for unknown kinds":                 {owner: spec("ByTime"), policy: all, verb: v1alpha1.VerbAnnotate},
		"an operator is for the kind of its group":                          {owner: spec("ByToken", group("example.org")), policy: configured, block: v1alpha1.UnknownOwner},
		"an operator that makes up for pods has them evicted":               {owner: spec("ByEviction"), policy: configured, verb: v1alpha1.VerbEvict},
		"rollout-strategy Evict spares the custom resource":                 {owner: spec("ByText", evictOnly), policy: configured, verb: v1alpha1.VerbEvict},
		"a custom resource that cannot be read is left alone":               {owner: spec("ByEviction", unreadable), policy: all, block: v1alpha1.UnknownOwner},
		"a custom resource that does not exist is left alone":               {owner: spec("ByText", missing), policy: all, block: v1alpha1.UnknownOwner},
		"a custom resource that opted out is left alone":                    {owner: spec("ByText", optedOut), policy: all, block: v1alpha1.OptedOut},
		"an opt-out outranks every policy":                                  {owner: spec("Pod", optedOut), policy: all, block: v1alpha1.OptedOut},
		"an opt-out outranks what else is in the way":                       {owner: spec("Deployment", optedOut, paused, manual), block: v1alpha1.OptedOut},
	} {
		t.Run(name, func(t *testing.T) {
			verb, hold := rollout.VerbFor(c.owner, c.policy)
			if verb != c.verb || hold.Reason != c.block {
				t.Errorf("got %q, %q (%s), want %q, %q", verb, hold.Reason, hold.Message, c.verb, c.block)
			}
			if (hold.Reason == "") != (hold.Message == "") {
				t.Errorf("a reason and a message belong together: %q, %q", hold.Reason, hold.Message)
			}
		})
	}
}

// TestARolloutIsCompleteAsKubectlJudges goes through what an owner's status can
// say, by what the planner does with a roll in flight.
func TestARolloutIsCompleteAsKubectlJudges(t *testing.T) {
	for name, c := range map[string]struct {
		owner rollout.Owner
		ends  bool
	}{
		"all updated and available":                  {rollout.Owner{Observed: true, Desired: 2, Updated: 2, Total: 2, Available: 2, ByTemplate: true}, true},
		"the latest spec was not seen yet":           {rollout.Owner{Desired: 2, Updated: 2, Total: 2, Available: 2, ByTemplate: true}, false},
		"what is seen is older than the own write":   {rollout.Owner{Lags: true, Observed: true, Desired: 2, Updated: 2, Total: 2, Available: 2, ByTemplate: true}, false},
		"one is not updated":                         {rollout.Owner{Observed: true, Desired: 2, Updated: 1, Total: 2, Available: 2, ByTemplate: true}, false},
		"one of the old template is left":            {rollout.Owner{Observed: true, Desired: 2, Updated: 2, Total: 3, Available: 3, ByTemplate: true}, false},
		"one is not available":                       {rollout.Owner{Observed: true, Desired: 2, Updated: 2, Total: 2, Available: 1, ByTemplate: true}, false},
		"a partition keeps one":                      {rollout.Owner{Observed: true, Desired: 2, Updated: 1, Total: 2, Available: 2, ByTemplate: true, Partition: 1}, true},
		"one is on a node that cannot replace it":    {rollout.Owner{Observed: true, Desired: 3, Updated: 2, Total: 3, Available: 2, ByTemplate: true, Unreachable: 1}, true},
		"another one is not updated besides":         {rollout.Owner{Observed: true, Desired: 3, Updated: 1, Total: 3, Available: 2, ByTemplate: true, Unreachable: 1}, false},
		"the template does not count without effect": {rollout.Owner{Observed: true, Desired: 2, Updated: 0, Total: 2, Available: 2}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, stale("a", "x"))
			s.next()
			w := s.workload("x")
			w.RestartedFor, w.StalePods, w.Owner, w.Ready, w.Pods = newHash, nil, c.owner, 2, 2
			d := s.next()
			if ended := len(d.State.InProgress) == 0; ended != c.ends {
				t.Errorf("the roll ended: %t, want %t: %+v", ended, c.ends, d.State)
			}
		})
	}
}

func TestAMarkIsTheSameForTheSameAttempt(t *testing.T) {
	for name, c := range map[string]struct {
		attempt int
		want    string
	}{
		"none":       {0, "v1:ab"},
		"the first":  {1, "v1:ab"},
		"the second": {2, "v1:ab.2"},
		"the tenth":  {10, "v1:ab.10"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, rollout.Mark("v1:ab", c.attempt)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestABundleIsSurelyReadByEitherClock(t *testing.T) {
	at := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		bundle rollout.Bundle
		want   time.Time
	}{
		"seen at once":                      {rollout.Bundle{PublishedAt: at, SeenAt: at}, at.Add(10 * time.Second)},
		"seen by a clock that is ahead":     {rollout.Bundle{PublishedAt: at, SeenAt: at.Add(4 * time.Minute)}, at.Add(4*time.Minute + 10*time.Second)},
		"seen an hour later":                {rollout.Bundle{PublishedAt: at, SeenAt: at.Add(time.Hour)}, at.Add(5*time.Minute + 10*time.Second)},
		"seen by a clock that is behind it": {rollout.Bundle{PublishedAt: at, SeenAt: at.Add(-time.Minute)}, at.Add(-50 * time.Second)},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.bundle.SurelyRead(10 * time.Second); !got.Equal(c.want) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
