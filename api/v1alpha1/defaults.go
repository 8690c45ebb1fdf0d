package v1alpha1

import (
	"cmp"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// EffectiveSpec returns a copy of the spec with every default filled in, as
// docs/defaults.md lists them. It changes nothing that is set, and is the only
// place that knows a default. After it, every optional number and duration of
// spec.bundle, spec.admission and spec.rollout is set; spec.rotation stays nil
// when absent, and its rotateBefore and leafLifetime, which depend on the
// anchor and on the mesh, stay nil when not chosen.
func (m *MeshTrust) EffectiveSpec() MeshTrustSpec {
	spec := *m.Spec.DeepCopy()
	known := profileDefaultsOf(spec.Profile)
	if spec.Profile != ProfileGeneric { // whose members live where the bundle is
		spec.ControlPlaneNamespace = cmp.Or(spec.ControlPlaneNamespace, spec.Bundle.namespace(), known.namespace)
	}
	defaultBundle(&spec, known)
	defaultIssuer(&spec)
	if spec.Profile == ProfileGeneric {
		spec.Generic = cmp.Or(spec.Generic, &GenericSpec{})
		spec.Generic.Reload = cmp.Or(spec.Generic.Reload, ReloadRestart)
	}
	defaultAdmission(&spec.Admission)
	defaultRollout(&spec.Rollout)
	if len(spec.Rollout.Waves) == 0 {
		spec.Rollout.Waves = defaultWaves(spec.Profile, spec.ControlPlaneNamespace)
	}
	if spec.Rotation != nil {
		defaultRotation(&spec, m.Name)
	}
	return spec
}

// Keys returns the keys of the ConfigMap or Secret that are tried in order:
// the one that is named, else fallback.
func (r KeyRef) Keys(fallback ...string) []string {
	if r.Key != "" {
		return []string{r.Key}
	}
	return fallback
}

// namespace returns the namespace of the bundle object, "" when there is none.
func (b BundleSpec) namespace() string {
	switch {
	case b.ConfigMapRef != nil:
		return b.ConfigMapRef.Namespace
	case b.SecretRef != nil:
		return b.SecretRef.Namespace
	default:
		return ""
	}
}

// profileDefaults are the names that a profile's own installation uses.
type profileDefaults struct {
	namespace, configMap, secret, key string
}

func profileDefaultsOf(p Profile) profileDefaults {
	switch p {
	case ProfileLinkerd:
		return profileDefaults{namespace: "linkerd", configMap: "linkerd-identity-trust-roots", key: "ca-bundle.crt"}
	case ProfileIstio:
		return profileDefaults{namespace: "istio-system", configMap: "istio-ca-root-cert", key: "root-cert.pem"}
	case ProfileEnvoyGateway:
		return profileDefaults{namespace: "envoy-gateway-system", secret: "envoy-gateway", key: "ca.crt"}
	default:
		return profileDefaults{key: "ca.crt"}
	}
}

func defaultBundle(spec *MeshTrustSpec, known profileDefaults) {
	b := &spec.Bundle
	if b.ConfigMapRef == nil && b.SecretRef == nil && b.ClusterTrustBundleRef == nil {
		switch {
		case known.configMap != "":
			b.ConfigMapRef = &KeyRef{Namespace: spec.ControlPlaneNamespace, Name: known.configMap}
		case known.secret != "":
			b.SecretRef = &KeyRef{Namespace: spec.ControlPlaneNamespace, Name: known.secret}
		}
	}
	for _, ref := range []*KeyRef{b.ConfigMapRef, b.SecretRef} {
		if ref != nil {
			ref.Key = cmp.Or(ref.Key, known.key)
		}
	}
	b.Propagation.Environment = cmp.Or(b.Propagation.Environment, duration(10*time.Second))
	b.Propagation.File = cmp.Or(b.Propagation.File, duration(150*time.Second))
}

// defaultIssuer leaves an issuer Secret's key empty: which of DefaultIssuerKeys
// is meant can be told from the Secret only. A rotation of layout Generations
// needs no right on any Secret, so the issuer is then read from its Certificate.
func defaultIssuer(spec *MeshTrustSpec) {
	if spec.Issuer != (IssuerSpec{}) {
		return
	}
	switch ro := spec.Rotation; {
	case spec.Profile == ProfileLinkerd && ro != nil && ro.Layout != LayoutInPlace:
		spec.Issuer.CertificateRef = cmp.Or(ro.IssuerCertificateRef, &ObjectRef{Namespace: spec.ControlPlaneNamespace, Name: linkerdIssuer})
	case spec.Profile == ProfileLinkerd:
		spec.Issuer.SecretRef = &KeyRef{Namespace: spec.ControlPlaneNamespace, Name: linkerdIssuer}
	default:
		spec.Issuer.None = true
	}
}

func defaultAdmission(a *AdmissionSpec) {
	a.Mode = cmp.Or(a.Mode, AdmissionEnforce)
	a.IssuerTrust = cmp.Or(a.IssuerTrust, IssuerTrustIgnore)
	a.ClockSkew = cmp.Or(a.ClockSkew, duration(5*time.Minute))
}

func defaultRollout(r *RolloutSpec) {
	r.MaxConcurrent = cmp.Or(r.MaxConcurrent, &intstr.IntOrString{Type: intstr.String, StrVal: "10%"})
	r.MaxConcurrentPerNamespace = cmp.Or(r.MaxConcurrentPerNamespace, new(int32(1)))
	r.OutsideWindows = cmp.Or(r.OutsideWindows, OutsideWindowsWhenBroken)
	r.FailureThreshold = cmp.Or(r.FailureThreshold, new(int32(3)))
	r.ProgressDeadline = cmp.Or(r.ProgressDeadline, duration(10*time.Minute))
	r.MaxAttempts = cmp.Or(r.MaxAttempts, new(int32(3)))
	for i := range r.Windows {
		r.Windows[i].TimeZone = cmp.Or(r.Windows[i].TimeZone, "UTC")
	}
	r.Operators = withKnownOperators(r.Operators)
	p := &r.Policies
	p.Retired = cmp.Or(p.Retired, RetiredNever)
	p.BarePods = cmp.Or(p.BarePods, BarePodsReport)
	p.Jobs = cmp.Or(p.Jobs, JobsWait)
	p.Unmanaged = cmp.Or(p.Unmanaged, UnmanagedReport)
}

// defaultWaves puts the control plane into a wave of its own where there is
// one, so that status names it; Linkerd's extensions serve every other
// namespace and come next.
func defaultWaves(p Profile, controlPlane string) []Wave {
	var waves []Wave
	if controlPlane != "" && p != ProfileGeneric {
		waves = append(waves, Wave{Name: WaveControlPlane, NamespaceSelector: &metav1.LabelSelector{
			MatchLabels: map[string]string{corev1.LabelMetadataName: controlPlane},
		}})
	}
	if p == ProfileLinkerd {
		waves = append(waves, Wave{Name: WaveExtensions, NamespaceSelector: &metav1.LabelSelector{
			MatchExpressions: []metav1.LabelSelectorRequirement{{
				Key: "linkerd.io/extension", Operator: metav1.LabelSelectorOpExists,
			}},
		}})
	}
	return append(waves, Wave{Name: WaveRest, NamespaceSelector: &metav1.LabelSelector{}})
}

func duration(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }
