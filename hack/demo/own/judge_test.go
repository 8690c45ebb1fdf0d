package own

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func pod(name string, created time.Time) corev1.Pod {
	return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(created)}}
}

func set(owner string, revision int) appsv1.ReplicaSet {
	return appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
		Name: fmt.Sprint(owner, "-", revision), OwnerReferences: []metav1.OwnerReference{{Kind: "Deployment", Name: owner, Controller: new(true)}},
	}}
}

// rolled is a world as the demo claims it to be in the end.
func rolled(published time.Time) *end {
	e := &end{published: published}
	for i := range deployments {
		name := fmt.Sprint("web-", i+1)
		e.sets = append(e.sets, set(name, 1), set(name, 2))
		for j := range replicas {
			e.before = append(e.before, pod(fmt.Sprint(name, "-old-", j), published.Add(-time.Minute)))
			e.after = append(e.after, pod(fmt.Sprint(name, "-new-", j), published.Add(time.Minute)))
		}
	}
	return e
}

func TestTheEndIsJudgedByTheWorld(t *testing.T) {
	published := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		change func(*end)
		want   string // "" when all is well
	}{
		"as claimed":                          {func(*end) {}, ""},
		"created in the second of the write":  {func(e *end) { e.after[0].CreationTimestamp = metav1.NewTime(published) }, ""},
		"a pod was not replaced":              {func(e *end) { e.after[3] = e.before[3] }, "pod web-2-old-1 was not replaced"},
		"a pod was created too early":         {func(e *end) { e.after[3] = pod("early", published.Add(-time.Second)) }, "pod early is older than the bundle"},
		"there are no pods":                   {func(e *end) { e.after = nil }, "there are 0 pods, not 8"},
		"a Deployment was rolled twice":       {func(e *end) { e.sets = append(e.sets, set("web-1", 3)) }, "there are 3 ReplicaSets of Deployment web-1"},
		"a Deployment was not rolled":         {func(e *end) { e.sets = e.sets[1:] }, "there are 1 ReplicaSets of Deployment web-1"},
		"one was rolled in another's place":   {func(e *end) { e.sets[0] = set("web-2", 3) }, ", not the first and one roll"},
		"nothing is known of the ReplicaSets": {func(e *end) { e.sets = nil }, "ReplicaSets of 0 Deployments, not of 4"},
	} {
		t.Run(name, func(t *testing.T) {
			e := rolled(published)
			tc.change(e)
			err := e.judge()
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the verdict is %v, want %q", err, tc.want)
			}
		})
	}
}
