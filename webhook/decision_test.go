package webhook_test

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/webhook"
	"github.com/reanchor/reanchor/webhook/review"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const anchorsEnv = "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"

func root(t *testing.T, name string, from, to time.Duration) *bundletest.CA {
	t.Helper()
	return bundletest.NewRoot(t, name, bundletest.From(now.Add(from), to-from))
}

// fixture reads the pod of a real review.
func fixture(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	text, err := os.ReadFile("../mesh/testdata/review-" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var r struct{ Request struct{ Object corev1.Pod } }
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	r.Request.Object.ManagedFields = nil // its raw JSON is compared by spelling
	return &r.Request.Object
}

// carrying is a real injected pod with another bundle.
func carrying(t *testing.T, text string) *corev1.Pod {
	t.Helper()
	pod := fixture(t, "deployment-pod-native-sidecar")
	for i := range pod.Spec.InitContainers {
		for j := range pod.Spec.InitContainers[i].Env {
			if e := &pod.Spec.InitContainers[i].Env[j]; e.Name == anchorsEnv {
				e.Value = text
				return pod
			}
		}
	}
	t.Fatal("the fixture has no trust anchors")
	return nil
}

// request is the pod's creation as the handler reads it.
func request(t *testing.T, pod *corev1.Pod) *review.Request {
	t.Helper()
	text, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	r, err := review.Parse(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":"CREATE",` +
		`"kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},` +
		`"namespace":"` + pod.Namespace + `","object":` + string(text) + `}}`)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

type meshOption func(*v1alpha1.MeshTrust)

// linkerd is a MeshTrust whose published bundle is the given anchors.
func linkerd(published []*bundletest.CA, options ...meshOption) v1alpha1.MeshTrust {
	mt := v1alpha1.MeshTrust{
		ObjectMeta: metav1.ObjectMeta{Name: "main", CreationTimestamp: metav1.NewTime(now.Add(-time.Hour))},
		Spec:       v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd},
	}
	publish(&mt, published...)
	for _, o := range options {
		o(&mt)
	}
	return mt
}

func publish(mt *v1alpha1.MeshTrust, cas ...*bundletest.CA) {
	set := bundle.Set{}
	record := v1alpha1.BundleRecord{PublishedAt: metav1.NewTime(now.Add(-time.Hour)), LastSeen: metav1.NewTime(now.Add(-time.Minute))}
	status := &v1alpha1.BundleStatus{AnchorCount: int32(len(cas))}
	for _, ca := range cas {
		set = set.Union(bundle.Of(ca.Cert))
		record.Fingerprints = append(record.Fingerprints, ca.Fingerprint().String())
		status.Anchors = append(status.Anchors, v1alpha1.AnchorStatus{
			Fingerprint: ca.Fingerprint().String(), Subject: ca.Cert.Subject.String(), NotAfter: &metav1.Time{Time: ca.Cert.NotAfter},
			KeyFingerprint: bundle.Of(ca.Cert).Anchors()[0].Key.String(),
		})
	}
	status.Hash, record.Hash = set.Hash(), set.Hash()
	mt.Status.Bundle, mt.Status.History = status, []v1alpha1.BundleRecord{record}
}

func mode(m v1alpha1.AdmissionMode) meshOption {
	return func(mt *v1alpha1.MeshTrust) { mt.Spec.Admission.Mode = m }
}

func verifiedBy(cas ...*bundletest.CA) meshOption {
	return func(mt *v1alpha1.MeshTrust) {
		mt.Status.Issuer = &v1alpha1.IssuerStatus{VerifiedByTotal: int32(len(cas))}
		for _, ca := range cas {
			mt.Status.Issuer.VerifiedBy = append(mt.Status.Issuer.VerifiedBy, ca.Fingerprint().String())
		}
	}
}

func requireIssuer(mt *v1alpha1.MeshTrust) {
	mt.Spec.Admission.IssuerTrust = v1alpha1.IssuerTrustRequire
}

func world(mts ...v1alpha1.MeshTrust) webhook.World { return webhook.World{MeshTrusts: mts} }

func rotation(phase v1alpha1.Phase, ended string) v1alpha1.AnchorRotation {
	r := v1alpha1.AnchorRotation{Spec: v1alpha1.AnchorRotationSpec{MeshTrustRef: v1alpha1.ClusterObjectRef{Name: "main"}}}
	r.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionProgressing, Status: metav1.ConditionTrue, Reason: string(phase)}}
	if ended != "" {
		r.Status.Conditions = append(r.Status.Conditions, metav1.Condition{Type: ended, Status: metav1.ConditionTrue})
	}
	return r
}

func entered(r v1alpha1.AnchorRotation, phase v1alpha1.Phase) v1alpha1.AnchorRotation {
	r.Status.Steps = append(r.Status.Steps, v1alpha1.RotationStep{Phase: phase})
	return r
}

type verdict struct {
	mesh    string
	outcome webhook.Outcome
	reason  v1alpha1.Reason
}

func TestValidate(t *testing.T) {
	const hour = time.Hour
	valid, other := root(t, "valid", -hour, 100*hour), root(t, "other", -hour, 100*hour)
	expired := root(t, "expired", -2*hour, -hour)
	justExpired := root(t, "just expired", -2*hour, -4*time.Minute)
	future := root(t, "future", hour, 2*hour)
	renewed, namesake := valid.Renew(bundletest.From(now.Add(-time.Minute), 200*hour)), root(t, "valid", -hour, 100*hour)
	ended := valid.Renew(bundletest.From(now.Add(-9*hour), hour))
	long := root(t, strings.Repeat("long", 100), -hour, 100*hour)
	longRenewed := long.Renew(bundletest.From(now.Add(-time.Minute), 200*hour))
	published := []*bundletest.CA{valid}
	renewal := []*bundletest.CA{renewed}
	both := []*bundletest.CA{valid, other}
	pem := func(cas ...*bundletest.CA) *corev1.Pod {
		var text string
		for _, ca := range cas {
			text += ca.PEM()
		}
		return carrying(t, text)
	}
	annotated := func(pod *corev1.Pod, value string) *corev1.Pod {
		pod.Annotations[v1alpha1.OptOutAnnotation] = value
		return pod
	}
	for name, tc := range map[string]struct {
		pod   *corev1.Pod
		world webhook.World
		want  verdict
	}{
		"the published bundle is current":               {pem(valid), world(linkerd(published)), verdict{"main", webhook.Allowed, v1alpha1.Current}},
		"a bundle that lacks an anchor still works":     {pem(other), world(linkerd(published)), verdict{"main", webhook.Allowed, v1alpha1.Missing}},
		"a wider bundle works":                          {pem(valid, other), world(linkerd(published)), verdict{"main", webhook.Allowed, v1alpha1.Retired}},
		"nothing published yet":                         {pem(valid), world(linkerd(nil)), verdict{"main", webhook.Allowed, v1alpha1.TrustUnknown}},
		"the only anchor has expired":                   {pem(expired), world(linkerd(published)), verdict{"main", webhook.Denied, v1alpha1.TrustExpired}},
		"one of two anchors has expired":                {pem(expired, valid), world(linkerd(published)), verdict{"main", webhook.Allowed, v1alpha1.Current}},
		"expired on this clock, maybe not on others":    {pem(justExpired), world(linkerd(published)), verdict{"main", webhook.Allowed, v1alpha1.Missing}},
		"an anchor of the future is not expired":        {pem(future), world(linkerd(published)), verdict{"main", webhook.Allowed, v1alpha1.Missing}},
		"expired, under mode Warn":                      {pem(expired), world(linkerd(published, mode(v1alpha1.AdmissionWarn))), verdict{"main", webhook.Warned, v1alpha1.TrustExpired}},
		"expired, under mode Audit":                     {pem(expired), world(linkerd(published, mode(v1alpha1.AdmissionAudit))), verdict{"main", webhook.Audited, v1alpha1.TrustExpired}},
		"an empty bundle":                               {carrying(t, ""), world(linkerd(published)), verdict{"main", webhook.Denied, v1alpha1.NoCertificate}},
		"a bundle that is not PEM":                      {carrying(t, "hello"), world(linkerd(published)), verdict{"main", webhook.Denied, v1alpha1.NoCertificate}},
		"a damaged bundle proves nothing":               {carrying(t, valid.PEM()[:100]), world(linkerd(published)), verdict{"main", webhook.Warned, v1alpha1.TrustUnknown}},
		"an anchor that Go cannot parse":                {carrying(t, bundletest.Unparsable(1)), world(linkerd(published)), verdict{"main", webhook.Warned, v1alpha1.TrustUnknown}},
		"one that Go cannot parse and an expired one":   {carrying(t, bundletest.Unparsable(1)+expired.PEM()), world(linkerd(published)), verdict{"main", webhook.Warned, v1alpha1.TrustUnknown}},
		"what is unknown is only counted under Audit":   {carrying(t, bundletest.Unparsable(1)), world(linkerd(published, mode(v1alpha1.AdmissionAudit))), verdict{"main", webhook.Allowed, v1alpha1.TrustUnknown}},
		"a pod without a proxy":                         {fixture(t, "unmeshed-pod"), world(linkerd(published)), verdict{"", webhook.Allowed, v1alpha1.NotMeshed}},
		"no MeshTrust at all":                           {pem(expired), world(), verdict{"", webhook.Allowed, v1alpha1.NotMeshed}},
		"a suspended mesh":                              {pem(expired), world(linkerd(published, func(mt *v1alpha1.MeshTrust) { mt.Spec.Suspend = true })), verdict{"main", webhook.Allowed, v1alpha1.Suspended}},
		"a namespace that opted out":                    {pem(expired), webhook.World{MeshTrusts: []v1alpha1.MeshTrust{linkerd(published)}, OptOuts: []string{"emoji"}}, verdict{"main", webhook.Allowed, v1alpha1.OptedOut}},
		"another namespace opted out":                   {pem(expired), webhook.World{MeshTrusts: []v1alpha1.MeshTrust{linkerd(published)}, OptOuts: []string{"other"}}, verdict{"main", webhook.Denied, v1alpha1.TrustExpired}},
		"a pod that opted out of admission":             {annotated(pem(expired), "rollout, admission"), world(linkerd(published)), verdict{"main", webhook.Allowed, v1alpha1.OptedOut}},
		"a pod that opted out of everything":            {annotated(pem(expired), "true"), world(linkerd(published)), verdict{"main", webhook.Allowed, v1alpha1.OptedOut}},
		"a pod that opted out of rolling only":          {annotated(pem(expired), "rollout"), world(linkerd(published)), verdict{"main", webhook.Denied, v1alpha1.TrustExpired}},
		"the older of two MeshTrusts decides":           {pem(expired), world(linkerd(published, younger("a")), linkerd(published)), verdict{"main", webhook.Denied, v1alpha1.TrustExpired}},
		"of two as old the first by name":               {pem(expired), world(linkerd(published), linkerd(published, named("a"))), verdict{"a", webhook.Denied, v1alpha1.TrustExpired}},
		"the issuer's anchor is in the pod":             {pem(valid), world(linkerd(both, requireIssuer, verifiedBy(valid))), verdict{"main", webhook.Allowed, v1alpha1.Missing}},
		"the issuer's anchor is not in the pod":         {pem(other), world(linkerd(both, requireIssuer, verifiedBy(valid))), verdict{"main", webhook.Denied, v1alpha1.IssuerNotTrusted}},
		"the same, but nobody asked":                    {pem(other), world(linkerd(both, verifiedBy(valid))), verdict{"main", webhook.Allowed, v1alpha1.Missing}},
		"the same, under mode Warn":                     {pem(other), world(linkerd(both, requireIssuer, verifiedBy(valid), mode(v1alpha1.AdmissionWarn))), verdict{"main", webhook.Warned, v1alpha1.IssuerNotTrusted}},
		"the published bundle lacks the issuer's too":   {pem(other), world(linkerd([]*bundletest.CA{other}, requireIssuer, verifiedBy(valid))), verdict{"main", webhook.Allowed, v1alpha1.Current}},
		"nothing is known to verify the issuer":         {pem(other), world(linkerd(both, requireIssuer, verifiedBy())), verdict{"main", webhook.Allowed, v1alpha1.Missing}},
		"the list of the issuer's anchors was cut":      {pem(other), world(linkerd(both, requireIssuer, verifiedBy(valid), cut)), verdict{"main", webhook.Allowed, v1alpha1.Missing}},
		"an anchor not parsed may be the issuer's":      {carrying(t, other.PEM()+bundletest.Unparsable(1)), world(linkerd(both, requireIssuer, verifiedBy(valid))), verdict{"main", webhook.Warned, v1alpha1.TrustUnknown}},
		"during SwitchIssuer the issuer counts unasked": {pem(other), switchingWorld(linkerd(both, verifiedBy(valid)), rotation(v1alpha1.PhaseSwitchIssuer, "")), verdict{"main", webhook.Denied, v1alpha1.IssuerNotTrusted}},
		"before SwitchIssuer it does not":               {pem(other), switchingWorld(linkerd(both, verifiedBy(valid)), rotation(v1alpha1.PhaseRolling, "")), verdict{"main", webhook.Allowed, v1alpha1.Missing}},
		"it still does when pods are rolled after it":   {pem(other), switchingWorld(linkerd(both, verifiedBy(valid)), entered(rotation(v1alpha1.PhaseRolling, ""), v1alpha1.PhaseSwitchIssuer)), verdict{"main", webhook.Denied, v1alpha1.IssuerNotTrusted}},
		"nobody has looked at the issuer for long":      {pem(other), world(linkerd(both, requireIssuer, verifiedBy(valid), unseen)), verdict{"main", webhook.Allowed, v1alpha1.Missing}},
		"nobody has since a rotation switched it":       {pem(other), switchingWorld(linkerd(both, verifiedBy(valid), unseen), rotation(v1alpha1.PhaseDrainLeaves, "")), verdict{"main", webhook.Allowed, v1alpha1.Missing}},
		"the issuer cannot be read any more":            {pem(other), world(linkerd(both, requireIssuer, verifiedBy(valid), issuerTrusted(metav1.ConditionUnknown))), verdict{"main", webhook.Allowed, v1alpha1.Missing}},
		"the issuer was read a moment ago":              {pem(other), world(linkerd(both, requireIssuer, verifiedBy(valid), issuerTrusted(metav1.ConditionTrue))), verdict{"main", webhook.Denied, v1alpha1.IssuerNotTrusted}},
		"no bundle is on record beside the issuer":      {pem(other), world(linkerd(both, requireIssuer, verifiedBy(valid), forgotten)), verdict{"main", webhook.Allowed, v1alpha1.Missing}},
		"the issuer's anchor was renewed, with its key": {pem(valid), world(linkerd(renewal, requireIssuer, verifiedBy(renewed))), verdict{"main", webhook.Allowed, v1alpha1.Missing}},
		"so it was, beside another":                     {pem(other, valid), world(linkerd([]*bundletest.CA{other, renewed}, requireIssuer, verifiedBy(renewed))), verdict{"main", webhook.Allowed, v1alpha1.Missing}},
		"the same, while a rotation moves the issuer":   {pem(valid), switchingWorld(linkerd(renewal, verifiedBy(renewed)), rotation(v1alpha1.PhaseSwitchIssuer, "")), verdict{"main", webhook.Allowed, v1alpha1.Missing}},
		"the one before has ended":                      {pem(ended, other), world(linkerd([]*bundletest.CA{other, renewed}, requireIssuer, verifiedBy(renewed))), verdict{"main", webhook.Denied, v1alpha1.IssuerNotTrusted}},
		"a new anchor has the name and another key":     {pem(valid), world(linkerd([]*bundletest.CA{namesake}, requireIssuer, verifiedBy(namesake))), verdict{"main", webhook.Denied, v1alpha1.IssuerNotTrusted}},
		"an old status does not tell a namesake's key":  {pem(valid), world(linkerd([]*bundletest.CA{namesake}, requireIssuer, verifiedBy(namesake), keyless)), verdict{"main", webhook.Allowed, v1alpha1.Missing}},
		"an old status tells that the name is another":  {pem(other), world(linkerd(both, requireIssuer, verifiedBy(valid), keyless)), verdict{"main", webhook.Denied, v1alpha1.IssuerNotTrusted}},
		"a renewal with a name that status has cut":     {pem(long), world(linkerd([]*bundletest.CA{longRenewed}, requireIssuer, verifiedBy(longRenewed), cutNames)), verdict{"main", webhook.Allowed, v1alpha1.Missing}},
		"another key with a name that status has cut":   {pem(valid), world(linkerd([]*bundletest.CA{longRenewed}, requireIssuer, verifiedBy(longRenewed), cutNames)), verdict{"main", webhook.Denied, v1alpha1.IssuerNotTrusted}},
		"it does not when the rotation has ended":       {pem(other), switchingWorld(linkerd(both, verifiedBy(valid)), rotation(v1alpha1.PhaseVerify, v1alpha1.ConditionComplete)), verdict{"main", webhook.Allowed, v1alpha1.Missing}},
	} {
		t.Run(name, func(t *testing.T) {
			d := webhook.NewSnapshot(tc.world, nil).Validate(request(t, tc.pod), now)
			if got := (verdict{d.Mesh, d.Outcome, d.Reason}); got != tc.want {
				t.Errorf("got %v (%s), want %v", got, d.Message, tc.want)
			}
			if d.Patch != "" {
				t.Error("a validating webhook cannot patch")
			}
			response := d.Response("u")
			if response.Denied != (tc.want.outcome == webhook.Denied) || (len(response.Warnings) > 0) != (tc.want.outcome == webhook.Warned) {
				t.Errorf("the response to %s is %+v", tc.want.outcome, response)
			}
			if d.Outcome != webhook.Allowed && (d.Message == "" || strings.ContainsAny(d.Message, "\n\r")) {
				t.Errorf("the message is not one line: %q", d.Message)
			}
		})
	}
}

func younger(name string) meshOption {
	return func(mt *v1alpha1.MeshTrust) { mt.Name, mt.CreationTimestamp = name, metav1.NewTime(now) }
}

func named(name string) meshOption { return func(mt *v1alpha1.MeshTrust) { mt.Name = name } }

// unseen is as a status becomes when no controller runs.
func unseen(mt *v1alpha1.MeshTrust) {
	mt.Status.History[0].LastSeen = metav1.NewTime(now.Add(-webhook.StatusFreshness))
}

func forgotten(mt *v1alpha1.MeshTrust) { mt.Status.History = nil }

func issuerTrusted(status metav1.ConditionStatus) meshOption {
	return func(mt *v1alpha1.MeshTrust) {
		mt.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionIssuerTrusted, Status: status}}
	}
}

// keyless is a status by a controller that records no keys yet.
func keyless(mt *v1alpha1.MeshTrust) {
	for i := range mt.Status.Bundle.Anchors {
		mt.Status.Bundle.Anchors[i].KeyFingerprint = ""
	}
}

// cutNames cuts subjects as the controller does.
func cutNames(mt *v1alpha1.MeshTrust) {
	for i := range mt.Status.Bundle.Anchors {
		mt.Status.Bundle.Anchors[i].Subject = mt.Status.Bundle.Anchors[i].Subject[:253] + "..."
	}
}

func cut(mt *v1alpha1.MeshTrust) { mt.Status.Issuer.VerifiedByTotal = 65 }

func switchingWorld(mt v1alpha1.MeshTrust, r v1alpha1.AnchorRotation) webhook.World {
	return webhook.World{MeshTrusts: []v1alpha1.MeshTrust{mt}, Rotations: []v1alpha1.AnchorRotation{r}}
}

// erlang is a Generic mesh whose members mount the CA's Secret.
func erlang(ca *bundletest.CA, options ...meshOption) v1alpha1.MeshTrust {
	return linkerd([]*bundletest.CA{ca}, append([]meshOption{func(mt *v1alpha1.MeshTrust) {
		mt.Name = "erlang"
		mt.Spec = v1alpha1.MeshTrustSpec{
			Profile: v1alpha1.ProfileGeneric, Issuer: v1alpha1.IssuerSpec{None: true},
			Bundle: v1alpha1.BundleSpec{SecretRef: &v1alpha1.KeyRef{Namespace: "erlang", Name: "dist-ca"}},
		}
	}}, options...)...)
}

func erlangPod() *corev1.Pod {
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "erlang", Labels: map[string]string{v1alpha1.MeshLabel: "erlang"}},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "beam", VolumeMounts: []corev1.VolumeMount{{Name: "ca", MountPath: "/ca"}}}},
			Volumes:    []corev1.Volume{{Name: "ca", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "dist-ca"}}}},
		},
	}
}

func TestAPodThatRefersToTheBundleIsJudgedByStatus(t *testing.T) {
	valid, expired := root(t, "valid", -time.Hour, 100*time.Hour), root(t, "dist", -2*time.Hour, -time.Hour)
	stale := func(mt *v1alpha1.MeshTrust) {
		mt.Status.History[0].LastSeen = metav1.NewTime(now.Add(-webhook.StatusFreshness - time.Second))
	}
	condition := func(reason v1alpha1.Reason) meshOption {
		return func(mt *v1alpha1.MeshTrust) {
			mt.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionBundleValid, Status: metav1.ConditionFalse, Reason: string(reason)}}
		}
	}
	replaced := func(mt *v1alpha1.MeshTrust) { mt.Status.Bundle.Hash = "v1:0" }
	for name, tc := range map[string]struct {
		mt   v1alpha1.MeshTrust
		want verdict
	}{
		"the CA in the Secret is valid":                        {erlang(valid), verdict{"erlang", webhook.Allowed, v1alpha1.Current}},
		"the CA in the Secret has expired":                     {erlang(expired), verdict{"erlang", webhook.Denied, v1alpha1.TrustExpired}},
		"it has, and status says so":                           {erlang(expired, condition(v1alpha1.BundleExpired)), verdict{"erlang", webhook.Denied, v1alpha1.TrustExpired}},
		"the Secret was replaced by garbage since":             {erlang(expired, condition(v1alpha1.BundleInvalid)), verdict{"erlang", webhook.Warned, v1alpha1.TrustUnknown}},
		"nobody has looked at the Secret for long":             {erlang(expired, stale), verdict{"erlang", webhook.Warned, v1alpha1.TrustUnknown}},
		"the bundle on record is not the present one any more": {erlang(expired, replaced), verdict{"erlang", webhook.Warned, v1alpha1.TrustUnknown}},
	} {
		t.Run(name, func(t *testing.T) {
			d := webhook.NewSnapshot(world(tc.mt), nil).Validate(request(t, erlangPod()), now)
			if got := (verdict{d.Mesh, d.Outcome, d.Reason}); got != tc.want {
				t.Errorf("got %v (%s), want %v", got, d.Message, tc.want)
			}
		})
	}
}

func TestTheControlPlaneIsLeftAlone(t *testing.T) {
	expired := root(t, "expired", -2*time.Hour, -time.Hour)
	pod := carrying(t, expired.PEM())
	pod.Namespace = "linkerd"
	pod.Labels["linkerd.io/control-plane-component"] = "destination"
	s := webhook.NewSnapshot(world(linkerd([]*bundletest.CA{expired})), nil)
	for name, d := range map[string]webhook.Decision{"validate": s.Validate(request(t, pod), now), "stamp": s.Stamp(request(t, pod), now)} {
		if d.Outcome != webhook.Allowed || d.Patch != "" || d.Reason != v1alpha1.TrustExpired {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestADenialNamesMeshAnchorExpiryAndBothWaysOut(t *testing.T) {
	older, later := root(t, "older", -9*time.Hour, -2*time.Hour), root(t, "root.linkerd.cluster.local", -9*time.Hour, -time.Hour)
	valid := root(t, "valid", -time.Hour, time.Hour)
	s := webhook.NewSnapshot(world(linkerd([]*bundletest.CA{valid}, requireIssuer, verifiedBy(valid))), nil)
	for name, tc := range map[string]struct {
		text string
		says []string
	}{
		"expired":     {older.PEM() + later.PEM(), []string{"publish a valid bundle", "all 2 trust anchors", `"CN=root.linkerd.cluster.local"`, later.Fingerprint().Short(), "2026-11-22T11:00:00Z"}},
		"none":        {"", []string{"publish a valid bundle", "no certificate at all"}},
		"not trusted": {root(t, "x", 0, time.Hour).PEM(), []string{"tries again by itself", "restart the injector", `"CN=valid"`, "2026-11-22T13:00:00Z"}},
		"hostile":     {root(t, "a\nb"+strings.Repeat("x", 5000), -9*time.Hour, -time.Hour).PEM(), []string{"publish a valid bundle", `a\nb`}},
	} {
		t.Run(name, func(t *testing.T) {
			d := s.Validate(request(t, carrying(t, tc.text)), now)
			if d.Outcome != webhook.Denied {
				t.Fatalf("not denied: %+v", d)
			}
			for _, want := range append(tc.says, `mesh "main"`, "annotate the namespace with reanchor.dev/opt-out=admission") {
				if !strings.Contains(d.Message, want) {
					t.Errorf("%q does not say %q", d.Message, want)
				}
			}
			if strings.ContainsAny(d.Message, "\n\r") || len(d.Message) > 700 || strings.Contains(d.Message, "CERTIFICATE-") {
				t.Errorf("not one short line without PEM: %q", d.Message)
			}
		})
	}
}

// apply patches the pod as the API server does.
func apply(t *testing.T, pod *corev1.Pod, patch review.Patch) *corev1.Pod {
	t.Helper()
	if patch == "" {
		return pod
	}
	text, err := base64.StdEncoding.DecodeString(string(patch))
	if err != nil {
		t.Fatal(err)
	}
	operations, err := jsonpatch.DecodePatch(text)
	if err != nil {
		t.Fatal(err)
	}
	before, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	after, err := operations.Apply(before)
	if err != nil {
		t.Fatalf("applying %s: %v", text, err)
	}
	var patched corev1.Pod
	if err := json.Unmarshal(after, &patched); err != nil {
		t.Fatal(err)
	}
	return &patched
}

func TestStamp(t *testing.T) {
	valid := root(t, "valid", -time.Hour, 100*time.Hour)
	stamp := map[string]string{
		v1alpha1.TrustBundleHashAnnotation:     bundle.Of(valid.Cert).Hash(),
		v1alpha1.TrustBundleNotAfterAnnotation: "2026-11-26T16:00:00Z",
		v1alpha1.StampedByAnnotation:           "main",
	}
	none := map[string]string{}
	forged := func(text string) *corev1.Pod {
		pod := carrying(t, text)
		for key := range stamp {
			pod.Annotations[key] = "forged"
		}
		return pod
	}
	without := func(pod *corev1.Pod) *corev1.Pod { pod.Annotations = nil; return pod }
	undated, _ := bundle.Parse([]byte(bundletest.Unparsable(1)))
	undatedStamp := map[string]string{v1alpha1.TrustBundleHashAnnotation: undated.Hash(), v1alpha1.StampedByAnnotation: "main"}
	emptyStamp := map[string]string{v1alpha1.TrustBundleHashAnnotation: bundle.Set{}.Hash(), v1alpha1.StampedByAnnotation: "main"}
	for name, tc := range map[string]struct {
		pod     *corev1.Pod
		outcome webhook.Outcome
		want    map[string]string
	}{
		"a pod without a stamp":                       {carrying(t, valid.PEM()), webhook.Stamped, stamp},
		"a pod without annotations":                   {without(carrying(t, valid.PEM())), webhook.Stamped, stamp},
		"a forged stamp":                              {forged(valid.PEM()), webhook.Stamped, stamp},
		"no expiry that could be told":                {carrying(t, bundletest.Unparsable(1)), webhook.Stamped, undatedStamp},
		"a forged expiry where none can be told":      {forged(bundletest.Unparsable(1)), webhook.Stamped, undatedStamp},
		"a bundle without any certificate":            {carrying(t, ""), webhook.Stamped, emptyStamp},
		"unknown trust is not stamped":                {carrying(t, valid.PEM()[:100]), webhook.Allowed, none},
		"a forged stamp on unknown trust is removed":  {forged(valid.PEM()[:100]), webhook.Unstamped, none},
		"a pod that is not meshed is not looked into": {fixture(t, "unmeshed-pod"), webhook.Allowed, none},
	} {
		t.Run(name, func(t *testing.T) {
			s := webhook.NewSnapshot(world(linkerd([]*bundletest.CA{valid})), nil)
			d := s.Stamp(request(t, tc.pod), now)
			if d.Outcome != tc.outcome {
				t.Errorf("outcome %s, want %s", d.Outcome, tc.outcome)
			}
			patched := apply(t, tc.pod, d.Patch)
			got := map[string]string{}
			for key := range stamp {
				if v, ok := patched.Annotations[key]; ok {
					got[key] = v
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			for key := range stamp {
				delete(patched.Annotations, key)
				delete(tc.pod.Annotations, key)
			}
			if diff := cmp.Diff(len(tc.pod.Annotations), len(patched.Annotations)); diff != "" {
				t.Errorf("other annotations changed: %s", diff)
			}
			patched.Annotations, tc.pod.Annotations = nil, nil
			if diff := cmp.Diff(tc.pod, patched); diff != "" {
				t.Errorf("more than the stamp changed: %s", diff)
			}
		})
	}
}

func TestStampingTwiceEqualsOnce(t *testing.T) {
	valid := root(t, "valid", -time.Hour, 100*time.Hour)
	s := webhook.NewSnapshot(world(linkerd([]*bundletest.CA{valid})), nil)
	for _, name := range []string{"deployment-pod-native-sidecar", "statefulset-pod-classic-sidecar", "job-pod", "bare-pod"} {
		pod := fixture(t, name)
		once := s.Stamp(request(t, pod), now)
		if once.Patch == "" {
			t.Errorf("%s: not stamped", name)
		}
		if twice := s.Stamp(request(t, apply(t, pod, once.Patch)), now); twice.Patch != "" || twice.Outcome != webhook.Allowed {
			t.Errorf("%s: stamped again: %+v", name, twice)
		}
	}
}

func TestAMeshThatReloadsIsNotStamped(t *testing.T) {
	mt := linkerd(nil, func(mt *v1alpha1.MeshTrust) { mt.Spec.Profile = v1alpha1.ProfileIstio })
	pod := erlangPod()
	pod.Labels = nil
	pod.Spec.Containers[0].Name = "istio-proxy"
	s := webhook.NewSnapshot(world(mt), nil)
	if d := s.Stamp(request(t, pod), now); d.Outcome != webhook.Allowed || d.Patch != "" || d.Reason != v1alpha1.Current {
		t.Errorf("stamp: %+v", d)
	}
	if d := s.Validate(request(t, pod), now); d.Outcome != webhook.Allowed || d.Reason != v1alpha1.Current {
		t.Errorf("validate: %+v", d)
	}
}
