package admission

import (
	"cmp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
)

func TestPodsAreJudgedByTheTrustTheyCarry(t *testing.T) {
	valid := root(t, "root.linkerd.cluster.local", -time.Hour, time.Hour)
	expired := root(t, "old.linkerd.cluster.local", -2*time.Hour, -time.Hour)
	for mesh, mode := range map[string]v1alpha1.AdmissionMode{"enforced": "", "warned": v1alpha1.AdmissionWarn, "audited": v1alpha1.AdmissionAudit} {
		linkerd(t, mesh, v1alpha1.AdmissionSpec{Mode: mode}, bundle.Of(valid.Cert))
	}
	ns := namespace(t, "judged", nil)
	for name, tc := range map[string]struct {
		mesh, text string
		denied     []string // what the denial says; none for admitted
		warning    string
		counted    string // without the mesh's label, which is mesh unless labelled
		labelled   string
	}{
		"valid":            {mesh: "enforced", text: valid.PEM(), counted: "validate allowed Current"},
		"one of two valid": {mesh: "enforced", text: expired.PEM() + valid.PEM(), counted: "validate allowed Current"},
		"expired": {mesh: "enforced", text: expired.PEM(), counted: "validate denied TrustExpired", denied: []string{
			`admission webhook "validate.reanchor.dev" denied the request: `, `mesh "enforced"`, `"CN=old.linkerd.cluster.local"`,
			expired.Fingerprint().Short(), expired.Cert.NotAfter.UTC().Format(time.RFC3339),
			"publish a valid bundle", "annotate the namespace with reanchor.dev/opt-out=admission",
		}},
		"empty":                  {mesh: "enforced", text: "", counted: "validate denied NoCertificate", denied: []string{`mesh "enforced"`, "no certificate at all", "opt out"}},
		"not PEM":                {mesh: "enforced", text: "hello", counted: "validate denied NoCertificate", denied: []string{"no certificate at all"}},
		"unparsable":             {mesh: "enforced", text: bundletest.Unparsable(1), counted: "validate warned TrustUnknown", warning: "cannot tell when the trust anchor sha256:"},
		"damaged":                {mesh: "enforced", text: valid.PEM()[:100], counted: "validate warned TrustUnknown", warning: "cannot tell what the pod trusts"},
		"expired, mode Warn":     {mesh: "warned", text: expired.PEM(), counted: "validate warned TrustExpired", warning: `"CN=old.linkerd.cluster.local"`},
		"expired, mode Audit":    {mesh: "audited", text: expired.PEM(), counted: "validate audited TrustExpired"},
		"unparsable, mode Audit": {mesh: "audited", text: bundletest.Unparsable(1), counted: "validate allowed TrustUnknown"},
		"a mesh not known here":  {mesh: "elsewhere", text: expired.PEM(), counted: "validate allowed NotMeshed", labelled: "-"},
	} {
		t.Run(name, func(t *testing.T) {
			before := requests(t)
			_, warned, err := create(t, carrying(t, ns, tc.mesh, tc.text))
			kind, decision, _ := strings.Cut(tc.counted, " ")
			counted(t, before, kind+" "+cmp.Or(tc.labelled, tc.mesh)+" "+decision)
			if len(tc.denied) == 0 && err != nil {
				t.Fatalf("not admitted: %v", err)
			}
			for _, want := range tc.denied {
				if err == nil || !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
					t.Errorf("the denial %v does not say %q", err, want)
				}
			}
			if all := strings.Join(warned, "; "); (tc.warning == "") != (all == "") || !strings.Contains(all, tc.warning) {
				t.Errorf("warnings %q, want %q", all, tc.warning)
			}
		})
	}
}

func TestAPodMustTrustTheIssuerWhereThatIsAsked(t *testing.T) {
	first, second := root(t, "first", -time.Hour, time.Hour), root(t, "second", -time.Hour, time.Hour)
	linkerd(t, "issuer", v1alpha1.AdmissionSpec{IssuerTrust: v1alpha1.IssuerTrustRequire}, bundle.Of(first.Cert, second.Cert))
	ns := namespace(t, "issuer", nil)
	if _, _, err := create(t, carrying(t, ns, "issuer", first.PEM())); err != nil {
		t.Fatalf("nothing is known of the issuer yet: %v", err)
	}
	mt := &v1alpha1.MeshTrust{ObjectMeta: metav1.ObjectMeta{Name: "issuer"}}
	if err := shared.client.Get(t.Context(), client.ObjectKeyFromObject(mt), mt); err != nil {
		t.Fatal(err)
	}
	mt.Status.Issuer = &v1alpha1.IssuerStatus{
		Fingerprint: strings.Repeat("0", 64), VerifiedBy: []string{second.Fingerprint().String()}, VerifiedByTotal: 1,
	}
	if err := shared.client.Status().Update(t.Context(), mt); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, func() string {
		if _, _, err := create(t, carrying(t, ns, "issuer", first.PEM())); err == nil || !strings.Contains(err.Error(), `"CN=second"`) {
			return "a pod that does not trust the issuer is admitted"
		}
		return ""
	})
	if _, _, err := create(t, carrying(t, ns, "issuer", first.PEM()+second.PEM())); err != nil {
		t.Errorf("a pod that trusts it is denied: %v", err)
	}
}

func TestOptOuts(t *testing.T) {
	valid, expired := root(t, "valid", -time.Hour, time.Hour), root(t, "expired", -2*time.Hour, -time.Hour)
	linkerd(t, "optout", v1alpha1.AdmissionSpec{}, bundle.Of(valid.Cert))
	ns := namespace(t, "optout", nil)
	pod := func() *corev1.Pod { return carrying(t, ns, "optout", expired.PEM()) }
	denied := func() bool {
		_, _, err := create(t, pod())
		return err != nil
	}
	if !denied() {
		t.Fatal("a pod with an expired bundle is admitted")
	}
	t.Run("a template annotation keeps the pod away", func(t *testing.T) {
		before := requests(t)
		out := pod()
		out.Annotations[v1alpha1.OptOutAnnotation] = "rollout, admission"
		created, _, err := create(t, out)
		if err != nil {
			t.Fatal(err)
		}
		if after := requests(t); after["all"] != before["all"] || len(stampOf(created)) > 0 {
			t.Error("the webhook was called")
		}
		out = pod()
		out.Annotations[v1alpha1.OptOutAnnotation] = "rollout"
		if _, _, err := create(t, out); err == nil {
			t.Error("an opt-out of rolling is none of admission")
		}
	})
	t.Run("a pod that a kubelet mirrors is kept away", func(t *testing.T) {
		nodes, err := shared.kube.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{Limit: 1})
		if err != nil || len(nodes.Items) == 0 {
			t.Fatalf("there is no node: %v", err)
		}
		mirror := func() *corev1.Pod {
			p := plainProxy(ns, "optout", expired.PEM())
			p.Spec.NodeName = nodes.Items[0].Name // a mirror pod has one, and no service account
			return p
		}
		if _, _, err := create(t, mirror()); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "validate.reanchor.dev") {
			t.Fatalf("without the mark it is not denied: %v", err)
		}
		before := requests(t)
		marked := mirror()
		marked.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "of-a-static-pod"}
		created, _, err := create(t, marked)
		if err != nil {
			t.Fatal(err)
		}
		if after := requests(t); after["all"] != before["all"] || len(stampOf(created)) > 0 {
			t.Error("the webhook was called")
		}
	})
	t.Run("a namespace annotation works at once, before any label mirrors it", func(t *testing.T) {
		patchNamespace(t, ns, `{"metadata":{"annotations":{"reanchor.dev/opt-out":"admission"}}}`)
		eventually(t, time.Minute, func() string {
			if denied() {
				return "still denied"
			}
			return ""
		})
		patchNamespace(t, ns, `{"metadata":{"annotations":{"reanchor.dev/opt-out":null}}}`)
		eventually(t, time.Minute, func() string {
			if !denied() {
				return "still admitted"
			}
			return ""
		})
	})
	t.Run("the namespace label keeps every pod away", func(t *testing.T) {
		patchNamespace(t, ns, `{"metadata":{"labels":{"reanchor.dev/admission":"disabled"}}}`)
		eventually(t, time.Minute, func() string {
			if denied() {
				return "still denied"
			}
			return ""
		})
		before := requests(t)
		if denied() || requests(t)["all"] != before["all"] {
			t.Error("the webhook was called")
		}
	})
}

func patchNamespace(t *testing.T, name, patch string) {
	t.Helper()
	if _, err := shared.kube.CoreV1().Namespaces().Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestASuspendedMeshIsLeftAlone(t *testing.T) {
	expired := root(t, "expired", -2*time.Hour, -time.Hour)
	meshTrust(t, &v1alpha1.MeshTrust{
		ObjectMeta: metav1.ObjectMeta{Name: "suspended"},
		Spec:       v1alpha1.MeshTrustSpec{Profile: v1alpha1.ProfileLinkerd, ControlPlaneNamespace: "suspended", Suspend: true},
	}, bundle.Of(expired.Cert))
	waitKnown(t, "suspended")
	ns := namespace(t, "suspended-pods", nil)
	pod, _, err := create(t, carrying(t, ns, "suspended", expired.PEM()))
	if err != nil || len(stampOf(pod)) > 0 {
		t.Errorf("stamp %v, error %v", stampOf(pod), err)
	}
}

func TestAGenericMeshIsJudgedByItsPublishedBundle(t *testing.T) {
	expired := root(t, "erlang-dist-ca", -100*time.Hour, -6*24*time.Hour+time.Hour)
	ns := namespace(t, "erlang", nil)
	meshTrust(t, &v1alpha1.MeshTrust{
		ObjectMeta: metav1.ObjectMeta{Name: "erlang"},
		Spec: v1alpha1.MeshTrustSpec{
			Profile: v1alpha1.ProfileGeneric, Issuer: v1alpha1.IssuerSpec{None: true},
			Bundle: v1alpha1.BundleSpec{SecretRef: &v1alpha1.KeyRef{Namespace: ns, Name: "dist-ca"}},
		},
	}, bundle.Of(expired.Cert))
	waitKnown(t, "erlang")
	pod := func() *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "p-", Namespace: ns, Labels: map[string]string{v1alpha1.MeshLabel: "erlang"}},
			Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "beam", Image: "beam", VolumeMounts: []corev1.VolumeMount{{Name: "ca", MountPath: "/ca"}}}},
				Volumes:    []corev1.Volume{{Name: "ca", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "dist-ca"}}}},
			},
		}
	}
	eventually(t, time.Minute, func() string {
		_, _, err := create(t, pod())
		if err == nil || !strings.Contains(err.Error(), `mesh "erlang"`) || !strings.Contains(err.Error(), `"CN=erlang-dist-ca"`) {
			return "the denial does not name the CA: " + errorText(err)
		}
		return ""
	})
}

func errorText(err error) string {
	if err == nil {
		return "none"
	}
	return err.Error()
}
