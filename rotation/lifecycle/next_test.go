package lifecycle_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/lifecycle"
)

// outcome is the gist of a decision.
type outcome struct {
	Phase   v1alpha1.Phase
	Reason  v1alpha1.Reason
	Blocked bool
	Live    bool     // it asks for live facts
	Does    []string // the verbs and what they are about
}

func gist(x *fixture, d lifecycle.Decision) outcome {
	o := outcome{Phase: d.State.Phase, Reason: d.Reason, Blocked: d.Blocked, Live: d.NeedLive}
	for _, a := range d.Actions {
		text := string(a.Verb)
		for _, part := range []string{a.Object.Name, a.Workload.Name, a.Secret} {
			if part != "" && !strings.HasSuffix(text, part) {
				text += " " + part
			}
		}
		switch a.Verb {
		case lifecycle.WriteArchive, lifecycle.WriteCarrier, lifecycle.WriteBundle:
			text += " " + x.names(a.Set)
		case lifecycle.HoldRenewal, lifecycle.LabelAnchor:
			text += map[bool]string{true: " on", false: " off"}[a.On]
		}
		o.Does = append(o.Does, text)
	}
	return o
}

func (x *fixture) names(s bundle.Set) string {
	var out []string
	for name, a := range map[string]bundle.Anchor{"a": x.a, "b": x.b, "c": x.c, "foreign": x.foreign} {
		if s.Contains(a.Fingerprint) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return strings.Join(out, "+")
}

func TestNext(t *testing.T) {
	unknown := &mesh.Trust{Why: "nobody looked"}
	for name, c := range map[string]struct {
		set  func(*fixture)
		want outcome
	}{
		// Standing rules.
		"a mesh at rest is left alone": {
			func(*fixture) {}, outcome{Reason: v1alpha1.Standing},
		},
		"a suspended MeshTrust is not even healed": {
			func(x *fixture) { x.Policy.Suspend, x.Archive = true, lifecycle.Carrier{} },
			outcome{Reason: v1alpha1.Suspended},
		},
		"an own anchor that nobody archived is archived": {
			func(x *fixture) { x.Archive = lifecycle.Carrier{} },
			outcome{Reason: v1alpha1.Standing, Does: []string{"WriteArchive a"}},
		},
		"one that has expired is too, while it is in the bundle: its renewal waits for that": {
			func(x *fixture) {
				x.inPlace()
				x.endsAt(now.Add(-time.Minute))
				x.Archive = lifecycle.Carrier{}
				x.begin(v1alpha1.PhaseNewAnchor)
				x.Run.State.Path = v1alpha1.PathRecover
			},
			outcome{Phase: v1alpha1.PhaseNewAnchor, Reason: v1alpha1.KeepingOldAnchor, Does: []string{
				"WriteArchive a", "HoldRenewal issuer on", "HoldRenewal mesh-anchor-1 on"}},
		},
		"an anchor that signed the issuer and whose Secret was renewed is put back": {
			func(x *fixture) {
				x.Anchors[0].Issued, x.Archive.Set = &x.b, set(x.a, x.b)
				x.Carrier.Set = bundle.Set{}
			},
			outcome{Reason: v1alpha1.Standing, Does: []string{"WriteCarrier a", "HoldRenewal issuer on"}},
		},
		"an anchor that leaves chain to has a second source, for its generation may be renewed or deleted": {
			func(x *fixture) { x.Carrier = lifecycle.Carrier{} },
			outcome{Reason: v1alpha1.Standing, Does: []string{"WriteCarrier a"}},
		},
		"a generation in use that lost its label gets it back": {
			func(x *fixture) { x.Anchors[0].Labelled = false },
			outcome{Reason: v1alpha1.Standing, Does: []string{"LabelAnchor mesh-anchor-1 on"}},
		},
		"an adopted generation is kept from renewing itself": {
			func(x *fixture) { x.Anchors[0].Generation, x.Anchors[0].Held = 0, false },
			outcome{Reason: v1alpha1.Standing, Does: []string{"HoldRenewal mesh-anchor-1 on"}},
		},
		"in place, a previous-anchor Secret that was deleted comes back with the current anchor": {
			func(x *fixture) { x.inPlace(); x.Carrier = lifecycle.Carrier{} },
			outcome{Reason: v1alpha1.Standing, Does: []string{"WriteCarrier a"}},
		},
		"in place, an anchor renewed by somebody else widens the previous-anchor Secret and holds renewals": {
			func(x *fixture) { x.inPlace(); x.Anchors[0].Issued = &x.b },
			outcome{Reason: v1alpha1.Standing, Does: []string{
				"WriteArchive a+b", "WriteCarrier a+b", "HoldRenewal issuer on", "HoldRenewal mesh-anchor-1 on"}},
		},
		"an anchor that earlier leaves chain to is put back": {
			func(x *fixture) {
				x.Earlier = []lifecycle.Earlier{{SignedBy: set(x.b), LeavesUntil: now.Add(time.Hour)}}
				x.Archive.Set = set(x.a, x.b)
			},
			outcome{Reason: v1alpha1.Standing, Does: []string{"WriteCarrier a+b"}},
		},
		"one whose leaves have ended is not": {
			func(x *fixture) {
				x.Earlier = []lifecycle.Earlier{{SignedBy: set(x.b), LeavesUntil: now.Add(-time.Hour)}}
				x.Archive.Set = set(x.a, x.b)
			},
			outcome{Reason: v1alpha1.Standing},
		},
		"only the issuer expired: it is renewed, without a rotation": {
			func(x *fixture) { x.Issuers[0].Issued.NotAfter = now.Add(-time.Minute) },
			outcome{Reason: v1alpha1.Standing, Does: []string{"Renew issuer"}},
		},
		"an issuer that nobody known signed is renewed under an anchor that all pods trust": {
			func(x *fixture) { x.Issuers[0].SignedBy = bundle.Set{} },
			outcome{Reason: v1alpha1.Standing, Does: []string{"Renew issuer"}},
		},
		"a dropped generation is kept until the one after it is dropped": {
			func(x *fixture) {
				x.Anchors[0].Generation = 3
				for n, a := range []string{"one", "two"} {
					c := certificate(a, n+1, nil)
					c.Labelled = false
					x.Anchors = append(x.Anchors, c)
				}
			},
			outcome{Reason: v1alpha1.Standing, Does: []string{"DeleteAnchor one"}},
		},

		// What a Certificate issued last is not known.
		"an issuer that is not known releases nothing and sends nobody back": {
			func(x *fixture) {
				x.inPlace()
				x.begin(v1alpha1.PhaseDrainLeaves)
				x.confirmed()
				x.Issuers[0].Held, x.Issuers[0].Revision = true, 3
				x.Issuers[0].Issued, x.Issuers[0].SignedBy = nil, bundle.Set{}
			},
			outcome{Phase: v1alpha1.PhaseDrainLeaves, Reason: v1alpha1.NotObserved, Blocked: true},
		},
		"nor does an anchor in place that is not known": {
			func(x *fixture) {
				x.inPlace()
				x.begin(v1alpha1.PhaseRolling)
				x.Anchors[0].Issued, x.Anchors[0].Revision = nil, 2
			},
			outcome{Phase: v1alpha1.PhaseRolling, Reason: v1alpha1.NotObserved, Blocked: true},
		},
		"without a rotation it drops no copy that may be needed": {
			func(x *fixture) {
				x.inPlace()
				x.keep()
				x.Issuers[0].Issued, x.Issuers[0].SignedBy, x.Issuers[0].Revision = nil, bundle.Set{}, 3
			},
			outcome{Reason: v1alpha1.NotObserved, Blocked: true},
		},
		"a dropped generation that is not known is in nobody's way": {
			func(x *fixture) {
				c := certificate("mesh-anchor-0", 0, nil)
				c.Labelled, c.Revision = false, 1
				x.Anchors = append(x.Anchors, c)
			},
			outcome{Reason: v1alpha1.Standing},
		},

		// Preflight and NewAnchor.
		"a rotation creates the next generation, once its intent is stored": {
			func(x *fixture) { x.begin(v1alpha1.PhasePreflight) },
			outcome{Phase: v1alpha1.PhaseNewAnchor, Reason: v1alpha1.AnchorIssuing, Does: []string{"CreateAnchor mesh-anchor-2 mesh-anchor-2-run-uid"}},
		},
		"the Secret of a generation has a name that no earlier run has used": {
			func(x *fixture) { x.begin(v1alpha1.PhasePreflight); x.Run.UID = "0a1b2c3d-0000-0000-0000-000000000000" },
			outcome{Phase: v1alpha1.PhaseNewAnchor, Reason: v1alpha1.AnchorIssuing, Does: []string{"CreateAnchor mesh-anchor-2 mesh-anchor-2-0a1b2c3d"}},
		},
		"what is missing blocks Preflight": {
			func(x *fixture) { x.begin(v1alpha1.PhasePreflight); x.Checks.Missing = "get x" },
			outcome{Phase: v1alpha1.PhasePreflight, Reason: v1alpha1.PermissionMissing, Blocked: true},
		},
		"what is another mesh's too blocks Preflight": {
			func(x *fixture) {
				x.begin(v1alpha1.PhasePreflight)
				x.Checks.Shared = "the ClusterIssuer is another's too"
			},
			outcome{Phase: v1alpha1.PhasePreflight, Reason: v1alpha1.InvalidSpec, Blocked: true},
		},
		"but not what has begun": {
			func(x *fixture) {
				x.begin(v1alpha1.PhaseWiden)
				x.Run.State = lifecycle.State{Phase: v1alpha1.PhasePreflight, Path: v1alpha1.PathRotate, Steps: []lifecycle.Step{{Phase: v1alpha1.PhasePreflight, StartedAt: now}}}
				x.Checks.Shared = "the ClusterIssuer is another's too"
			},
			outcome{Phase: v1alpha1.PhaseWiden, Reason: v1alpha1.WaitingForBundle},
		},
		"a bundle that others write blocks Preflight": {
			func(x *fixture) { x.begin(v1alpha1.PhasePreflight); x.Checks.BundleFault = "helm owns it" },
			outcome{Phase: v1alpha1.PhasePreflight, Reason: v1alpha1.BundleNotOurs, Blocked: true},
		},
		"pods that could not be read block": {
			func(x *fixture) { x.begin(v1alpha1.PhasePreflight); x.PodsUnknown = true },
			outcome{Phase: v1alpha1.PhasePreflight, Reason: v1alpha1.NotObserved, Blocked: true},
		},
		"an older rotation goes first": {
			func(x *fixture) { x.begin(v1alpha1.PhasePreflight); x.Checks.OtherRun = "first" },
			outcome{Phase: v1alpha1.PhasePreflight, Reason: v1alpha1.AnotherRotation},
		},
		"in place, everything is sheltered and held before the anchor is renewed": {
			func(x *fixture) { x.inPlace(); x.begin(v1alpha1.PhasePreflight) },
			outcome{Phase: v1alpha1.PhaseNewAnchor, Reason: v1alpha1.KeepingOldAnchor, Does: []string{
				"HoldRenewal issuer on", "HoldRenewal mesh-anchor-1 on", "KeepAnchor mesh-anchor-1 mesh-anchor-kept"}},
		},
		"in place, the anchor is not renewed before cert-manager has seen the hold": {
			func(x *fixture) { x.inPlace(); x.begin(v1alpha1.PhaseNewAnchor); x.keep(); x.held(false) },
			outcome{Phase: v1alpha1.PhaseNewAnchor, Reason: v1alpha1.HoldingRenewals},
		},
		"in place, the anchor is renewed when all is held": {
			func(x *fixture) { x.inPlace(); x.begin(v1alpha1.PhaseNewAnchor); x.keep(); x.held(true) },
			outcome{Phase: v1alpha1.PhaseNewAnchor, Reason: v1alpha1.AnchorIssuing, Does: []string{"Renew mesh-anchor-1"}},
		},
		"in place, it is not renewed when the previous-anchor Secret is no source of the bundle any more": {
			func(x *fixture) {
				x.inPlace()
				x.begin(v1alpha1.PhaseNewAnchor)
				x.keep()
				x.held(true)
				x.Checks.BundleFault = "Bundle trust lacks a source"
			},
			outcome{Phase: v1alpha1.PhaseNewAnchor, Reason: v1alpha1.BundleNotOurs, Blocked: true},
		},
		"in place, no cache is believed before the anchor is renewed": {
			func(x *fixture) {
				x.inPlace()
				x.begin(v1alpha1.PhaseNewAnchor)
				x.keep()
				x.held(true)
				x.Read.Live = false
			},
			outcome{Phase: v1alpha1.PhaseNewAnchor, Live: true},
		},
		"in place, an issuer near its end is renewed first, under the old anchor": {
			func(x *fixture) {
				x.inPlace()
				x.begin(v1alpha1.PhasePreflight)
				x.Issuers[0].Issued.NotAfter = now.Add(24 * time.Hour)
			},
			outcome{Phase: v1alpha1.PhasePreflight, Reason: v1alpha1.IssuerRenewsTooSoon, Does: []string{"Renew issuer"}},
		},
		"in place, another issuer of which nothing is known is held as well": {
			func(x *fixture) {
				x.inPlace()
				x.begin(v1alpha1.PhasePreflight)
				x.Issuers = append(x.Issuers, certificate("other", 0, nil))
			},
			outcome{Phase: v1alpha1.PhaseNewAnchor, Reason: v1alpha1.KeepingOldAnchor, Does: []string{
				"HoldRenewal issuer on", "HoldRenewal mesh-anchor-1 on", "KeepAnchor mesh-anchor-1 mesh-anchor-kept"}},
		},
		"in place without the field, an issuer that renews itself before the roll would end is renewed first": {
			func(x *fixture) {
				x.inPlace()
				x.begin(v1alpha1.PhasePreflight)
				x.Issuers[0].CanHold, x.Anchors[0].CanHold = false, false
				x.Issuers[0].RenewalTime, x.Checks.Expected = now.Add(time.Minute), time.Hour
			},
			outcome{Phase: v1alpha1.PhasePreflight, Reason: v1alpha1.IssuerRenewsTooSoon, Does: []string{"Renew issuer"}},
		},
		"an anchor that was issued already is not asked for again": {
			func(x *fixture) {
				x.begin(v1alpha1.PhaseNewAnchor)
				x.Run.State.To = &lifecycle.Replaced{Certificate: v1alpha1.ObjectRef{Namespace: "cert-manager", Name: "mesh-anchor-2"}}
				c := certificate("mesh-anchor-2", 2, &x.b)
				c.Labelled = false
				x.Anchors = append(x.Anchors, c)
			},
			outcome{Phase: v1alpha1.PhaseWiden, Reason: v1alpha1.WaitingForBundle, Does: []string{
				"WriteArchive a+b", "LabelAnchor mesh-anchor-2 on"}},
		},

		// Widen and Rolling.
		"the published bundle is waited for, whatever anybody says of it": {
			func(x *fixture) { x.begin(v1alpha1.PhaseWiden) },
			outcome{Phase: v1alpha1.PhaseWiden, Reason: v1alpha1.WaitingForBundle},
		},
		"a generation that is issued twice before it is labelled leads to what it holds": {
			func(x *fixture) { x.begin(v1alpha1.PhaseWiden); x.reissued() },
			outcome{Phase: v1alpha1.PhaseWiden, Reason: v1alpha1.WaitingForBundle, Does: []string{
				"WriteArchive a+b+c", "LabelAnchor mesh-anchor-2 on"}},
		},
		"one that is issued once more while pods are rolled widens the bundle again": {
			func(x *fixture) { x.begin(v1alpha1.PhaseRolling); x.reissued() },
			outcome{Phase: v1alpha1.PhaseWiden, Reason: v1alpha1.WaitingForBundle, Does: []string{
				"WriteArchive a+b+c", "LabelAnchor mesh-anchor-2 on"}},
		},
		"where Reanchor writes the bundle, what was issued first and signed nothing does not count as carried over": {
			func(x *fixture) {
				x.Policy.Writer = v1alpha1.BundleWriterReanchor
				x.begin(v1alpha1.PhaseRolling)
				x.reissued()
			},
			outcome{Phase: v1alpha1.PhaseWiden, Reason: v1alpha1.WaitingForBundle, Does: []string{
				"WriteArchive a+b+c", "WriteBundle a+b+c+foreign"}},
		},
		"where Reanchor writes the bundle it adds the new anchor and keeps the foreign one": {
			func(x *fixture) { x.begin(v1alpha1.PhaseWiden); x.Policy.Writer = v1alpha1.BundleWriterReanchor },
			outcome{Phase: v1alpha1.PhaseWiden, Reason: v1alpha1.WaitingForBundle, Does: []string{"WriteBundle a+b+foreign"}},
		},
		"more anchors than may be carried over block": {
			func(x *fixture) {
				x.begin(v1alpha1.PhaseWiden)
				x.Policy.Writer, x.Policy.MaxCarryOver = v1alpha1.BundleWriterReanchor, 0
			},
			outcome{Phase: v1alpha1.PhaseWiden, Reason: v1alpha1.CarryOverExceeded, Blocked: true},
		},
		"the fence is waited for": {
			func(x *fixture) { x.begin(v1alpha1.PhaseRolling); x.Roller.FencedAt = time.Time{} },
			outcome{Phase: v1alpha1.PhaseRolling, Reason: v1alpha1.WaitingForRollout},
		},
		"a fence of another bundle is none": {
			func(x *fixture) { x.begin(v1alpha1.PhaseRolling); x.Roller.BundleHash = "v1:other" },
			outcome{Phase: v1alpha1.PhaseRolling, Reason: v1alpha1.WaitingForRollout},
		},
		"a pod that is being rolled is waited for": {
			func(x *fixture) { x.begin(v1alpha1.PhaseRolling); x.Pods = append(x.Pods, pod("web-2", x.a)) },
			outcome{Phase: v1alpha1.PhaseRolling, Reason: v1alpha1.WaitingForRollout},
		},
		"a pod that is not rolled blocks": {
			func(x *fixture) { x.begin(v1alpha1.PhaseRolling); x.addBare() },
			outcome{Phase: v1alpha1.PhaseRolling, Reason: v1alpha1.BarePod, Blocked: true},
		},
		"a pod of which nothing is known blocks": {
			func(x *fixture) { x.begin(v1alpha1.PhaseRolling); x.Pods[0].Trust = unknown },
			outcome{Phase: v1alpha1.PhaseRolling, Reason: v1alpha1.TrustUnknown, Blocked: true},
		},

		// SwitchIssuer.
		"the pointer moves through the gate": {
			func(x *fixture) { x.begin(v1alpha1.PhaseRolling) },
			outcome{Phase: v1alpha1.PhaseSwitchIssuer, Reason: v1alpha1.SwitchingIssuer, Does: []string{"PointIssuer mesh-anchor-2"}},
		},
		"the gate believes no cache": {
			func(x *fixture) { x.begin(v1alpha1.PhaseSwitchIssuer); x.Read.Live = false },
			outcome{Phase: v1alpha1.PhaseSwitchIssuer, Live: true},
		},
		"a list that began too early after the fence opens no gate": {
			func(x *fixture) {
				x.begin(v1alpha1.PhaseSwitchIssuer)
				x.Roller.FencedAt = now.Add(-6 * time.Minute).Add(time.Second)
			},
			outcome{Phase: v1alpha1.PhaseSwitchIssuer, Reason: v1alpha1.WaitingForInjector},
		},
		"a late pod shuts the gate": {
			func(x *fixture) { x.begin(v1alpha1.PhaseSwitchIssuer); x.Pods = append(x.Pods, pod("late", x.a)) },
			outcome{Phase: v1alpha1.PhaseSwitchIssuer, Reason: v1alpha1.PodsDoNotTrust, Blocked: true},
		},
		"linked clusters demand an approval": {
			func(x *fixture) { x.begin(v1alpha1.PhaseSwitchIssuer); x.Checks.External = []string{"Link west"} },
			outcome{Phase: v1alpha1.PhaseSwitchIssuer, Reason: v1alpha1.ApprovalRequired, Blocked: true},
		},
		"an approval opens that gate": {
			func(x *fixture) {
				x.begin(v1alpha1.PhaseSwitchIssuer)
				x.Policy.ExternalTrust = true
				x.Run.Approvals = []v1alpha1.Gate{v1alpha1.GateSwitchIssuer}
			},
			outcome{Phase: v1alpha1.PhaseSwitchIssuer, Reason: v1alpha1.SwitchingIssuer, Does: []string{"PointIssuer mesh-anchor-2"}},
		},
		"an issuer that came back signed by the old key is triggered again": {
			func(x *fixture) { x.begin(v1alpha1.PhaseSwitchIssuer); x.switched(); x.Issuers[0].SignedBy = set(x.a) },
			outcome{Phase: v1alpha1.PhaseSwitchIssuer, Reason: v1alpha1.SwitchingIssuer, Does: []string{"Renew issuer"}},
		},
		"a failed request rests before it is made again": {
			func(x *fixture) {
				x.begin(v1alpha1.PhaseSwitchIssuer)
				x.switched()
				x.Issuers[0].SignedBy, x.Issuers[0].FailedAt = set(x.a), now.Add(-time.Second)
			},
			outcome{Phase: v1alpha1.PhaseSwitchIssuer, Reason: v1alpha1.IssuanceFailed},
		},
		"in place, the old anchor signs once more when the issuer nears its end at a shut gate": {
			func(x *fixture) {
				x.inPlace()
				x.begin(v1alpha1.PhaseSwitchIssuer)
				x.keep()
				x.addBare()
				x.Issuers[0].Issued.NotAfter = now.Add(29 * time.Hour)
			},
			outcome{Phase: v1alpha1.PhaseSwitchIssuer, Reason: v1alpha1.IssuerRenewsTooSoon, Blocked: true, Does: []string{"PointIssuer mesh-anchor-kept"}},
		},
		"in place, it does so when the bundle is not widened for long": {
			func(x *fixture) {
				x.inPlace()
				x.begin(v1alpha1.PhaseWiden)
				x.keep()
				x.Issuers[0].Issued.NotAfter = now.Add(29 * time.Hour)
			},
			outcome{Phase: v1alpha1.PhaseWiden, Reason: v1alpha1.IssuerRenewsTooSoon, Does: []string{"PointIssuer mesh-anchor-kept"}},
		},
		"in place, it does so for a rotation that is suspended": {
			func(x *fixture) {
				x.inPlace()
				x.begin(v1alpha1.PhaseRolling)
				x.keep()
				x.Pointer.SecretName = "mesh-anchor-kept"
				x.Run.Suspend = true
				x.Issuers[0].Issued.NotAfter = now.Add(29 * time.Hour)
			},
			outcome{Phase: v1alpha1.PhaseRolling, Reason: v1alpha1.IssuerRenewsTooSoon, Does: []string{"Renew issuer"}},
		},
		"in place, a suspended rotation has nothing signed before that": {
			func(x *fixture) {
				x.inPlace()
				x.begin(v1alpha1.PhaseRolling)
				x.keep()
				x.Run.Suspend = true
			},
			outcome{Phase: v1alpha1.PhaseRolling, Reason: v1alpha1.Suspended},
		},
		"in place, every renewal of the issuer passes the gate": {
			func(x *fixture) {
				x.inPlace()
				x.begin(v1alpha1.PhaseSwitchIssuer)
				x.Pointer.Token = "run-uid.to." + x.b.Fingerprint.Short()
				x.Run.State.SwitchIntendedAt = now.Add(-time.Hour)
				x.addBare()
			},
			outcome{Phase: v1alpha1.PhaseSwitchIssuer, Reason: v1alpha1.BarePod, Blocked: true},
		},
		"an issuer that somebody switched too early is pointed back": {
			func(x *fixture) {
				x.begin(v1alpha1.PhaseRolling)
				x.Pods[0] = pod("web-1", x.a)
				x.Pointer.SecretName, x.Issuers[0].SignedBy = "mesh-anchor-2", set(x.a, x.b)
			},
			outcome{Phase: v1alpha1.PhaseRolling, Reason: v1alpha1.SwitchedTooEarly, Does: []string{"WriteCarrier a+b", "PointIssuer mesh-anchor-1"}},
		},

		// ConfirmIssuer and DrainLeaves.
		"the signing service is not restarted before it surely reads the new file": {
			func(x *fixture) {
				x.begin(v1alpha1.PhaseConfirmIssuer)
				x.switched()
				x.Run.State.SwitchedAt = now.Add(-7 * time.Minute)
			},
			outcome{Phase: v1alpha1.PhaseConfirmIssuer, Reason: v1alpha1.WaitingForPropagation},
		},
		"then it is": {
			func(x *fixture) { x.begin(v1alpha1.PhaseConfirmIssuer); x.switched() },
			outcome{Phase: v1alpha1.PhaseConfirmIssuer, Reason: v1alpha1.ConfirmingIssuer, Does: []string{"RestartIdentity linkerd-identity"}},
		},
		"it is not restarted towards a bundle that does not verify the issuer": {
			func(x *fixture) {
				x.begin(v1alpha1.PhaseConfirmIssuer)
				x.switched()
				x.Bundle.Set = set(x.a, x.foreign)
			},
			outcome{Phase: v1alpha1.PhaseConfirmIssuer, Reason: v1alpha1.BundleDoesNotTrustIssuer, Blocked: true},
		},
		"an old replica that terminates still signs": {
			func(x *fixture) {
				x.begin(v1alpha1.PhaseConfirmIssuer)
				x.confirmed()
				x.Identity.Pods = append(x.Identity.Pods, lifecycle.IdentityPod{Name: "id-0", Mark: "older", Ready: true, Terminating: true})
			},
			outcome{Phase: v1alpha1.PhaseConfirmIssuer, Reason: v1alpha1.ConfirmingIssuer},
		},
		"all replicas Ready is the proof, and leaves are waited for": {
			func(x *fixture) { x.begin(v1alpha1.PhaseConfirmIssuer); x.confirmed() },
			outcome{Phase: v1alpha1.PhaseDrainLeaves, Reason: v1alpha1.DrainingLeaves},
		},
		"what the record names is what replaced issuers are counted by, and is waited for": {
			func(x *fixture) { x.begin(v1alpha1.PhaseConfirmIssuer); x.confirmed(); x.recorded(x.a) },
			outcome{Phase: v1alpha1.PhaseConfirmIssuer, Reason: v1alpha1.ConfirmingIssuer},
		},
		"it names the new issuer": {
			func(x *fixture) { x.begin(v1alpha1.PhaseConfirmIssuer); x.confirmed(); x.recorded(x.b) },
			outcome{Phase: v1alpha1.PhaseDrainLeaves, Reason: v1alpha1.DrainingLeaves},
		},
		"leaves of unknown life block": {
			func(x *fixture) {
				x.begin(v1alpha1.PhaseDrainLeaves)
				x.confirmed()
				x.Run.State.InUseAt, x.Identity.LeafLifetime = now.Add(-time.Hour), 0
			},
			outcome{Phase: v1alpha1.PhaseDrainLeaves, Reason: v1alpha1.LeafLifetimeUnknown, Blocked: true},
		},
		"the lifetime of the spec may raise what was read": {
			func(x *fixture) {
				x.begin(v1alpha1.PhaseDrainLeaves)
				x.drained()
				x.Policy.LeafLifetime = 48 * time.Hour
			},
			outcome{Phase: v1alpha1.PhaseDrainLeaves, Reason: v1alpha1.DrainingLeaves},
		},
		"an issuer that somebody had signed by the old anchor again leads back to the switch": {
			func(x *fixture) { x.begin(v1alpha1.PhaseDrainLeaves); x.drained(); x.Issuers[0].SignedBy = set(x.a) },
			outcome{Phase: v1alpha1.PhaseSwitchIssuer, Reason: v1alpha1.SwitchingIssuer, Does: []string{"Renew issuer"}},
		},

		// Narrow and Verify.
		"the old anchor is dropped when its leaves have ended": {
			func(x *fixture) { x.begin(v1alpha1.PhaseDrainLeaves); x.drained() },
			outcome{Phase: v1alpha1.PhaseNarrow, Reason: v1alpha1.Narrowing, Does: []string{"WriteCarrier b", "LabelAnchor mesh-anchor-1 off"}},
		},
		"in place, the previous-anchor Secret is left with the current anchor": {
			func(x *fixture) { x.inPlace(); x.begin(v1alpha1.PhaseDrainLeaves); x.drained() },
			outcome{Phase: v1alpha1.PhaseNarrow, Reason: v1alpha1.Narrowing, Does: []string{"WriteCarrier b"}},
		},
		"where Reanchor writes the bundle it drops the old anchor and keeps the foreign one": {
			func(x *fixture) {
				x.begin(v1alpha1.PhaseDrainLeaves)
				x.drained()
				x.Policy.Writer = v1alpha1.BundleWriterReanchor
				x.Anchors[0].Labelled = false
			},
			outcome{Phase: v1alpha1.PhaseNarrow, Reason: v1alpha1.Narrowing, Does: []string{"WriteBundle b+foreign"}},
		},
		"no cache is believed before an anchor is dropped": {
			func(x *fixture) { x.begin(v1alpha1.PhaseNarrow); x.drained(); x.Read.Live = false },
			outcome{Phase: v1alpha1.PhaseNarrow, Live: true},
		},
		"a rotation is complete when every pod trusts what is left": {
			func(x *fixture) {
				x.begin(v1alpha1.PhaseNarrow)
				x.drained()
				x.Bundle.Set, x.Anchors[0].Labelled = set(x.b, x.foreign), false
				x.Carrier.Set = set(x.b)
			},
			outcome{Phase: v1alpha1.PhaseComplete, Reason: v1alpha1.RotationComplete},
		},

		// Abort, suspend, delete.
		"an abort before anything was begun ends at once": {
			func(x *fixture) { x.begin(v1alpha1.PhasePreflight); x.Run.Abort = true },
			outcome{Phase: v1alpha1.PhasePreflight, Reason: v1alpha1.Aborted},
		},
		"an abort first voids what was decided before": {
			func(x *fixture) { x.begin(v1alpha1.PhaseRolling); x.Run.Abort = true },
			outcome{Phase: v1alpha1.PhaseAborting, Reason: v1alpha1.SwitchingIssuer, Does: []string{"PointIssuer mesh-anchor-1"}},
		},
		"an abort drops the new anchor, which signed nothing": {
			func(x *fixture) { x.begin(v1alpha1.PhaseRolling); x.Run.Abort = true; x.turnedBack() },
			outcome{Phase: v1alpha1.PhaseAborting, Reason: v1alpha1.Narrowing, Does: []string{"LabelAnchor mesh-anchor-2 off"}},
		},
		"an abort takes back a label that trust-manager has not seen yet": {
			func(x *fixture) {
				x.begin(v1alpha1.PhaseWiden)
				x.Run.Abort = true
				x.turnedBack()
				x.Bundle.Set = set(x.a, x.foreign)
			},
			outcome{Phase: v1alpha1.PhaseAborting, Reason: v1alpha1.Narrowing, Does: []string{"LabelAnchor mesh-anchor-2 off"}},
		},
		"an abort after the switch goes back through the gate": {
			func(x *fixture) {
				x.begin(v1alpha1.PhaseDrainLeaves)
				x.confirmed()
				x.Run.Abort = true
				x.Pods[0] = pod("web-1", x.b)
			},
			outcome{Phase: v1alpha1.PhaseAborting, Reason: v1alpha1.PodsDoNotTrust, Blocked: true},
		},
		"an abort that has dropped the new anchor does not put it back when it ends": {
			func(x *fixture) {
				x.begin(v1alpha1.PhaseDrainLeaves)
				x.Run.Abort = true
				x.turnedBack()
				x.drainedBack()
			},
			outcome{Phase: v1alpha1.PhaseAborting, Reason: v1alpha1.Aborted},
		},
		"its generation goes when another has taken its place": {
			func(x *fixture) {
				x.begin(v1alpha1.PhaseRolling)
				x.Anchors[1].Generation = 3
				x.Anchors = append(x.Anchors, certificate("mesh-anchor-aborted", 2, &x.foreign))
				x.Anchors[2].Labelled, x.Archive.Set = false, set(x.a, x.b, x.foreign)
			},
			outcome{Phase: v1alpha1.PhaseSwitchIssuer, Reason: v1alpha1.SwitchingIssuer, Does: []string{
				"DeleteAnchor mesh-anchor-aborted", "PointIssuer mesh-anchor-2"}},
		},
		"an abort without the old key goes on": {
			func(x *fixture) { x.inPlace(); x.begin(v1alpha1.PhaseRolling); x.Run.Abort = true },
			outcome{Phase: v1alpha1.PhaseSwitchIssuer, Reason: v1alpha1.SwitchingIssuer, Does: []string{"PointIssuer mesh-anchor-1"}},
		},
		"an abort in place goes back to the copy that was kept": {
			func(x *fixture) { x.inPlace(); x.begin(v1alpha1.PhaseRolling); x.keep(); x.Run.Abort = true },
			outcome{Phase: v1alpha1.PhaseAborting, Reason: v1alpha1.SwitchingIssuer, Does: []string{"PointIssuer mesh-anchor-kept"}},
		},
		"it leaves the new anchor in the bundle, also where Reanchor writes that": {
			func(x *fixture) {
				x.inPlace()
				x.Policy.Writer = v1alpha1.BundleWriterReanchor
				x.begin(v1alpha1.PhaseRolling)
				x.keep()
				x.Run.Abort = true
				x.turnedBack()
				x.Pointer.SecretName, x.Carrier = "mesh-anchor-kept", lifecycle.Carrier{}
			},
			outcome{Phase: v1alpha1.PhaseAborting, Reason: v1alpha1.Aborted, Does: []string{
				"HoldRenewal issuer off", "HoldRenewal mesh-anchor-1 off"}},
		},
		"it does not wait for a pod: the next renewal would be signed by the new anchor": {
			func(x *fixture) {
				x.inPlace()
				x.begin(v1alpha1.PhaseRolling)
				x.keep()
				x.Run.Abort = true
				x.unknown()
			},
			outcome{Phase: v1alpha1.PhaseAborting, Reason: v1alpha1.SwitchingIssuer, Does: []string{"PointIssuer mesh-anchor-kept"}},
		},
		"suspended on the way back, an issuer that nears its end is left to the kept copy": {
			func(x *fixture) {
				x.inPlace()
				x.begin(v1alpha1.PhaseRolling)
				x.keep()
				x.turnedBack()
				x.Pointer.SecretName, x.Pointer.Token = "mesh-anchor-1", ""
				x.Run.Abort, x.Run.Suspend = true, true
				x.Issuers[0].Issued.NotAfter = now.Add(2 * time.Hour)
			},
			outcome{Phase: v1alpha1.PhaseAborting, Reason: v1alpha1.IssuerRenewsTooSoon, Does: []string{"PointIssuer mesh-anchor-kept"}},
		},
		"an anchor that is being issued is waited for, and nothing is released meanwhile": {
			func(x *fixture) {
				x.inPlace()
				x.begin(v1alpha1.PhaseNewAnchor)
				x.keep()
				x.held(true)
				x.Anchors[0].Issuing, x.Run.Abort = true, true
			},
			outcome{Phase: v1alpha1.PhaseAborting, Reason: v1alpha1.AnchorIssuing},
		},
		"nor when the run is deleted then: the copy of the old key stays": {
			func(x *fixture) {
				x.inPlace()
				x.begin(v1alpha1.PhaseNewAnchor)
				x.keep()
				x.held(true)
				x.Anchors[0].Issuing, x.Run.Deleting = true, true
			},
			outcome{Phase: v1alpha1.PhaseNewAnchor, Reason: v1alpha1.Standing},
		},
		"a generation that lost its label is labelled before the issuer is switched": {
			func(x *fixture) { x.begin(v1alpha1.PhaseSwitchIssuer); x.widened(); x.Anchors[1].Labelled = false },
			outcome{Phase: v1alpha1.PhaseSwitchIssuer, Reason: v1alpha1.WaitingForBundle, Does: []string{"LabelAnchor mesh-anchor-2 on"}},
		},
		"an issuer that had to be switched again is confirmed again": {
			func(x *fixture) {
				x.begin(v1alpha1.PhaseConfirmIssuer)
				x.confirmed()
				x.Run.State.SwitchedAt = now.Add(-30 * time.Minute)
			},
			outcome{Phase: v1alpha1.PhaseConfirmIssuer, Reason: v1alpha1.ConfirmingIssuer, Does: []string{"RestartIdentity linkerd-identity"}},
		},
		"a suspended rotation writes nothing of its own": {
			func(x *fixture) { x.begin(v1alpha1.PhaseRolling); x.Run.Suspend = true },
			outcome{Phase: v1alpha1.PhaseRolling, Reason: v1alpha1.Suspended},
		},
		"a rotation that is deleted in place keeps renewals held while it is midway": {
			func(x *fixture) { x.inPlace(); x.begin(v1alpha1.PhaseRolling); x.Run.Deleting = true },
			outcome{Phase: v1alpha1.PhaseRolling, Reason: v1alpha1.Standing},
		},
		"one that is deleted before the anchor was renewed releases them": {
			func(x *fixture) { x.inPlace(); x.begin(v1alpha1.PhaseNewAnchor); x.held(true); x.Run.Deleting = true },
			outcome{Phase: v1alpha1.PhaseNewAnchor, Reason: v1alpha1.Standing, Does: []string{"HoldRenewal issuer off", "HoldRenewal mesh-anchor-1 off"}},
		},

		// Observed and Recover.
		"a rotation that somebody began goes on where it stands": {
			func(x *fixture) {
				x.inPlace()
				x.begin(v1alpha1.PhaseRolling)
				x.Run.State = lifecycle.State{}
			},
			outcome{Phase: v1alpha1.PhaseSwitchIssuer, Reason: v1alpha1.SwitchingIssuer, Does: []string{"PointIssuer mesh-anchor-1"}},
		},
		"with an expired anchor the new issuer comes before the roll": {
			func(x *fixture) {
				x.begin(v1alpha1.PhaseRolling)
				x.expire()
				x.Pods[0] = pod("web-1", x.a)
			},
			outcome{Phase: v1alpha1.PhaseSwitchIssuer, Reason: v1alpha1.SwitchingIssuer, Does: []string{"PointIssuer mesh-anchor-2"}},
		},
		"that an anchor expired is looked at without a cache": {
			func(x *fixture) { x.begin(v1alpha1.PhaseRolling); x.expire(); x.Read.Live = false },
			outcome{Phase: v1alpha1.PhaseRolling, Reason: v1alpha1.IssuerUnknown, Live: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := newFixture(t)
			c.set(x)
			d := lifecycle.Next(x.Facts, now)
			got := gist(x, d)
			if got.Live {
				got.Reason = c.want.Reason
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s %v (-want +got):\n%s", d.Message, d.BlockedBy, diff)
			}
		})
	}
}

func (x *fixture) keep() {
	x.Kept = lifecycle.Kept{Exists: true, SecretName: "mesh-anchor-kept", Anchor: x.a.Fingerprint, ResourceVersion: "rv-kept"}
}

func (x *fixture) held(seen bool) {
	for _, c := range []*lifecycle.Certificate{&x.Anchors[0], &x.Issuers[0]} {
		c.Held, c.HoldSeen = true, seen
	}
}

// unknown adds a pod of which nobody can tell what it trusts.
func (x *fixture) unknown() {
	p := pod("odd", x.a)
	p.Trust = &mesh.Trust{Why: "nobody looked"}
	x.Pods = append(x.Pods, p)
}

func (x *fixture) addBare() {
	p := pod("bare", x.a)
	p.NotRolled = v1alpha1.BarePod
	x.Pods = append(x.Pods, p)
}

// turnedBack is the world after an abort moved the pointer.
func (x *fixture) turnedBack() {
	x.Run.State.AbortedFrom, x.Run.State.Phase = v1alpha1.PhaseRolling, v1alpha1.PhaseAborting
	x.Run.State.Steps = []lifecycle.Step{{Phase: v1alpha1.PhaseAborting, StartedAt: now.Add(-time.Minute)}}
	x.Pointer.Token = "run-uid.back." + x.a.Fingerprint.Short()
}

// drainedBack is the world after an abort had the issuer signed by A again and
// every leaf of B's has ended. That nothing is left of B is not on record: that
// follows from the run's end.
func (x *fixture) drainedBack() {
	s := &x.Run.State
	s.SwitchIntendedAt, s.SwitchedAt, s.InUseAt = now.Add(-40*time.Hour), now.Add(-31*time.Hour), now.Add(-30*time.Hour)
	x.restarted()
	x.Bundle.Set, x.Anchors[1].Labelled = set(x.a, x.foreign), false
	x.Earlier = []lifecycle.Earlier{{SignedBy: set(x.b), LeavesUntil: now.Add(time.Hour)}}
}

// expire lets A have expired; B and the foreign anchor live on.
func (x *fixture) expire() {
	x.endsAt(now.Add(-time.Minute))
	x.Archive.Set, x.Bundle.Set = set(x.a, x.b), set(x.a, x.b, x.foreign)
	x.Run.State.From.Anchor = x.a
}

// Somebody edits the sources of trust-manager's Bundle while a rotation runs.
func TestABundleWhoseSourcesWereEditedHoldsARotationUp(t *testing.T) {
	const fault = "Bundle trust lacks the source secret: {name: linkerd-previous-anchor, key: tls.crt}"
	for _, inPlace := range []bool{true, false} {
		for _, phase := range []v1alpha1.Phase{
			v1alpha1.PhaseWiden, v1alpha1.PhaseRolling, v1alpha1.PhaseSwitchIssuer, v1alpha1.PhaseConfirmIssuer, v1alpha1.PhaseDrainLeaves,
		} {
			for _, lost := range []string{"a", "b"} {
				x := newFixture(t)
				if inPlace {
					x.inPlace()
				}
				x.begin(phase)
				if phase == v1alpha1.PhaseConfirmIssuer || phase == v1alpha1.PhaseDrainLeaves {
					x.confirmed()
					x.Run.State.InUseAt = now.Add(-time.Minute)
				}
				whole := set(x.a, x.b, x.foreign)
				x.Checks.BundleFault = fault
				x.Bundle.Set = map[string]bundle.Set{"a": set(x.b, x.foreign), "b": set(x.a, x.foreign)}[lost]
				x.Roller.BundleHash = x.Bundle.Set.Hash()
				d := lifecycle.Next(x.Facts, now)
				if d.Reason != v1alpha1.BundleNotOurs || !d.Blocked || !strings.Contains(d.Message, fault) {
					t.Errorf("%s (in place: %t) without %s: %s: %s", phase, inPlace, lost, d.Reason, d.Message)
				}
				for _, a := range d.Actions {
					t.Errorf("%s (in place: %t) without %s: %s", phase, inPlace, lost, a.Verb)
				}
				x.Run.State, x.Checks.BundleFault, x.Bundle.Set, x.Roller.BundleHash = d.State, "", whole, whole.Hash()
				if d := lifecycle.Next(x.Facts, now); d.Reason == v1alpha1.BundleNotOurs || d.Blocked {
					t.Errorf("%s (in place: %t): put right, and still %s: %s", phase, inPlace, d.Reason, d.Message)
				}
			}
		}
	}
}

// After the layout was changed a source of the former may be left in the Bundle.
func TestWhatElseBringsADroppedAnchorIsAskedFor(t *testing.T) {
	x := newFixture(t)
	x.begin(v1alpha1.PhaseDrainLeaves)
	x.drained()
	if d := lifecycle.Next(x.Facts, now); strings.Contains(d.Message, "remove from the Bundle") {
		t.Errorf("while its label is taken away: %s", d.Message)
	}
	x.Anchors[0].Labelled, x.Carrier.Set = false, set(x.b)
	d := lifecycle.Next(x.Facts, now)
	if d.State.Phase != v1alpha1.PhaseNarrow || !strings.Contains(d.Message, "remove from the Bundle") {
		t.Errorf("%s: %s", d.State.Phase, d.Message)
	}
	x.Run.State = d.State
	if d := lifecycle.Next(x.Facts, now.Add(time.Hour)); !d.Blocked || !strings.Contains(d.Message, "remove from the Bundle") {
		t.Errorf("for an hour: blocked %t, %s", d.Blocked, d.Message)
	}
}

func TestSuspendHidesNoExposedSignature(t *testing.T) {
	x := newFixture(t)
	x.inPlace()
	x.Anchors[0].Issued, x.Policy.Suspend = &x.b, true
	if d := lifecycle.Next(x.Facts, now); !d.Exposed || len(d.Actions) > 0 {
		t.Errorf("exposed %t, %d writes", d.Exposed, len(d.Actions))
	}
}

func TestAnUnfitAnchorNeverGetsIntoTheBundle(t *testing.T) {
	root := bundletest.NewRoot(t, "a", bundletest.From(now.Add(-time.Hour), 1000*time.Hour))
	leaf := bundle.Of(root.Leaf("leaf", bundletest.From(now.Add(-time.Hour), time.Hour*100))).Anchors()[0]
	for name, issued := range map[string]bundle.Anchor{
		"the key of the old one": anchorOf(root.Renew(bundletest.From(now.Add(-time.Minute), 1000*time.Hour))),
		"no CA":                  leaf,
		"not valid any more":     anchorOf(bundletest.NewRoot(t, "b", bundletest.From(now.Add(-2*time.Hour), time.Hour))),
		"not parsed":             {Fingerprint: bundle.Fingerprint{7}},
	} {
		x := newFixture(t)
		x.begin(v1alpha1.PhaseNewAnchor)
		x.Run.State.From.Anchor = anchorOf(root)
		x.Run.State.To = &lifecycle.Replaced{Certificate: v1alpha1.ObjectRef{Namespace: "cert-manager", Name: "mesh-anchor-2"}}
		c := certificate("mesh-anchor-2", 2, &issued)
		c.Labelled = false
		x.Anchors = append(x.Anchors, c)
		d := lifecycle.Next(x.Facts, now)
		if d.Reason != v1alpha1.AnchorUnfit || slices.ContainsFunc(d.Actions, func(a lifecycle.Action) bool { return a.Verb == lifecycle.LabelAnchor }) {
			t.Errorf("%s: %s %v", name, d.Reason, gist(x, d).Does)
		}
	}
}

func TestAnAcknowledgementCoversOnlyPodsThatExistedWhenItWasAdded(t *testing.T) {
	x := newFixture(t)
	x.begin(v1alpha1.PhaseSwitchIssuer)
	x.addBare()
	x.Run.Acknowledge = []v1alpha1.Acknowledgement{{Namespace: "app", Kind: "Deployment", Name: "bare"}}
	d := lifecycle.Next(x.Facts, now)
	if d.Blocked || len(d.State.Acknowledged) != 1 {
		t.Fatalf("not let through: %s %v", d.Reason, d.BlockedBy)
	}
	x.Run.State = d.State
	x.Pods[1].CreatedAt = now.Add(time.Second)
	if d := lifecycle.Next(x.Facts, now.Add(time.Minute)); !d.Blocked {
		t.Errorf("a later pod is let through: %s", d.Message)
	}
	x.Pods[1].CreatedAt = now.Add(-time.Hour)
	x.Run.Acknowledge = []v1alpha1.Acknowledgement{{Node: "node-bare"}}
	x.Read.ServerTime = now.Add(-2 * time.Hour)
	if d := lifecycle.Next(x.Facts, now.Add(time.Minute)); !d.Blocked {
		t.Error("the API server's clock, which dates the pods, does not count")
	}
	x.Read.ServerTime = time.Time{}
	if d := lifecycle.Next(x.Facts, now.Add(time.Minute)); d.Blocked {
		t.Errorf("the node's pods are not let through: %s", d.Message)
	}
}

func TestEveryWriteToWhatExistsCarriesItsVersion(t *testing.T) {
	x := newFixture(t)
	x.begin(v1alpha1.PhaseRolling)
	for _, a := range lifecycle.Next(x.Facts, now).Actions {
		if a.ResourceVersion != "rv-pointer" || !strings.HasPrefix(a.Token, "run-uid.") {
			t.Errorf("%+v", a)
		}
	}
	x = newFixture(t)
	x.inPlace()
	x.begin(v1alpha1.PhaseSwitchIssuer)
	x.Pointer.Token = "run-uid.to." + x.b.Fingerprint.Short()
	d := lifecycle.Next(x.Facts, now)
	if len(d.Actions) != 1 || d.Actions[0].ResourceVersion != "rv-issuer" || d.Actions[0].SignerVersion != "rv-mesh-anchor-1" {
		t.Errorf("%+v", d.Actions)
	}
	if d.State.SwitchIntendedAt.IsZero() || d.State.IssuerBefore != (bundle.Fingerprint{1}) {
		t.Errorf("the intent is not stored: %+v", d.State)
	}
}

func TestDecisionsAreDeterministicAndLeaveTheirFactsAlone(t *testing.T) {
	x := newFixture(t)
	x.begin(v1alpha1.PhaseRolling)
	x.addBare()
	before := slices.Clone(x.Pods)
	first := lifecycle.Next(x.Facts, now)
	slices.Reverse(x.Pods)
	second := lifecycle.Next(x.Facts, now)
	if diff := cmp.Diff(gist(x, first), gist(x, second)); diff != "" {
		t.Error(diff)
	}
	slices.Reverse(x.Pods)
	for i := range before {
		if before[i].Name != x.Pods[i].Name {
			t.Error("the facts were changed")
		}
	}
}

func TestLeavesAreRestartedOnRequest(t *testing.T) {
	x := newFixture(t)
	x.begin(v1alpha1.PhaseDrainLeaves)
	x.confirmed()
	x.Policy.Leaves, x.Run.State.InUseAt = v1alpha1.LeavesRestart, now.Add(-time.Hour)
	before := lifecycle.RestartBefore(&x.Run.State, x.Policy, now)
	if d := lifecycle.Next(x.Facts, now); before.IsZero() || d.Reason != v1alpha1.DrainingLeaves {
		t.Fatalf("before %s, %+v", before, d)
	}
	x.Pods[0].StartedAt = before
	if d := lifecycle.Next(x.Facts, now); d.State.Phase != v1alpha1.PhaseNarrow {
		t.Errorf("%s: %s", d.State.Phase, d.Message)
	}
}

func TestWhenPodsAreReplacedBecauseOfTheirLeaves(t *testing.T) {
	const skew = 5 * time.Minute
	inUse := now
	before := inUse.Add(skew + time.Second)
	// A controller took InUseAt, and one whose clock may be another asks; the API
	// server, which dates the pods, may be up to skew behind the one that asks.
	surely := inUse.Add(2*skew + 2*time.Second)
	for name, c := range map[string]struct {
		set  func(*lifecycle.State, *lifecycle.Policy)
		at   time.Time
		want time.Time
	}{
		"once a pod that is created now is surely dated later": {func(*lifecycle.State, *lifecycle.Policy) {}, surely, before},
		"not while it might be replaced again":                 {func(*lifecycle.State, *lifecycle.Policy) {}, surely.Add(-time.Nanosecond), time.Time{}},
		"not unless asked":                                     {func(_ *lifecycle.State, p *lifecycle.Policy) { p.Leaves = v1alpha1.LeavesExpire }, surely, time.Time{}},
		"not before the issuer is known to be in use":          {func(s *lifecycle.State, _ *lifecycle.Policy) { s.InUseAt = time.Time{} }, surely, time.Time{}},
		"not in another phase":                                 {func(s *lifecycle.State, _ *lifecycle.Policy) { s.Phase = v1alpha1.PhaseNarrow }, surely, time.Time{}},
		"not on the way back, where the leaves expire":         {func(s *lifecycle.State, _ *lifecycle.Policy) { s.Phase = v1alpha1.PhaseAborting }, surely, time.Time{}},
		"not behind the end of the run":                        {func(s *lifecycle.State, _ *lifecycle.Policy) { s.Outcome = lifecycle.Failed }, surely, time.Time{}},
	} {
		state := lifecycle.State{Phase: v1alpha1.PhaseDrainLeaves, InUseAt: inUse}
		policy := lifecycle.Policy{Leaves: v1alpha1.LeavesRestart, Skew: skew}
		c.set(&state, &policy)
		if got := lifecycle.RestartBefore(&state, policy, c.at); !got.Equal(c.want) {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestAnExposedSignatureIsSaid(t *testing.T) {
	x := newFixture(t)
	x.inPlace()
	x.begin(v1alpha1.PhaseRolling)
	x.Pods[0] = pod("web-1", x.a)
	x.Issuers[0].CanHold, x.Issuers[0].HoldSeen = false, false
	if !lifecycle.Next(x.Facts, now).Exposed {
		t.Error("not said")
	}
	x.Issuers[0].HoldSeen = true
	if lifecycle.Next(x.Facts, now).Exposed {
		t.Error("said although it is held")
	}
}

func TestAnIssuerIsLookedAtAgainWhenItEnds(t *testing.T) {
	x := newFixture(t)
	end := now.Add(7 * time.Second)
	x.Issuers[0].Issued.NotAfter = end
	d := lifecycle.Next(x.Facts, now)
	if len(d.Actions) > 0 || !d.Again.After(end) || d.Again.After(end.Add(2*time.Second)) {
		t.Fatalf("looked at again at %s, want it right after %s; %v", d.Again, end, gist(x, d).Does)
	}
	if diff := cmp.Diff([]string{"Renew issuer"}, gist(x, lifecycle.Next(x.Facts, d.Again)).Does); diff != "" {
		t.Errorf("of an issuer that has ended (-want +got):\n%s", diff)
	}
}

// An issuer counts as replaced when the record changed, by the clock of whoever
// changed it. Leaves are waited for from then on at the earliest: else the issuer
// before it would count as one that came after the run had confirmed the new one.
func TestTheIssuerIsInUseNoEarlierThanOnRecord(t *testing.T) {
	x := newFixture(t)
	x.begin(v1alpha1.PhaseConfirmIssuer)
	x.confirmed()
	x.recorded(x.b)
	d := lifecycle.Next(x.Facts, now)
	if want := now.Add(2 * time.Minute); !d.State.InUseAt.Equal(want) {
		t.Errorf("in use since %s, on record since %s", d.State.InUseAt, want)
	}
}
