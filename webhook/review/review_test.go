package review_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/reanchor/reanchor/webhook/review"
)

func fixtures(tb testing.TB) map[string]string {
	tb.Helper()
	files, err := filepath.Glob("../../mesh/testdata/review-*.json")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no fixtures: %v", err)
	}
	texts := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		texts[filepath.Base(file)] = string(text)
	}
	return texts
}

// compact removes the white space, as the API server sends it.
func compact(tb testing.TB, text string) string {
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

func TestRealReviewsAreReadAsATypedDecodeReadsThem(t *testing.T) {
	var p review.Parser
	for name, text := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			want, err := reference(text)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{text, compact(t, text)} {
				got, err := p.Parse(text)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// wrap returns a review of a pod with the given members besides its kind.
func wrap(pod string) string {
	return fmt.Sprintf(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","namespace":"n",`+
		`"kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},`+
		`"operation":"CREATE","object":{"apiVersion":"v1","kind":"Pod",%s}}}`, pod)
}

// shapes are pods that no API server sends but the type allows.
var shapes = []string{
	`"metadata":{}`,
	`"metadata":{"labels":null,"annotations":null},"spec":null`,
	`"metadata":{"labels":{"reanchor.dev/mesh":null,"a":"b"},"annotations":{}}`,
	`"metadata":{"creationTimestamp":"2020-01-01T00:00:00Z","namespace":"other"}`,
	`"metadata":{"annotations":{"reanchor.dev/opt-out":"admission","reanchor.dev/trust-bundle-hash":null,"reanchor.dev/stamped-by":"x","reanchor.dev/trust-bundle-not-after":""}}`,
	`"spec":{"containers":[{"name":"b"}],"initContainers":[{"restartPolicy":"Always","name":"a"},{"name":"c","restartPolicy":"Never"},null]},"metadata":{}`,
	`"spec":{"containers":[null,{},{"name":null,"env":null}],"volumes":null},"metadata":{}`,
	`"metadata":{},"spec":{"containers":[{"name":"a","env":[{"name":"x","value":"\u0041\ud83d\ude00\n"},null,{"value":null,"valueFrom":null},` +
		`{"valueFrom":{}},{"valueFrom":{"fieldRef":{"fieldPath":"x"}}},{"valueFrom":{"configMapKeyRef":null,"secretKeyRef":{"name":"s","key":"k","optional":true}}},` +
		`{"valueFrom":{"configMapKeyRef":{"key":"k"},"secretKeyRef":{"name":"s"}}},{"valueFrom":{"secretKeyRef":{"name":"s"},"configMapKeyRef":{"name":"c"}}}]}]}`,
	`"metadata":{},"spec":{"containers":[{"envFrom":[{"secretRef":{"name":"s"},"configMapRef":{"name":"c"}},{"prefix":"p"},null,{"configMapRef":null},{"configMapRef":{}}],` +
		`"volumeMounts":[{"name":"v","mountPath":"/x"},null,{"name":null}]}]}`,
	`"metadata":{},"spec":{"volumes":[{"name":"a","configMap":{"name":"c"}},{"name":"b","secret":{"secretName":"s"}},{"name":"e","emptyDir":{}},` +
		`{"name":"p","projected":{"sources":[{"configMap":{"name":"c"},"secret":{"name":"s"}},{"secret":{}},{"clusterTrustBundle":{"name":"t","path":"x"}},` +
		`{"clusterTrustBundle":{"signerName":"q","path":"x"}},{"clusterTrustBundle":{"name":null,"path":"x"}},{"serviceAccountToken":{"path":"x"}},null]}},` +
		`{"name":"n","projected":null},{"name":"m","projected":{"sources":null}},null,{"secret":null},{"name":"z","secret":{},"configMap":{"name":null}}]}`,
	`"metadata":{},"sp\u0065c":{"containers":[{"n\u0061me":"a"}]}`,
	`"metadata":{},"status":{"containerStatuses":[{"name":"a","state":{"running":{"startedAt":"2020-01-01T00:00:00Z"}}}]}`,
	`"metadata":{},"Spec":{"containers":[{"name":"a"}]},"spec":{"Containers":[{"name":"b"}]}`,
}

func TestUnusualPodsAreReadAsATypedDecodeReadsThem(t *testing.T) {
	var p review.Parser
	for _, shape := range shapes {
		want, err := reference(wrap(shape))
		if err != nil {
			t.Fatalf("%s: %v", shape, err)
		}
		got, err := p.Parse(wrap(shape))
		if err != nil {
			t.Fatalf("%s: %v", shape, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", shape, diff)
		}
	}
}

// bad are texts that must be refused, with what the error must say.
var bad = map[string]struct{ text, says string }{
	"nothing at all":                       {"", "ends too early"},
	"a review that is cut off":             {wrap(`"metadata":{}`)[:200], "ends too early"},
	"two values":                           {wrap(`"metadata":{}`) + "{}", "text after the value"},
	"invalid UTF-8":                        {wrap(`"metadata":{"labels":{"a":"` + "\xff" + `"}}`), "UTF-8"},
	"a control character":                  {wrap(`"metadata":{"labels":{"a":"` + "\n" + `"}}`), "control character"},
	"half a surrogate pair":                {wrap(`"metadata":{"labels":{"a":"\ud83d"}}`), "escape"},
	"an escape that does not exist":        {wrap(`"metadata":{"labels":{"a":"\q"}}`), "escape"},
	"a number with a leading zero":         {wrap(`"metadata":{"x":01}`), "want"},
	"a trailing comma":                     {wrap(`"metadata":{"x":1,}`), "want"},
	"a duplicate of a member that is read": {wrap(`"metadata":{},"spec":{},"spec":{}`), `"spec"`},
	"a duplicate written with an escape":   {wrap(`"metadata":{},"spec":{},"sp\u0065c":{}`), `"spec"`},
	"a duplicate in what is not read":      {wrap(`"metadata":{"managedFields":[{"a":1,"b":2,"a":3}]}`), `"a"`},
	"a duplicate among many":               {wrap(`"metadata":{"x":{` + manyMembers(500) + `,"m77":0}}`), `"m77"`},
	"a duplicate uid":                      {strings.Replace(wrap(`"metadata":{}`), `"uid":"u"`, `"uid":"u","uid":"v"`, 1), `"uid"`},
	"nesting without end":                  {strings.Repeat("[", 1<<20), "want '{'"},
	"deep nesting in a pod":                {wrap(`"metadata":{"x":` + strings.Repeat("[", 1<<20)), "deep"},
	"more members than a pod has":          {wrap(`"metadata":{"x":{` + manyMembers(review.MaxValues+1) + `}}`), "values"},
	"more elements than a pod has":         {wrap(`"metadata":{},"spec":{"volumes":[` + strings.Repeat("{},", review.MaxValues) + `{}]}`), "values"},
	"more containers than may be":          {wrap(`"metadata":{},"spec":{"initContainers":[{}],"containers":[` + many("{}", review.MaxContainers) + `]}`), "more than 1024 containers"},
	"more variables than may be":           {wrap(`"metadata":{},"spec":{"containers":[{"env":[{}]},{"env":[` + many("{}", review.MaxVariables) + `]}]}`), "more than 8192 environment variables"},
	"more mounts than may be":              {wrap(`"metadata":{},"spec":{"containers":[{"volumeMounts":[{}]},{"volumeMounts":[` + many("{}", review.MaxMounts) + `]}]}`), "more than 8192 volume mounts"},
	"more objects than may be":             {wrap(`"metadata":{},"spec":{"volumes":[{"secret":{}}],"containers":[{"envFrom":[` + many(`{"secretRef":{}}`, review.MaxObjects) + `]}]}`), "more than 8192 ConfigMaps"},
	"more projected than may be":           {wrap(`"metadata":{},"spec":{"volumes":[{"projected":{"sources":[` + many(`{"secret":{}}`, review.MaxObjects+1) + `]}}]}`), "more than 8192 ConfigMaps"},
	"more volumes than may be":             {wrap(`"metadata":{},"spec":{"volumes":[` + many(`{"secret":{}}`, review.MaxVolumes+1) + `]}`), "more than 1024 volumes"},
	"a uid that is none":                   {strings.Replace(wrap(`"metadata":{}`), `"uid":"u"`, `"uid":"`+strings.Repeat("u", review.MaxUID+1)+`"`, 1), "uid"},
	"a list where an object must be":       {wrap(`"metadata":{},"spec":[]`), "want '{'"},
	"a number where a name must be":        {wrap(`"metadata":{},"spec":{"containers":[{"name":1}]}`), `want '"'`},
	"an old version":                       {strings.Replace(wrap(`"metadata":{}`), "k8s.io/v1", "k8s.io/v1beta1", 1), "admission.k8s.io/v1"},
	"another resource":                     {strings.Replace(wrap(`"metadata":{}`), `"pods"`, `"services"`, 1), "v1 pods"},
	"a subresource":                        {strings.Replace(wrap(`"metadata":{}`), `"uid"`, `"subResource":"eviction","uid"`, 1), "creation"},
	"an update":                            {strings.Replace(wrap(`"metadata":{}`), "CREATE", "UPDATE", 1), "creation"},
	"an object of another kind":            {strings.Replace(wrap(`"metadata":{}`), `"v1","kind":"Pod",`, `"v1","kind":"Job",`, 1), "v1 Pod"},
	"no object":                            {strings.Replace(wrap(`"metadata":{}`), `"object"`, `"x"`, 1), "v1 Pod"},
	"no uid":                               {strings.Replace(wrap(`"metadata":{}`), `"uid":"u"`, `"uid":""`, 1), "uid"},
	"no metadata":                          {wrap(`"spec":{}`), "metadata"},
	"no request":                           {`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`, "uid"},
	"a member in another case":             {strings.Replace(wrap(`"metadata":{}`), `"request"`, `"Request"`, 1), "uid"},
}

// many is the element n times.
func many(element string, n int) string { return strings.Repeat(element+",", n-1) + element }

func manyMembers(n int) string {
	members := make([]string, n)
	for i := range members {
		members[i] = fmt.Sprintf(`"m%d":0`, i)
	}
	return strings.Join(members, ",")
}

func TestWhatIsNotAReviewOfAPodIsRefusedWithTheReason(t *testing.T) {
	for name, tc := range bad {
		t.Run(name, func(t *testing.T) {
			r, err := review.Parse(tc.text)
			if err == nil {
				t.Fatalf("it was read: %+v", r)
			}
			if !strings.Contains(err.Error(), tc.says) {
				t.Errorf("the error %q does not say %q", err, tc.says)
			}
			if len(err.Error()) > 200 {
				t.Errorf("the error is %d bytes long", len(err.Error()))
			}
		})
	}
	if _, err := review.Parse(bad["another resource"].text); !errors.Is(err, review.ErrNotAPod) {
		t.Errorf("%v is not ErrNotAPod", err)
	}
}

func TestManyMembersAreReadInProportionalTime(t *testing.T) {
	// Quadratic comparison of 261,000 names would take minutes.
	if _, err := review.Parse(wrap(`"metadata":{"x":{` + manyMembers(review.MaxValues-1000) + `}}`)); err != nil {
		t.Fatal(err)
	}
}

func TestResponsesAreReviewsOfTheAPI(t *testing.T) {
	for name, tc := range map[string]struct {
		response review.Response
		want     string
	}{
		"allowed":       {review.Response{UID: "u\"\n"}, `{"uid":"u\"\n","allowed":true}`},
		"with warnings": {review.Response{UID: "u", Warnings: []string{"a", "b \"c\""}}, `{"uid":"u","allowed":true,"warnings":["a","b \"c\""]}`},
		"with a patch": {
			review.Response{UID: "u", Patch: review.EncodePatch(review.AddOperation("/a~1b", review.Quote("x")), review.RemoveOperation("/c"))},
			`{"uid":"u","allowed":true,"patch":"W3sib3AiOiJhZGQiLCJwYXRoIjoiL2F+MWIiLCJ2YWx1ZSI6IngifSx7Im9wIjoicmVtb3ZlIiwicGF0aCI6Ii9jIn1d","patchType":"JSONPatch"}`,
		},
		"denied": {
			review.Response{UID: "u", Denied: true, Reason: "TrustExpired", Message: "it has expired"},
			`{"uid":"u","allowed":false,"status":{"metadata":{},"status":"Failure","message":"it has expired","reason":"TrustExpired","code":403}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got admissionv1.AdmissionReview
			if err := json.Unmarshal(tc.response.AppendTo(nil), &got); err != nil {
				t.Fatal(err)
			}
			if got.Kind != "AdmissionReview" || got.APIVersion != "admission.k8s.io/v1" {
				t.Errorf("it is a %s of %s", got.Kind, got.APIVersion)
			}
			var want admissionv1.AdmissionResponse
			if err := json.Unmarshal([]byte(tc.want), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&want, got.Response); diff != "" {
				t.Error(diff)
			}
		})
	}
	if review.EncodePatch() != "" {
		t.Error("a patch of no operations must be none")
	}
}

func FuzzParseAgreesWithATypedDecode(f *testing.F) {
	for _, text := range fixtures(f) {
		f.Add(compact(f, text))
	}
	for _, shape := range shapes {
		f.Add(wrap(shape))
	}
	for _, tc := range bad {
		if len(tc.text) < 1<<16 {
			f.Add(tc.text)
		}
	}
	// One after the other through the same memory, as in a handler.
	var p review.Parser
	f.Fuzz(func(t *testing.T, text string) {
		got, err := p.Parse(text)
		if err != nil {
			if got != nil {
				t.Fatal("an error comes with a request")
			}
			if errors.Is(err, review.ErrTooMany) && !tooMany(text) {
				t.Fatalf("%v, and it has not", err)
			}
			return
		}
		if err := strictJSON(text); err != nil {
			t.Fatalf("read what is not strict JSON: %v", err)
		}
		want, err := reference(text)
		if err != nil {
			// A member that no decision reads has another type than the API
			// gives it; the API server sends no such text.
			return
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

// tooMany reports whether the typed decode finds the pod over one of the bounds, or
// fails: it may over what follows.
func tooMany(text string) bool {
	r, err := reference(text)
	if err != nil {
		return true
	}
	var variables, mounts, objects int
	for _, c := range r.Pod.Containers {
		variables, mounts, objects = variables+len(c.Env), mounts+len(c.Mounts), objects+len(c.EnvFrom)
	}
	for _, v := range r.Pod.Volumes {
		objects += len(v.Objects)
	}
	return len(r.Pod.Containers) > review.MaxContainers || len(r.Pod.Volumes) > review.MaxVolumes ||
		variables > review.MaxVariables || mounts > review.MaxMounts || objects > review.MaxObjects
}

// FuzzSyntax holds the scanner against a strict JSON decoder, in a place of the
// review that is not read: it accepts just what the decoder does.
func FuzzSyntax(f *testing.F) {
	for _, text := range []string{`1`, `-0.5e+7`, `01`, `1.`, `"\u00e9"`, `{"a":[true,false,null]}`, `{"a":1,"a":2}`, `[1,]`, "\"\xff\"", `"\ud800\udc00"`, `"\udc00"`, `nul`, ` [ ] `} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, value string) {
		text := wrap(`"metadata":{"x":` + value + `}`)
		_, err := review.Parse(text)
		if errors.Is(err, review.ErrNotAPod) || errors.Is(err, review.ErrTooMany) || (err != nil && (strings.Contains(err.Error(), "deep") || strings.Contains(err.Error(), "values"))) {
			return
		}
		want := strictJSON(text)
		// A value such as "1},"spec":{..." leaves its place, and may be wrong
		// there in type only.
		if want == nil && err != nil && !strings.Contains(value, ":") || want != nil && err == nil {
			t.Fatalf("the scanner says %v, the decoder %v", err, want)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	text := compact(b, fixtures(b)["review-deployment-pod-native-sidecar.json"])
	var p review.Parser
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
