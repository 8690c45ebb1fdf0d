package lifecycle_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

var now = time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)

// fixture is a mesh with an anchor in use (A), two newer ones (B, C) and a
// foreign one.
type fixture struct {
	lifecycle.Facts
	a, b, c, foreign bundle.Anchor
}

func anchorOf(ca *bundletest.CA) bundle.Anchor { return bundle.Of(ca.Cert).Anchors()[0] }

func certificate(name string, n int, issued *bundle.Anchor) lifecycle.Certificate {
	return lifecycle.Certificate{
		Ref: v1alpha1.ObjectRef{Namespace: "cert-manager", Name: name}, UID: "uid-" + name, ResourceVersion: "rv-" + name,
		SecretName: name, Generation: n, Labelled: true, Issued: issued, CanHold: true, Held: true, HoldSeen: true,
	}
}

// newFixture returns a mesh at rest on A.
func newFixture(tb testing.TB) *fixture {
	tb.Helper()
	root := func(name string, from time.Time) bundle.Anchor {
		return anchorOf(bundletest.NewRoot(tb, name, bundletest.From(from, 9000*time.Hour)))
	}
	x := &fixture{a: root("a", now.Add(-2000*time.Hour)), b: root("b", now.Add(-time.Minute)), c: root("c", now.Add(-time.Second)), foreign: root("f", now.Add(-time.Hour))}
	issuer := certificate("issuer", 0, &bundle.Anchor{Fingerprint: bundle.Fingerprint{1}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(47 * time.Hour)})
	issuer.SignedBy, issuer.Held, issuer.HoldSeen, issuer.Labelled = set(x.a), false, false, false
	x.Facts = lifecycle.Facts{
		Mesh: "mesh",
		Policy: lifecycle.Policy{
			Layout: v1alpha1.LayoutGenerations, Writer: v1alpha1.BundleWriterTrustManager, Leaves: v1alpha1.LeavesExpire, MaxCarryOver: 1,
			AnchorNamespace: "cert-manager", FileDelay: 150 * time.Second, Skew: 5 * time.Minute,
		},
		Read:    lifecycle.Read{Live: true, StartedAt: now},
		Bundle:  lifecycle.Bundle{Set: set(x.a, x.foreign), ResourceVersion: "rv-bundle"},
		Archive: lifecycle.Carrier{Set: set(x.a), ResourceVersion: "rv-archive"},
		Carrier: lifecycle.Carrier{Set: set(x.a), ResourceVersion: "rv-carried"},
		Anchors: []lifecycle.Certificate{certificate("mesh-anchor-1", 1, &x.a)},
		Issuers: []lifecycle.Certificate{issuer},
		Pointer: lifecycle.Pointer{Known: true, SecretName: "mesh-anchor-1", ResourceVersion: "rv-pointer"},
		Pods:    []lifecycle.Pod{pod("web-1", x.a)},
		Identity: lifecycle.Identity{
			Known: true, Complete: true, ResourceVersion: "rv-identity", LeafLifetime: 24 * time.Hour, LeafSkew: 20 * time.Second,
			Workload: v1alpha1.WorkloadRef{Namespace: "linkerd", Kind: "Deployment", Name: "linkerd-identity"},
		},
	}
	return x
}

func set(anchors ...bundle.Anchor) bundle.Set { return bundle.FromAnchors(anchors...) }

func pod(name string, trusts ...bundle.Anchor) lifecycle.Pod {
	return lifecycle.Pod{
		Workload:  v1alpha1.WorkloadRef{Namespace: "app", Kind: "Deployment", Name: name},
		Namespace: "app", Name: name + "-x", Node: "node-" + name, CreatedAt: now.Add(-48 * time.Hour), StartedAt: now.Add(-47 * time.Hour),
		Trust: &mesh.Trust{Knowledge: mesh.Known, Sure: set(trusts...), Maybe: set(trusts...)},
	}
}

// endsAt gives A another end, wherever it is.
func (x *fixture) endsAt(t time.Time) {
	x.a.NotAfter = t // the Certificate refers to it
	x.Archive.Set, x.Issuers[0].SignedBy, x.Bundle.Set = set(x.a), set(x.a), set(x.a, x.foreign)
}

// inPlace turns the mesh into one of the documented layout.
func (x *fixture) inPlace() {
	x.Policy.Layout = v1alpha1.LayoutInPlace
	x.Anchors[0].Labelled, x.Anchors[0].Held, x.Anchors[0].HoldSeen = false, false, false
	x.Carrier = lifecycle.Carrier{Set: set(x.a), ResourceVersion: "rv-previous"}
}

// begin starts a run in a phase, with A and B as its two anchors; B exists and
// is in the bundle from Rolling on.
func (x *fixture) begin(phase v1alpha1.Phase) {
	s := lifecycle.State{Phase: phase, Path: v1alpha1.PathRotate, Steps: []lifecycle.Step{{Phase: phase, StartedAt: now.Add(-time.Minute)}}}
	x.Run = &lifecycle.Run{Name: "run", UID: "run-uid", State: s}
	if phase == v1alpha1.PhasePreflight {
		return
	}
	x.Run.State.From = &lifecycle.Replaced{Anchor: x.a, SecretName: "mesh-anchor-1"}
	if phase == v1alpha1.PhaseNewAnchor {
		return
	}
	x.Run.State.To = &lifecycle.Replaced{Anchor: x.b, SecretName: "mesh-anchor-2"}
	if x.Policy.Layout == v1alpha1.LayoutInPlace {
		x.Anchors[0].Issued, x.Anchors[0].Held, x.Anchors[0].HoldSeen = &x.b, true, true
		x.Issuers[0].Held, x.Issuers[0].HoldSeen = true, true
		x.Carrier.Set = set(x.a, x.b)
	} else {
		x.Anchors = append(x.Anchors, certificate("mesh-anchor-2", 2, &x.b))
	}
	x.Archive.Set = set(x.a, x.b)
	if phase != v1alpha1.PhaseWiden {
		x.widened()
	}
}

// parked is a mesh in place whose issuer the kept copy of A signs, by whoever left
// that token on the pointer.
func (x *fixture) parked(token string) {
	x.inPlace()
	x.Anchors[0].Issued = &x.b
	x.keep()
	x.Pointer.SecretName, x.Pointer.Token = "mesh-anchor-kept", token
}

// reissued has the run's generation hold C, which nothing else has yet.
func (x *fixture) reissued() {
	x.Run.State.To.Certificate = x.Anchors[1].Ref
	x.Anchors[1].Issued, x.Anchors[1].Labelled = &x.c, false
}

// widened publishes both anchors; every pod and every injector has them.
func (x *fixture) widened() {
	x.Bundle.Set = set(x.a, x.b, x.foreign)
	x.Pods = []lifecycle.Pod{pod("web-1", x.a, x.b, x.foreign)}
	x.Roller = lifecycle.Roller{BundleHash: x.Bundle.Set.Hash(), FencedAt: now.Add(-time.Hour)}
}

// switched has the issuer signed by B.
func (x *fixture) switched() {
	x.Issuers[0].SignedBy = set(x.b)
	x.Carrier.Set = x.Carrier.Set.Union(set(x.b))
	x.Issuers[0].Held = false
	x.Anchors[0].Held = x.Policy.Layout != v1alpha1.LayoutInPlace
	x.Pointer.SecretName, x.Pointer.Token = x.Anchors[len(x.Anchors)-1].SecretName, "run-uid.to."+x.b.Fingerprint.Short()
	x.Run.State.SwitchIntendedAt, x.Run.State.SwitchedAt = now.Add(-time.Hour), now.Add(-time.Hour)
}

// confirmed has every replica of the signing service restarted.
func (x *fixture) confirmed() {
	x.switched()
	x.restarted()
}

// restarted has them carry the mark of the last switch.
func (x *fixture) restarted() {
	x.Identity.Mark = fmt.Sprintf("%s.%d", x.Pointer.Token, x.Run.State.SwitchedAt.Unix())
	x.Identity.Pods = []lifecycle.IdentityPod{{Name: "id-1", Mark: x.Identity.Mark, Ready: true}}
}

// recorded has the MeshTrust's status name an issuer that the anchor verifies, since
// two minutes from now: the clock of whoever recorded it goes fast.
func (x *fixture) recorded(anchor bundle.Anchor) {
	x.Roller.Issuer = &lifecycle.RecordedIssuer{VerifiedBy: set(anchor), Since: now.Add(2 * time.Minute)}
}

// drained has every old leaf ended.
func (x *fixture) drained() {
	x.confirmed()
	x.Run.State.InUseAt = now.Add(-30 * time.Hour)
}
