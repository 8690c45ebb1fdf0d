package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
	"github.com/reanchor/reanchor/hack/lab/proxies"
)

func anchor(t *testing.T, name string) bundle.Set {
	t.Helper()
	return bundle.Of(bundletest.NewRoot(t, name, bundletest.From(time.Now(), time.Hour)).Cert)
}

// carrying is a pod with a bundle and the true stamp.
func carrying(name string, set bundle.Set) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{v1alpha1.TrustBundleHashAnnotation: set.Hash()}},
		Spec:       corev1.PodSpec{InitContainers: []corev1.Container{{Name: "linkerd-proxy", Env: []corev1.EnvVar{{Name: anchorsVariable, Value: string(set.PEM())}}}}},
	}
}

func TestNewPodsAreJudgedByWhatTheyCarry(t *testing.T) {
	published, other := anchor(t, "published"), anchor(t, "other")
	for name, tc := range map[string]struct {
		change func(*corev1.Pod)
		want   string // "" when all is well
	}{
		"what was published, and the stamp says so": {func(*corev1.Pod) {}, ""},
		"no stamp":       {func(p *corev1.Pod) { p.Annotations = nil }, `has the stamp ""`},
		"a wrong stamp":  {func(p *corev1.Pod) { p.Annotations[v1alpha1.TrustBundleHashAnnotation] = other.Hash() }, "has the stamp"},
		"another bundle": {func(p *corev1.Pod) { *p = carrying("b", other) }, "not the 1 that it was given"},
		"one too many":   {func(p *corev1.Pod) { *p = carrying("b", published.Union(other)) }, "carries 2 anchors"},
		"no proxy":       {func(p *corev1.Pod) { p.Spec.InitContainers = nil }, "has no proxy"},
		"nonsense":       {func(p *corev1.Pod) { p.Spec.InitContainers[0].Env[0].Value = "hello" }, "reading the anchors of pod b"},
	} {
		t.Run(name, func(t *testing.T) {
			pods := []corev1.Pod{carrying("a", published), carrying("b", published)}
			tc.change(&pods[1])
			want(t, judgeStamps(pods, published), tc.want)
		})
	}
}

func TestOnlyReanchorsDenialIsADenial(t *testing.T) {
	forbidden := func(why string) error {
		return apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "left-behind", errors.New(why))
	}
	said, err := judgeDenial(forbidden(denier + ": mesh \"linkerd\": the anchor has expired"))
	if err != nil || !strings.Contains(said, "the anchor has expired") {
		t.Errorf("of a denial it says %q, %v", said, err)
	}
	for name, err := range map[string]error{
		"the pod was admitted":     nil,
		"a quota refused it":       forbidden("exceeded quota"),
		"the server did not reply": errors.New("connection refused: " + denier),
		"the webhook was not there": apierrors.NewGenericServerResponse(http.StatusInternalServerError, "create",
			schema.GroupResource{Resource: "pods"}, "left-behind", denier, 0, true),
	} {
		if _, err := judgeDenial(err); err == nil {
			t.Errorf("%s: it counts as denied", name)
		}
	}
}

// rotated is a world as the demo claims it to be in the end.
func rotated(before, after bundle.Set) *end {
	e := &end{before: before, after: after, signer: after.Fingerprints()[0].String(), handshakes: proxies.Stats{Handshakes: 1000}}
	e.workloads = append(e.workloads, linkerd.Restarted{Workload: linkerd.Workload{Name: "linkerd-identity", Pods: 2, ControlPlane: true}, Replaced: 4})
	for i := range workloads {
		e.workloads = append(e.workloads, linkerd.Restarted{Workload: linkerd.Workload{Kind: "Deployment", Name: fmt.Sprint("app-", i), Pods: 2}, Replaced: 2})
	}
	for i := range 2*workloads + replica {
		e.pods = append(e.pods, carrying(fmt.Sprint("pod-", i), before.Union(after)))
	}
	return e
}

func TestTheEndIsJudgedByTheWorld(t *testing.T) {
	before, after, other := anchor(t, "before"), anchor(t, "after"), anchor(t, "other")
	for name, tc := range map[string]struct {
		change func(*end)
		want   string // "" when all is well
	}{
		"as claimed":                           {func(*end) {}, ""},
		"pods that started after the old went": {func(e *end) { e.pods[3] = carrying("late", after) }, ""},
		"the bundle is empty":                  {func(e *end) { e.after = bundle.Set{} }, "the bundle is empty"},
		"the old anchor stayed":                {func(e *end) { e.after = before.Union(after) }, "the old anchor is still in the bundle"},
		"nothing was published":                {func(e *end) { e.after = before }, "the old anchor is still in the bundle"},
		"the issuer is the old one":            {func(e *end) { e.signer = before.Fingerprints()[0].String() }, "the issuer is not signed by an anchor of the bundle"},
		"the issuer is somebody's":             {func(e *end) { e.signer = other.Fingerprints()[0].String() }, "the issuer is not signed by an anchor of the bundle"},
		"a workload was not replaced":          {func(e *end) { e.workloads[1].Replaced = 0 }, "Deployment /app-0: 0 pods were replaced, not each of its 2 once"},
		"one of its pods was not":              {func(e *end) { e.workloads[1].Replaced = 1 }, "1 pods were replaced"},
		"a workload was replaced twice":        {func(e *end) { e.workloads[5].Replaced = 4 }, "4 pods were replaced"},
		"nobody looked at the workloads":       {func(e *end) { e.workloads = nil }, "0 workloads were looked at, not 12"},
		"a handshake failed":                   {func(e *end) { e.handshakes.Failed = 1 }, "1 handshakes failed"},
		"there were no handshakes":             {func(e *end) { e.handshakes = proxies.Stats{} }, "there was no handshake"},
		"a pod has the old anchor alone":       {func(e *end) { e.pods[7] = carrying("old", before) }, "pod old does not carry the new anchor"},
		"a stamp lies":                         {func(e *end) { e.pods[7].Annotations[v1alpha1.TrustBundleHashAnnotation] = after.Hash() }, "pod pod-7 has the stamp"},
		"a stamp is missing":                   {func(e *end) { e.pods[7].Annotations = nil }, `pod pod-7 has the stamp ""`},
		"a pod is missing":                     {func(e *end) { e.pods = e.pods[1:] }, "there are 25 pods, not 26"},
	} {
		t.Run(name, func(t *testing.T) {
			e := rotated(before, after)
			tc.change(e)
			rolled, stamped, err := e.judge()
			want(t, err, tc.want)
			if all := workloads + 2*workloads + replica; err == nil && rolled+stamped != all || err != nil && rolled+stamped != 0 {
				t.Errorf("%d workloads are said to be rolled and %d pods to be stamped", rolled, stamped)
			}
		})
	}
}

// want checks that an error says something, or that there is none.
func want(t *testing.T, err error, says string) {
	t.Helper()
	if says == "" {
		if err != nil {
			t.Errorf("it is as it should be, and the verdict is: %v", err)
		}
		return
	}
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("the verdict is %v, want one that says %q", err, says)
	}
}
