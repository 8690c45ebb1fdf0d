package mesh_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/mesh"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func linkerd() *mesh.Mesh {
	return &mesh.Mesh{
		Name: "linkerd", Profile: mesh.Linkerd, Namespace: "linkerd",
		Bundle: mesh.Reference{
			Object: mesh.Object{Kind: mesh.ConfigMap, Name: "linkerd-identity-trust-roots"}, Key: "ca-bundle.crt",
		},
		EnvDelay: 10 * time.Second, FileDelay: 150 * time.Second, ClockSkew: 30 * time.Second,
	}
}

func readJSON(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("decoding %s: %v", name, err)
	}
}

func fixturePod(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	var pod corev1.Pod
	readJSON(t, name, &pod)
	return &pod
}

func reviewPod(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	var review admissionv1.AdmissionReview
	readJSON(t, name, &review)
	var pod corev1.Pod
	if err := json.Unmarshal(review.Request.Object.Raw, &pod); err != nil {
		t.Fatal(err)
	}
	return &pod
}

// published is the bundle that the fixtures' control plane published.
func published(t *testing.T) bundle.Set {
	t.Helper()
	var cm corev1.ConfigMap
	readJSON(t, "configmap-trust-roots.json", &cm)
	s, err := bundle.Parse([]byte(cm.Data["ca-bundle.crt"]))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRealLinkerdPodsHaveTheTrustTheyCarry(t *testing.T) {
	m, want := linkerd(), published(t)
	for name, tc := range map[string]struct {
		pod    *corev1.Pod
		member bool
	}{
		"an injected Deployment pod with a native sidecar":     {reviewPod(t, "review-deployment-pod-native-sidecar.json"), true},
		"an injected StatefulSet pod with an ordinary sidecar": {reviewPod(t, "review-statefulset-pod-classic-sidecar.json"), true},
		"an injected Job pod":                                  {reviewPod(t, "review-job-pod.json"), true},
		"an injected bare pod":                                 {reviewPod(t, "review-bare-pod.json"), true},
		"a running Deployment pod":                             {fixturePod(t, "pod-deployment-native-sidecar.json"), true},
		"a pod that was not injected is no member of any mesh": {reviewPod(t, "review-unmeshed-pod.json"), false},
		"the control plane's identity pod, by its references":  {fixturePod(t, "pod-control-plane-identity.json"), true},
		"the control plane's injector pod, by its reference":   {fixturePod(t, "pod-control-plane-proxy-injector.json"), true},
	} {
		t.Run(name, func(t *testing.T) {
			p := mesh.ViewOf(tc.pod)
			if got := m.Member(p); got != tc.member {
				t.Fatalf("member: %v, want %v", got, tc.member)
			}
			if !tc.member {
				return
			}
			history := mesh.History{{Set: want, PublishedAt: time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC), LastSeen: now}}
			got := m.Trust(p, mesh.World{History: history, Now: now})
			if got.Knowledge != mesh.Known || !got.Sure.Equal(want) {
				t.Errorf("trust %v with %d anchors (%s), want the published one", got.Knowledge, got.Sure.Len(), got.Why)
			}
		})
	}
}

func TestControlPlanePodsAreTold(t *testing.T) {
	m := linkerd()
	injector := mesh.ViewOf(fixturePod(t, "pod-control-plane-proxy-injector.json"))
	identity := mesh.ViewOf(fixturePod(t, "pod-control-plane-identity.json"))
	web := mesh.ViewOf(fixturePod(t, "pod-deployment-native-sidecar.json"))
	if !m.ControlPlane(injector) || !m.ControlPlane(identity) || m.ControlPlane(web) {
		t.Error("identity and injector are control plane, an application is not")
	}
	if !m.Injector(injector) || m.Injector(identity) || m.Injector(web) {
		t.Error("only the proxy injector is an injector")
	}
}

func TestMembershipOfLinkerd(t *testing.T) {
	proxy := mesh.Container{Name: "linkerd-proxy", Kind: mesh.Sidecar}
	withNamespace := func(ns string) mesh.Container {
		c := proxy
		c.Env = []mesh.EnvVar{{Name: "_l5d_ns", Value: ns}}
		return c
	}
	label := func(ns string) map[string]string { return map[string]string{mesh.LinkerdControlPlaneLabel: ns} }
	for name, tc := range map[string]struct {
		pod  mesh.Pod
		want bool
	}{
		"the proxy and the label of this control plane":              {mesh.Pod{Labels: label("linkerd"), Containers: []mesh.Container{proxy}}, true},
		"the proxy and the label of another control plane":           {mesh.Pod{Labels: label("linkerd-2"), Containers: []mesh.Container{proxy}}, false},
		"the label without a proxy: not injected yet":                {mesh.Pod{Labels: label("linkerd")}, false},
		"no label, but the proxy's environment names this one":       {mesh.Pod{Containers: []mesh.Container{withNamespace("linkerd")}}, true},
		"no label, and the proxy's environment names another":        {mesh.Pod{Containers: []mesh.Container{withNamespace("linkerd-2")}}, false},
		"a proxy that does not say whose it is blocks, so it counts": {mesh.Pod{Containers: []mesh.Container{proxy}}, true},
		"a plain init container of that name is no proxy":            {mesh.Pod{Labels: label("linkerd"), Containers: []mesh.Container{{Name: "linkerd-proxy", Kind: mesh.Init}}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := linkerd().Member(&tc.pod); got != tc.want {
				t.Errorf("member: %v, want %v", got, tc.want)
			}
		})
	}
}

func proxyWith(vars ...mesh.EnvVar) *mesh.Pod {
	return &mesh.Pod{
		Namespace: "emoji", Labels: map[string]string{mesh.LinkerdControlPlaneLabel: "linkerd"},
		Containers: []mesh.Container{{Name: "linkerd-proxy", Kind: mesh.Sidecar, Env: vars}},
	}
}

func TestLiteralTrustOfLinkerd(t *testing.T) {
	const name = "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"
	a := bundletest.NewRoot(t, "a", bundletest.From(now, time.Hour))
	b := bundletest.NewRoot(t, "b", bundletest.From(now, time.Hour))
	for title, tc := range map[string]struct {
		vars []mesh.EnvVar
		want mesh.Knowledge
		set  bundle.Set
	}{
		"a literal is exactly what the proxy trusts":      {[]mesh.EnvVar{{Name: name, Value: a.PEM()}}, mesh.Known, bundle.Of(a.Cert)},
		"of two variables of one name the last counts":    {[]mesh.EnvVar{{Name: name, Value: a.PEM()}, {Name: name, Value: b.PEM()}}, mesh.Known, bundle.Of(b.Cert)},
		"a variable that is absent tells nothing":         {nil, mesh.Unknown, bundle.Set{}},
		"a variable that is empty means no trust":         {[]mesh.EnvVar{{Name: name}}, mesh.Known, bundle.Set{}},
		"text without certificates means no trust":        {[]mesh.EnvVar{{Name: name, Value: "none"}}, mesh.Known, bundle.Set{}},
		"a damaged block proves nothing":                  {[]mesh.EnvVar{{Name: name, Value: a.PEM()[:100]}}, mesh.Unknown, bundle.Set{}},
		"a value with other variables in it is not exact": {[]mesh.EnvVar{{Name: name, Value: "$(OTHER)"}}, mesh.Unknown, bundle.Set{}},
		"a field reference tells nothing":                 {[]mesh.EnvVar{{Name: name, From: &mesh.Reference{}}}, mesh.Unknown, bundle.Set{}},
		"a reference from another namespace is another object": {[]mesh.EnvVar{{Name: name, From: &mesh.Reference{
			Object: linkerd().Bundle.Object, Key: "ca-bundle.crt"}}}, mesh.Unknown, bundle.Set{}},
	} {
		t.Run(title, func(t *testing.T) {
			got := linkerd().Trust(proxyWith(tc.vars...), mesh.World{Now: now})
			if got.Knowledge != tc.want || !got.Sure.Equal(tc.set) {
				t.Errorf("got %v with %d anchors, want %v with %d", got.Knowledge, got.Sure.Len(), tc.want, tc.set.Len())
			}
			if (got.Knowledge == mesh.Unknown) != (got.Why != "") {
				t.Errorf("a reason is given exactly for what is unknown, got %q", got.Why)
			}
		})
	}
}

func TestClassify(t *testing.T) {
	year := bundletest.From(now.Add(-time.Hour), 365*24*time.Hour)
	old, next, foreign := bundletest.NewRoot(t, "root", year), bundletest.NewRoot(t, "root", year), bundletest.NewRoot(t, "other", year)
	gone := bundletest.NewRoot(t, "root", bundletest.From(now.Add(-2*time.Hour), time.Hour))
	unparsable, err := bundle.Parse([]byte(bundletest.Unparsable(1)))
	if err != nil {
		t.Fatal(err)
	}
	know := func(cas ...*bundletest.CA) mesh.Trust {
		return mesh.Trust{Knowledge: mesh.Known, Sure: set(cas...), Maybe: set(cas...)}
	}
	for name, tc := range map[string]struct {
		trust   mesh.Trust
		current bundle.Set
		want    mesh.Class
	}{
		"a pod with the current bundle is current":                        {know(old, next), set(old, next), mesh.ClassCurrent},
		"a pod that trusts old and new is retired, not stale":             {know(old, next), set(next), mesh.ClassRetired},
		"a pod without the new anchor is missing":                         {know(old), set(old, next), mesh.ClassMissing},
		"a pod without the new anchor but a foreign one is missing":       {know(old, foreign), set(old, next), mesh.ClassMissing},
		"a pod whose anchors have all expired is expired":                 {know(gone), set(next), mesh.ClassExpired},
		"one that has expired and one that has not is judged by the rest": {know(gone, next), set(next), mesh.ClassCurrent},
		"an expired anchor of the bundle is not missed":                   {know(next), set(gone, next), mesh.ClassCurrent},
		"a pod without any anchor is missing":                             {know(), set(next), mesh.ClassMissing},
		"an unknown trust is unknown":                                     {mesh.Trust{}, set(next), mesh.ClassUnknown},
		"a process that reloads is current":                               {mesh.Trust{Knowledge: mesh.Reloads}, set(next), mesh.ClassCurrent},
		"an anchor of unknown validity never makes a pod expired": {
			mesh.Trust{Knowledge: mesh.Known, Sure: unparsable, Maybe: unparsable}, unparsable, mesh.ClassCurrent},
		"where two bundles are possible, what is in both counts": {
			mesh.Trust{Knowledge: mesh.Known, Sure: set(old), Maybe: set(old, next)}, set(old, next), mesh.ClassMissing},
	} {
		t.Run(name, func(t *testing.T) {
			if got := mesh.Classify(tc.trust, tc.current, now); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
	renewed := old.Renew(bundletest.From(now, 365*24*time.Hour))
	if !mesh.LacksRenewalsOnly(know(old), set(old, renewed), now) || mesh.LacksRenewalsOnly(know(old), set(old, next), now) {
		t.Error("only a renewal with the same key and name is not urgent")
	}
}

func set(cas ...*bundletest.CA) bundle.Set {
	var s bundle.Set
	for _, ca := range cas {
		s = s.Union(bundle.Of(ca.Cert))
	}
	return s
}

func TestATemplateThatHoldsTheBundleIsTold(t *testing.T) {
	pod := reviewPod(t, "review-deployment-pod-native-sidecar.json")
	if !linkerd().Embeds(mesh.ViewOf(pod)) {
		t.Error("a template that was injected by hand holds the bundle")
	}
	if linkerd().Embeds(mesh.ViewOf(fixturePod(t, "pod-control-plane-identity.json"))) {
		t.Error("a template that refers to the published bundle does not hold it")
	}
	if linkerd().Embeds(mesh.ViewOf(reviewPod(t, "review-unmeshed-pod.json"))) {
		t.Error("a template without a proxy holds no bundle")
	}
}
