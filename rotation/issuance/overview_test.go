package issuance_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/rotation/issuance"
)

// wideReader counts the lists of Certificates of all namespaces, and the reads of
// their definition.
type wideReader struct {
	client.Reader
	wide int
}

// List implements client.Reader.
func (r *wideReader) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(opts)
	if o.Namespace == "" && list.GetObjectKind().GroupVersionKind().Kind == "CertificateList" {
		r.wide++
	}
	return r.Reader.List(ctx, list, opts...)
}

func certificate(name, spec string) string {
	return "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {namespace: aaa, name: " + name + ", uid: uid-" + name + "}\nspec: " + spec + "\n"
}

const ofTheMesh = "{secretName: x, issuerRef: {name: linkerd-identity-issuer, kind: ClusterIssuer, group: cert-manager.io}}"

// overviewed is a world with another issuer, a generation and a foreigner.
func overviewed(t *testing.T, layout v1alpha1.Layout) (*world, *clocktesting.FakePassiveClock) {
	t.Helper()
	w := newWorld(t, layout)
	w.add(certificate("other", ofTheMesh))
	w.issued("aaa/other", 3, w.a.Intermediate("other", bundletest.From(now.Add(-time.Hour), time.Hour)))
	w.add(certificate("foreign", "{secretName: y, issuerRef: {name: x}}"))
	w.add("apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {namespace: cert-manager, name: linkerd-anchor-2, uid: two, " +
		"labels: {reanchor.dev/anchor-of: linkerd}}\nspec: {isCA: true, secretName: linkerd-anchor-2}\n")
	w.issued("cert-manager/linkerd-anchor-2", 1, w.b)
	clock := clocktesting.NewFakePassiveClock(now)
	w.store = &issuance.Store{Clock: clock}
	return w, clock
}

// look reads as a look between gates does, and counts what it reads of the whole
// cluster.
func (w *world) look(whole bool) (issuance.Objects, int) {
	w.Helper()
	w.start()
	counting := &wideReader{Reader: w.client}
	w.store.Live = counting
	o, err := w.store.Read(w.Context(), w.mt, whole)
	if err != nil {
		w.Fatal(err)
	}
	return o, counting.wide
}

func TestALookBetweenGatesReadsTheSameWithoutTheWholeCluster(t *testing.T) {
	for _, layout := range []v1alpha1.Layout{v1alpha1.LayoutGenerations, v1alpha1.LayoutInPlace} {
		w, _ := overviewed(t, layout)
		first, wide := w.look(false)
		if wide != 1 {
			t.Errorf("%s: the first look lists all Certificates %d times", layout, wide)
		}
		again, wide := w.look(false)
		if wide != 0 {
			t.Errorf("%s: the second look lists all Certificates", layout)
		}
		if diff := cmp.Diff(first, again, comparers()); diff != "" {
			t.Errorf("%s: (-whole +short):\n%s", layout, diff)
		}
		if len(again.Issuers) != 2 {
			t.Errorf("%s: %d issuers, want the mesh's own and the other", layout, len(again.Issuers))
		}
	}
}

func TestWhatAShortLookReadsItReadsAnew(t *testing.T) {
	w, _ := overviewed(t, v1alpha1.LayoutGenerations)
	w.look(false)
	w.issued("aaa/other", 4, w.b.Intermediate("other", bundletest.From(now, time.Hour)))
	if got, _ := w.look(false); !got.Issuers[1].SignedBy.Equal(setOf(w.b)) {
		t.Errorf("the other issuer is signed by %v, want B", got.Issuers[1].SignedBy.Fingerprints())
	}
	w.edit("Certificate/aaa/other", "spec.issuerRef.name", "of-another-mesh")
	if got, _ := w.look(false); len(got.Issuers) != 1 {
		t.Errorf("%d issuers, although the other has left", len(got.Issuers))
	}
}

func TestTheWholeClusterIsLookedAtWhenItMatters(t *testing.T) {
	for name, turn := range map[string]func(*world, *clocktesting.FakePassiveClock) bool{
		"for a gate": func(*world, *clocktesting.FakePassiveClock) bool { return true },
		"after a while": func(_ *world, c *clocktesting.FakePassiveClock) bool {
			c.SetTime(now.Add(6 * time.Minute))
			return false
		},
		"when the clock was set back":     func(_ *world, c *clocktesting.FakePassiveClock) bool { c.SetTime(now.Add(-time.Hour)); return false },
		"when the MeshTrust says another": func(w *world, _ *clocktesting.FakePassiveClock) bool { w.mt.Generation++; return false },
	} {
		w, clock := overviewed(t, v1alpha1.LayoutGenerations)
		w.look(false)
		w.add(certificate("new", ofTheMesh))
		w.issued("aaa/new", 1, w.a.Intermediate("new", bundletest.From(now.Add(-time.Hour), time.Hour)))
		if got, wide := w.look(turn(w, clock)); wide != 1 || len(got.Issuers) != 3 {
			t.Errorf("%s: %d lists of all Certificates, %d issuers", name, wide, len(got.Issuers))
		}
	}
}
