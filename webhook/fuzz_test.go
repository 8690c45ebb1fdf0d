package webhook_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	kjson "sigs.k8s.io/json"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/webhook"
	"github.com/reanchor/reanchor/webhook/review"
)

// realReviews are the reviews that an API server sent for real pods.
func realReviews(tb testing.TB) map[string]string {
	tb.Helper()
	files, err := filepath.Glob("../mesh/testdata/review-*.json")
	if err != nil || len(files) < 5 {
		tb.Fatalf("the fixtures are %v: %v", files, err)
	}
	texts := map[string]string{}
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "review-"), ".json")
		texts[name] = reviewText(tb, name)
	}
	return texts
}

// realAnchor is the anchor that the real pods carry. Only certificates that are
// the same in every run make inputs that say the same in every run.
func realAnchor(tb testing.TB) *bundletest.CA {
	tb.Helper()
	var r struct{ Request struct{ Object corev1.Pod } }
	if err := json.Unmarshal([]byte(reviewText(tb, "deployment-pod-native-sidecar")), &r); err != nil {
		tb.Fatal(err)
	}
	for _, c := range r.Request.Object.Spec.InitContainers {
		for _, e := range c.Env {
			block, _ := pem.Decode([]byte(e.Value))
			if e.Name != anchorsEnv || block == nil {
				continue
			}
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				tb.Fatal(err)
			}
			return &bundletest.CA{Cert: cert}
		}
	}
	tb.Fatal("the fixture has no trust anchors")
	return nil
}

// everyKindOfMesh is a world in which all decisions occur: a Linkerd whose pods
// must trust the issuer, one that only warns, one whose issuer is under another
// anchor, one that is suspended, and a mesh whose members refer to their bundle.
func everyKindOfMesh(tb testing.TB) *webhook.Snapshot {
	tb.Helper()
	ca := realAnchor(tb)
	other := &bundletest.CA{Cert: &x509.Certificate{Raw: []byte("another anchor"), NotAfter: now.AddDate(10, 0, 0)}}
	at := func(namespace string) meshOption {
		return func(mt *v1alpha1.MeshTrust) { mt.Name, mt.Spec.ControlPlaneNamespace = "of-"+namespace, namespace }
	}
	w := world(
		linkerd([]*bundletest.CA{ca}, requireIssuer, verifiedBy(ca)),
		linkerd([]*bundletest.CA{ca}, at("warned"), mode(v1alpha1.AdmissionWarn)),
		linkerd([]*bundletest.CA{ca, other}, at("switched"), requireIssuer, verifiedBy(other)),
		linkerd([]*bundletest.CA{ca}, at("suspended"), func(mt *v1alpha1.MeshTrust) { mt.Spec.Suspend = true }),
		erlang(ca),
	)
	w.OptOuts = []string{"out"}
	return webhook.NewSnapshot(w, nil)
}

// typedRequest reads a review into the types of the API, with the decoder of
// the API server.
func typedRequest(text string) (*review.Request, *corev1.Pod, error) {
	var ar admissionv1.AdmissionReview
	if err := kjson.UnmarshalCaseSensitivePreserveInts([]byte(text), &ar); err != nil {
		return nil, nil, err
	}
	if ar.Request == nil {
		return nil, nil, errors.New("no request")
	}
	var pod corev1.Pod
	if err := kjson.UnmarshalCaseSensitivePreserveInts(ar.Request.Object.Raw, &pod); err != nil {
		return nil, nil, err
	}
	pod.Namespace, pod.CreationTimestamp, pod.Status = ar.Request.Namespace, metav1.Time{}, corev1.PodStatus{}
	annotation := func(key string) review.Annotation {
		v, ok := pod.Annotations[key]
		return review.Annotation{Value: v, Present: ok}
	}
	return &review.Request{
		UID: string(ar.Request.UID), Pod: *mesh.ViewOf(&pod), Annotated: pod.Annotations != nil, OptOut: pod.Annotations[v1alpha1.OptOutAnnotation],
		Claimed: review.Stamp{
			Hash: annotation(v1alpha1.TrustBundleHashAnnotation), NotAfter: annotation(v1alpha1.TrustBundleNotAfterAnnotation),
			By: annotation(v1alpha1.StampedByAnnotation),
		},
	}, &pod, nil
}

// variants change a real review in the places from which decisions are made.
func variants(text string) []string {
	anchor := func(with string) string {
		const begin, end = `-----BEGIN CERTIFICATE-----`, `-----END CERTIFICATE-----\n`
		from, to := strings.Index(text, begin), strings.LastIndex(text, end)
		if from < 0 || to < 0 {
			return text
		}
		return text[:from] + with + text[to+len(end):]
	}
	annotations := func(with string) string {
		return strings.Replace(text, `"annotations":{`, `"annotations":{`+with+`,`, 1)
	}
	of := func(controlPlane string) string {
		return strings.ReplaceAll(text, `"linkerd.io/control-plane-ns":"linkerd"`, `"linkerd.io/control-plane-ns":"`+controlPlane+`"`)
	}
	unparsable, _ := json.Marshal(bundletest.Unparsable(1))
	return []string{
		text, anchor(""), anchor("hello"), anchor(strings.Trim(string(unparsable), `"`)), anchor(`-----BEGIN CERTIFICATE-----\nAAAA`),
		annotations(`"reanchor.dev/opt-out":"admission"`), annotations(`"reanchor.dev/opt-out":"rollout"`),
		annotations(`"reanchor.dev/trust-bundle-hash":"forged","reanchor.dev/stamped-by":null`),
		strings.Replace(anchor(`-----BEGIN CERTIFICATE-----\nAAAA`), `"annotations":{`, `"annotations":{"reanchor.dev/trust-bundle-hash":"forged",`, 1),
		of("warned"), of("switched"), of("suspended"),
		strings.ReplaceAll(text, `"restartPolicy":"Always"`, `"restartPolicy":"Never"`),
		strings.Replace(text, `"namespace":"emoji"`, `"namespace":"out"`, 2),
	}
}

// FuzzTheFastPathDecidesAsATypedDecodeDoes: whatever a request says, and when,
// both webhooks answer it as they would if the whole pod had been decoded into
// the API's types, or refuse it. What the stamp's patch makes of the pod differs
// in nothing but the stamp, and needs no other.
func FuzzTheFastPathDecidesAsATypedDecodeDoes(f *testing.F) {
	for _, text := range seeds(f) {
		f.Add(text, 0)
		f.Add(text, longAfter)
	}
	d := newDuel(f)
	f.Fuzz(func(t *testing.T, text string, days int) { d.fight(t, text, now.AddDate(0, 0, days%10000)) })
}

// longAfter is in days; the real anchor has expired by then.
const longAfter = 400

// seeds are the real reviews in all variants, and one of a Generic mesh.
func seeds(tb testing.TB) []string {
	tb.Helper()
	pod, err := json.Marshal(erlangPod())
	if err != nil {
		tb.Fatal(err)
	}
	out := []string{`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":"CREATE",` +
		`"kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},` +
		`"namespace":"erlang","object":` + string(pod) + `}}`}
	for _, text := range realReviews(tb) {
		out = append(out, variants(compactJSON(tb, text))...)
	}
	return out
}

// duel holds the webhook's two handlers against the typed way.
type duel struct {
	snapshot *webhook.Snapshot
	clock    *clocktesting.FakePassiveClock
	handlers map[string]*webhook.Handler
	parser   review.Parser
}

func newDuel(tb testing.TB) *duel {
	tb.Helper()
	d := &duel{snapshot: everyKindOfMesh(tb), clock: clocktesting.NewFakePassiveClock(now)}
	metrics, err := webhook.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	sources := webhook.Sources{Snapshot: func() *webhook.Snapshot { return d.snapshot }, Clock: d.clock, Metrics: metrics}
	stamp, validate := webhook.NewHandlers(sources)
	d.handlers = map[string]*webhook.Handler{"stamp": stamp, "validate": validate}
	return d
}

// fight reports whether the text was decided upon.
func (d *duel) fight(t *testing.T, text string, at time.Time) (stamp, validate webhook.Decision, decided bool) {
	t.Helper()
	d.clock.SetTime(at)
	fast, err := d.parser.Parse(text)
	if err != nil {
		return stamp, validate, false
	}
	typed, pod, err := typedRequest(text)
	if err != nil {
		// Something that no decision reads has another type than the API gives
		// it. No API server sends that.
		return stamp, validate, false
	}
	for name, decide := range map[string]func(*review.Request, time.Time) webhook.Decision{"stamp": d.snapshot.Stamp, "validate": d.snapshot.Validate} {
		got, want := decide(fast, at), decide(typed, at)
		if got != want {
			t.Fatalf("%s (-typed +fast): %s", name, cmp.Diff(want, got))
		}
		response := want.Response(typed.UID)
		if w := call(d.handlers[name], strings.NewReader(text)); w.Body.String() != string(response.AppendTo(nil)) {
			t.Fatalf("%s answers %s, want %s", name, w.Body, response.AppendTo(nil))
		}
		if name == "stamp" {
			d.stampsOnly(t, pod, typed.Pod.Namespace, want.Patch, at)
			stamp = want
		} else {
			validate = want
		}
	}
	return stamp, validate, true
}

// stampsOnly: the patch changes the stamp and nothing else, once.
func (d *duel) stampsOnly(t *testing.T, pod *corev1.Pod, namespace string, patch review.Patch, at time.Time) {
	t.Helper()
	if patch == "" {
		return
	}
	after, err := patched(pod, patch)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(after)
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := typedRequest(`{"request":{"uid":"u","namespace":` + string(review.Quote(namespace)) + `,"object":` + string(text) + `}}`)
	if err != nil {
		t.Fatal(err)
	}
	if second := d.snapshot.Stamp(again, at); second.Patch != "" {
		t.Fatalf("a stamped pod is stamped again: %+v", second)
	}
	before := pod.DeepCopy()
	for _, p := range []*corev1.Pod{before, after} {
		maps.DeleteFunc(p.Annotations, func(key, _ string) bool {
			return key == v1alpha1.TrustBundleHashAnnotation || key == v1alpha1.TrustBundleNotAfterAnnotation || key == v1alpha1.StampedByAnnotation
		})
		p.ManagedFields = nil // raw JSON, which is written anew
	}
	if !equality.Semantic.DeepEqual(before, after) { // nil and empty are the same
		t.Fatalf("the stamp changes more than the stamp: %s", cmp.Diff(before, after))
	}
}

// patched is the pod as the API server makes it of a patch.
func patched(pod *corev1.Pod, patch review.Patch) (*corev1.Pod, error) {
	text, err := base64.StdEncoding.DecodeString(string(patch))
	if err != nil {
		return nil, err
	}
	operations, err := jsonpatch.DecodePatch(text)
	if err != nil {
		return nil, err
	}
	before, err := json.Marshal(pod)
	if err != nil {
		return nil, err
	}
	after, err := operations.Apply(before)
	if err != nil {
		return nil, fmt.Errorf("applying %s: %w", text, err)
	}
	out := &corev1.Pod{}
	return out, json.Unmarshal(after, out)
}

// compactJSON removes white space, as the API server sends it.
func compactJSON(tb testing.TB, text string) string {
	tb.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		tb.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return string(out)
}

// The seeds of the fuzz test lead to every kind of answer, so that it compares
// more than admissions.
func TestTheSeedsOfTheFuzzTestLeadToEveryDecision(t *testing.T) {
	d, seen := newDuel(t), map[string]bool{}
	for _, text := range seeds(t) {
		for _, days := range []int{0, longAfter} {
			stamp, validate, decided := d.fight(t, text, now.AddDate(0, 0, days))
			if !decided {
				t.Errorf("a seed is no review: %.300s", text)
			}
			seen[fmt.Sprint("stamp ", stamp.Outcome, " ", stamp.Reason)] = true
			seen[fmt.Sprint("validate ", validate.Outcome, " ", validate.Reason)] = true
		}
	}
	for _, want := range []string{
		"stamp stamped Current", "stamp stamped NoCertificate", "stamp unstamped TrustUnknown", "stamp allowed NotMeshed", "stamp allowed OptedOut",
		"validate allowed Current", "validate denied TrustExpired", "validate denied NoCertificate", "validate denied IssuerNotTrusted",
		"validate warned TrustUnknown", "validate warned TrustExpired", "validate allowed OptedOut", "validate allowed Suspended", "validate allowed NotMeshed",
	} {
		if !seen[want] {
			t.Errorf("no seed leads to %q, only to %v", want, slices.Sorted(maps.Keys(seen)))
		}
	}
}
