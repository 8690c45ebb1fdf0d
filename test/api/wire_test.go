package api

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/kubernetes"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

func meshTrust(spec v1alpha1.MeshTrustSpec) *v1alpha1.MeshTrust {
	mt := &v1alpha1.MeshTrust{Spec: spec}
	mt.APIVersion, mt.Kind, mt.Name = v1alpha1.GroupVersion.String(), v1alpha1.MeshTrustKind, "mesh"
	return mt
}

// testWire sends what the Go types make of an object.
func testWire(t *testing.T, s server) {
	t.Run("a typed object without choices is complete", func(t *testing.T) {
		sent := asSent(t, meshTrust(v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd}))
		if diff := cmp.Diff(map[string]any{"profile": "Linkerd"}, sent.Object["spec"]); diff != "" {
			t.Errorf("spec on the wire (-want +got):\n%s", diff)
		}
		refused(t, s.try(t.Context(), sent))
	})
	t.Run("every default is a value that may be chosen", func(t *testing.T) { testDefaults(t, s) })
	t.Run("a full status is kept", func(t *testing.T) { testStatus(t, s) })
	t.Run("a full status of a rotation is kept", func(t *testing.T) { testRotationStatus(t, s) })
	t.Run("a status of unknown words is refused", func(t *testing.T) { testStatusWords(t, s) })
	t.Run("a status list over its cap is refused", func(t *testing.T) {
		mt := created(t, s)
		for range v1alpha1.MaxBlocked + 1 {
			mt.Status.Rollout.Blocked = append(mt.Status.Rollout.Blocked, v1alpha1.BlockedWorkload{
				WorkloadRef: v1alpha1.WorkloadRef{Namespace: "a", Kind: "Pod", Name: "p" + strings.Repeat("x", len(mt.Status.Rollout.Blocked))},
				Reason:      v1alpha1.BarePod,
			})
		}
		_, err := s.resource(mt.Kind).UpdateStatus(t.Context(), asSent(t, mt), metav1.UpdateOptions{})
		refused(t, err, "status.rollout.blocked", "must have at most 50 items")
	})
}

func testDefaults(t *testing.T, s server) {
	bundle := v1alpha1.BundleSpec{SecretRef: &v1alpha1.KeyRef{Namespace: "a", Name: "b"}}
	issuer := v1alpha1.IssuerSpec{SecretRef: &v1alpha1.KeyRef{Namespace: "a", Name: "c"}}
	ref := &v1alpha1.ObjectRef{Namespace: "a", Name: "d"}
	for name, spec := range map[string]v1alpha1.MeshTrustSpec{
		"Linkerd":             {Profile: v1alpha1.ProfileLinkerd},
		"Linkerd Generations": {Profile: v1alpha1.ProfileLinkerd, Rotation: &v1alpha1.RotationSpec{}},
		"Linkerd InPlace":     {Profile: v1alpha1.ProfileLinkerd, Rotation: &v1alpha1.RotationSpec{Layout: v1alpha1.LayoutInPlace}},
		"Istio":               {Profile: v1alpha1.ProfileIstio},
		"EnvoyGateway":        {Profile: v1alpha1.ProfileEnvoyGateway},
		"Generic":             {Profile: v1alpha1.ProfileGeneric, Bundle: bundle, Issuer: v1alpha1.IssuerSpec{None: true}},
		"Generic Generations": {Profile: v1alpha1.ProfileGeneric, Bundle: bundle, Issuer: issuer, Rotation: &v1alpha1.RotationSpec{
			AnchorTemplate: &v1alpha1.AnchorTemplate{}, IssuerCertificateRef: ref, ClusterIssuerName: "e",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, s.try(t.Context(), asSent(t, meshTrust(spec))))
			refused(t, s.try(t.Context(), asSent(t, meshTrust(meshTrust(spec).EffectiveSpec()))))
		})
	}
}

// created is a MeshTrust that the server holds.
func created(t *testing.T, s server) *v1alpha1.MeshTrust {
	t.Helper()
	mt := meshTrust(v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd})
	mt.ResourceVersion = s.create(t, asSent(t, mt)).GetResourceVersion()
	return mt
}

func testStatus(t *testing.T, s server) {
	mt := created(t, s)
	mt.Status = fullStatus()
	for _, path := range unset("status", reflect.ValueOf(mt.Status)) {
		t.Errorf("fullStatus leaves %s unset", path)
	}
	answer, err := s.resource(mt.Kind).UpdateStatus(t.Context(), asSent(t, mt), metav1.UpdateOptions{FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		t.Fatal(err)
	}
	var kept v1alpha1.MeshTrust
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(answer.Object, &kept); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(mt.Status, kept.Status); diff != "" {
		t.Errorf("status (-sent +kept):\n%s", diff)
	}
}

// fullRotationStatus sets every field of an AnchorRotation's status.
func fullRotationStatus() v1alpha1.AnchorRotationStatus {
	at := metav1.NewTime(time.Unix(1_800_000_000, 0))
	certificate := &v1alpha1.RotationCertificate{
		Fingerprint: strings.Repeat("b", 64), Subject: "CN=root", NotBefore: &at, NotAfter: &at,
		CertificateRef: &v1alpha1.ObjectRef{Namespace: "a", Name: "b"}, CertificateUID: "u", Revision: 3, SecretName: "c",
	}
	return v1alpha1.AnchorRotationStatus{
		ObservedGeneration: 1, FromAnchor: certificate, ToAnchor: certificate, IssuerBefore: certificate, IssuerInUseAt: &at,
		Progress: "12/40 workloads",
		Path:     v1alpha1.PathRotate, SwitchIntendedAt: &at, IssuerSwitchedAt: &at, AbortedFrom: v1alpha1.PhaseWiden,
		Steps: []v1alpha1.RotationStep{{Phase: v1alpha1.PhaseWiden, StartedAt: at, CompletedAt: &at, Message: "done"}}, StepsTotal: 1,
		BlockedBy: []v1alpha1.BlockedWorkload{{
			WorkloadRef: v1alpha1.WorkloadRef{Namespace: "a", Kind: "Rollout", Name: "b", Group: "argoproj.io"}, Reason: v1alpha1.OptedOut, Message: "opted out",
		}},
		BlockedByTotal: 1,
		Acknowledged:   []v1alpha1.AcknowledgedAt{{Entry: "node/n1", At: at}}, AcknowledgedTotal: 1,
		Conditions: []metav1.Condition{{
			Type: v1alpha1.ConditionProgressing, Status: metav1.ConditionTrue, Reason: string(v1alpha1.PhaseWiden), LastTransitionTime: at,
		}},
	}
}

func testRotationStatus(t *testing.T, s server) {
	status := fullRotationStatus()
	for _, path := range unset("status", reflect.ValueOf(status)) {
		t.Errorf("%s is unset", path)
	}
	answer, err := updateRotation(t, s, status)
	if err != nil {
		t.Fatal(err)
	}
	var kept v1alpha1.AnchorRotation
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(answer.Object, &kept); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(status, kept.Status); diff != "" {
		t.Errorf("status (-sent +kept):\n%s", diff)
	}
}

// updateRotation gives a new AnchorRotation a status.
func updateRotation(t *testing.T, s server, status v1alpha1.AnchorRotationStatus) (*unstructured.Unstructured, error) {
	t.Helper()
	o := s.create(t, object(t, v1alpha1.AnchorRotationKind, "run", `{meshTrustRef: {name: mesh}}`))
	typed := &v1alpha1.AnchorRotation{Status: status}
	typed.APIVersion, typed.Kind = o.GetAPIVersion(), o.GetKind()
	o.Object["status"] = asSent(t, typed).Object["status"]
	return s.resource(o.GetKind()).UpdateStatus(t.Context(), o, metav1.UpdateOptions{FieldValidation: metav1.FieldValidationStrict})
}

// testStatusWords writes words that no reader of a status would know.
func testStatusWords(t *testing.T, s server) {
	status := fullRotationStatus()
	status.Path, status.AbortedFrom, status.Steps[0].Phase = "Detour", "Limbo", "Nap"
	_, err := updateRotation(t, s, status)
	refused(t, err, `status.path: Unsupported value: "Detour"`, `status.abortedFrom: Unsupported value: "Limbo"`, `status.steps[0].phase: Unsupported value: "Nap"`)
	mt := created(t, s)
	mt.Status = fullStatus()
	mt.Status.Rollout.InProgress[0].Verb = "Delete"
	_, err = s.resource(mt.Kind).UpdateStatus(t.Context(), asSent(t, mt), metav1.UpdateOptions{})
	refused(t, err, `status.rollout.inProgress[0].verb: Unsupported value: "Delete": supported values: "Restart", "Evict", "RestartAt", "Annotate"`)
}

// fullStatus sets every field of a MeshTrust's status.
func fullStatus() v1alpha1.MeshTrustStatus {
	at := metav1.NewTime(time.Unix(1_800_000_000, 0))
	micro := metav1.NewMicroTime(time.Unix(1_800_000_000, 123_000))
	hash, print := "v1:"+strings.Repeat("a", 64), strings.Repeat("b", 64)
	deployment := v1alpha1.WorkloadRef{Namespace: "a", Kind: "Deployment", Name: "b", Group: "apps"}
	// Kinds of two groups may share a name.
	namesake := deployment
	namesake.Group = "example.com"
	return v1alpha1.MeshTrustStatus{
		ObservedGeneration: 1,
		Bundle: &v1alpha1.BundleStatus{
			Hash: hash, Source: "ConfigMap a/b, key c", PublishedAt: &at, AnchorCount: 1,
			Anchors: []v1alpha1.AnchorStatus{{Fingerprint: print, Subject: "CN=root", KeyFingerprint: print, NotBefore: &at, NotAfter: &at, Own: true}},
		},
		Issuer: &v1alpha1.IssuerStatus{
			Fingerprint: print, Subject: "CN=issuer", NotBefore: &at, NotAfter: &at, Source: "Secret a/b",
			VerifiedBy: []string{print}, VerifiedByTotal: 1, Since: &at, SignedSince: &at,
			Earlier: []v1alpha1.EarlierIssuer{{
				Fingerprint: print, VerifiedBy: []string{print}, VerifiedByTotal: 1, ReplacedAt: &at, LeavesUntil: at,
			}},
			EarlierTotal: 1,
		},
		Expires: at.UTC().Format(time.RFC3339), EarliestTrustExpiry: &at, LastScheduleTime: &at,
		History: []v1alpha1.BundleRecord{{
			Hash: hash, Fingerprints: []string{print}, FingerprintsTotal: 1, PublishedAt: at, FirstSeen: at, LastSeen: at,
		}},
		HistoryTotal: 1,
		Pods:         v1alpha1.PodCounts{Total: 8, Current: 1, Stale: 2, Missing: 1, Expired: 1, Retired: 1, Unknown: 1, Exempt: 1},
		Workloads:    v1alpha1.WorkloadCounts{Total: 5, Current: 1, Stale: 1, Retired: 1, Unknown: 1, Exempt: 1},
		Rollout: v1alpha1.RolloutStatus{
			BundleHash: hash,
			Wave:       &v1alpha1.WaveStatus{Name: v1alpha1.WaveRest, Index: 2, Completed: 1},
			Fence:      &v1alpha1.FenceStatus{BundleHash: hash, At: micro},
			InProgress: []v1alpha1.InProgressWorkload{{
				WorkloadRef: deployment, Attempt: 2, RestartedFor: hash + ".2", Verb: v1alpha1.VerbRestart, StartedAt: micro, Message: "waits",
				BundleHash: hash, OldPodsUntil: &at, Pods: 3, AvailableBefore: new(int32(2)), Applied: true, Left: 1, ProgressAt: &micro,
			}},
			InProgressTotal: 1,
			Failed: []v1alpha1.FailedWorkload{{
				WorkloadRef: deployment, Reason: v1alpha1.ProgressDeadlineExceeded, Message: "stuck", Attempt: 1, Since: at,
			}},
			FailedTotal: 1,
			Attempts: []v1alpha1.WorkloadAttempts{
				{WorkloadRef: deployment, Count: 2, Reverts: 1, LastAt: micro}, {WorkloadRef: namesake, Count: 1, Reverts: 1, LastAt: micro},
			},
			AttemptsTotal: 1,
			Blocked:       []v1alpha1.BlockedWorkload{{WorkloadRef: deployment, Reason: v1alpha1.WorkloadPaused, Message: "paused"}},
			BlockedTotal:  1,
			Measured:      &v1alpha1.MeasuredRolls{Workloads: 3, TotalSeconds: 42},
			ETA:           &at, Deadline: &at,
		},
		Conditions: []metav1.Condition{{
			Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: string(v1alpha1.Rolling),
			Message: "1 of 5", ObservedGeneration: 1, LastTransitionTime: at,
		}},
	}
}

// unset returns the paths of the fields that are zero.
func unset(path string, v reflect.Value) []string {
	if v.IsZero() {
		return []string{path}
	}
	var paths []string
	switch {
	case v.Kind() == reflect.Pointer:
		return unset(path, v.Elem())
	case v.Kind() == reflect.Slice:
		return unset(path+"[0]", v.Index(0))
	case v.Kind() == reflect.Struct && v.Type().PkgPath() == reflect.TypeFor[v1alpha1.MeshTrust]().PkgPath():
		for i := range v.NumField() {
			paths = append(paths, unset(path+"."+v.Type().Field(i).Name, v.Field(i))...)
		}
	}
	return paths
}

// testColumns asks for what kubectl prints.
func testColumns(t *testing.T, s server) {
	mt := created(t, s)
	mt.Status = fullStatus()
	if _, err := s.resource(mt.Kind).UpdateStatus(t.Context(), asSent(t, mt), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.create(t, object(t, v1alpha1.AnchorRotationKind, "run", `{meshTrustRef: {name: mesh}}`))
	for kind, want := range map[string]struct {
		short   string
		columns []string
		cells   []any
	}{
		v1alpha1.MeshTrustKind: {
			"mt", []string{"Name", "Profile", "Anchors", "Expires", "Pods", "Stale", "Status", "Age"},
			[]any{"mesh", "Linkerd", int64(1), "2027-01-15T08:00:00Z", int64(8), int64(2), "Rolling"},
		},
		v1alpha1.AnchorRotationKind: {
			"anr", []string{"Name", "Mesh", "Phase", "Progress", "Blocked", "Failed", "Reason", "Age"}, []any{"run", "mesh"},
		},
	} {
		t.Run(kind, func(t *testing.T) {
			columns, cells := table(t, s, strings.ToLower(kind)+"s")
			if diff := cmp.Diff(want.columns, columns); diff != "" {
				t.Errorf("columns (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want.cells, cells[:len(want.cells)]); diff != "" {
				t.Errorf("cells (-want +got):\n%s", diff)
			}
			if !slices.Contains(shortNames(t, s), want.short) {
				t.Errorf("no short name %s", want.short)
			}
		})
	}
}

// table returns the columns and the cells of the first row of a list.
func table(t *testing.T, s server, resource string) ([]string, []any) {
	t.Helper()
	clients, err := kubernetes.NewForConfig(s.lab.Config())
	if err != nil {
		t.Fatal(err)
	}
	var answer metav1.Table
	text, err := clients.RESTClient().Get().AbsPath("/apis", v1alpha1.Group, v1alpha1.Version, resource).
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := utiljson.Unmarshal(text, &answer); err != nil {
		t.Fatal(err)
	}
	var columns []string
	for _, c := range answer.ColumnDefinitions {
		columns = append(columns, c.Name)
	}
	return columns, answer.Rows[0].Cells
}

func shortNames(t *testing.T, s server) []string {
	t.Helper()
	clients, err := kubernetes.NewForConfig(s.lab.Config())
	if err != nil {
		t.Fatal(err)
	}
	list, err := clients.Discovery().ServerResourcesForGroupVersion(v1alpha1.GroupVersion.String())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range list.APIResources {
		names = append(names, r.ShortNames...)
	}
	return names
}
