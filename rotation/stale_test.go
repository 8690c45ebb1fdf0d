package rotation

import (
	"testing"
	"time"

	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/inventory"
	"github.com/reanchor/reanchor/rotation/owner"
	"github.com/reanchor/reanchor/rotation/rollout"
)

// What is left alone, or about to go, breaks whatever is done for the others.
func TestTheFirstToBreakIsOneThatIsToBeRolled(t *testing.T) {
	soon := bundletest.NewRoot(t, "soon", bundletest.From(at(-100), 1000*time.Second))
	late := bundletest.NewRoot(t, "late", bundletest.From(at(-100), 5000*time.Second))
	gone := bundletest.NewRoot(t, "gone", bundletest.From(at(-100), 5000*time.Second))
	trusting := func(ca *bundletest.CA, class mesh.Class) inventory.Pod {
		set := bundle.Of(ca.Cert)
		return inventory.Pod{Name: "web-1", CreatedAt: at(0), Ready: true, Class: class, Trust: &mesh.Trust{Knowledge: mesh.Known, Sure: set, Maybe: set}}
	}
	ending := trusting(gone, mesh.ClassMissing)
	ending.Terminating = true
	web := owner.Owner{Spec: rollout.OwnerSpec{Key: rollout.Key{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}, Found: true, Desired: 1}}
	job := owner.Owner{Spec: rollout.OwnerSpec{Key: rollout.Key{Group: "batch", Kind: "Job", Namespace: "shop", Name: "job"}, Found: true}}
	for name, c := range map[string]struct {
		owner owner.Owner
		pods  []inventory.Pod
		ends  time.Time
		want  time.Time
	}{
		"no stale pod":                      {web, []inventory.Pod{trusting(soon, mesh.ClassCurrent)}, at(3000), time.Time{}},
		"with its anchor":                   {web, []inventory.Pod{trusting(late, mesh.ClassMissing), trusting(soon, mesh.ClassMissing)}, at(3000), at(900)},
		"with the issuer":                   {web, []inventory.Pod{trusting(late, mesh.ClassMissing)}, at(3000), at(3000)},
		"it fails already":                  {web, []inventory.Pod{trusting(gone, mesh.ClassMissing)}, at(3000), at(60)},
		"one that fails is about to go":     {web, []inventory.Pod{ending, trusting(late, mesh.ClassMissing)}, at(3000), at(3000)},
		"a Job that fails is waited for":    {job, []inventory.Pod{trusting(gone, mesh.ClassMissing)}, at(3000), time.Time{}},
		"nobody knows when the issuer ends": {web, []inventory.Pod{trusting(soon, mesh.ClassMissing)}, time.Time{}, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := surveyorOf()
			s.known, s.verifiers, s.issuerEnds = true, bundle.Of(soon.Cert, late.Cert), c.ends
			if got := firstBreak([]rollout.Workload{s.describe(c.owner, c.pods)}); !got.Equal(c.want) {
				t.Errorf("the first breaks at %s, want %s", got, c.want)
			}
		})
	}
}

// Whether a Deployment owns what it is restarted for is asked of retired pods too.
func TestARevisionIsKnownOfEveryDeploymentThatIsRestarted(t *testing.T) {
	web := rollout.Key{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}
	pod := func(revision string, class mesh.Class) inventory.Pod {
		return inventory.Pod{Name: revision, CreatedAt: at(0), Trust: &mesh.Trust{}, Class: class, Revision: revision}
	}
	for want, pods := range map[string][]inventory.Pod{
		"":        {pod("current", mesh.ClassCurrent)},
		"retired": {pod("retired", mesh.ClassRetired), pod("current", mesh.ClassCurrent)},
		"stale":   {pod("stale", mesh.ClassMissing), pod("retired", mesh.ClassRetired)},
	} {
		s := surveyorOf()
		s.describe(owner.Owner{Spec: rollout.OwnerSpec{Key: web, Found: true, Desired: 1}}, pods)
		if got := s.revisions[web]; got != want {
			t.Errorf("the revision is %q, want %q", got, want)
		}
	}
}
