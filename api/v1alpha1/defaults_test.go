package v1alpha1

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// absent is how the flattened spec shows what is nil, empty or false.
const absent = ""

// TestDefaultsAreTheDocumentedOnes compares every field of the spec with its
// row in docs/defaults.md, both ways.
func TestDefaultsAreTheDocumentedOnes(t *testing.T) {
	columns, rows := readTable(t, "../../docs/defaults.md")
	want := []string{"Linkerd", "Istio", "EnvoyGateway", "Generic"}
	if diff := cmp.Diff(want, columns); diff != "" {
		t.Fatalf("columns of docs/defaults.md (-want +got):\n%s", diff)
	}
	for i, profile := range columns {
		mt := &MeshTrust{Spec: MeshTrustSpec{Profile: Profile(profile), Rotation: &RotationSpec{AnchorTemplate: &AnchorTemplate{}}}}
		mt.Name = "blue"
		code := map[string]string{}
		flatten(code, "", reflect.ValueOf(mt.EffectiveSpec()))
		delete(code, "profile")
		doc := map[string]string{}
		for field, cells := range rows {
			doc[field] = documented(cells[i], mt.Name)
		}
		if diff := cmp.Diff(doc, code); diff != "" {
			t.Errorf("profile %s (-docs/defaults.md +code):\n%s", profile, diff)
		}
	}
}

// documented returns what a cell says about an absent field as absent.
func documented(cell, name string) string {
	if strings.HasPrefix(cell, "_") || cell == "false" {
		return absent
	}
	return strings.ReplaceAll(cell, "`<name>`", name)
}

// readTable returns the head and the rows of the only table of a page.
func readTable(t *testing.T, path string) ([]string, map[string][]string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var columns []string
	rows := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|-") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if columns == nil {
			columns = cells[1:]
			continue
		}
		rows[strings.Trim(cells[0], "`")] = cells[1:]
	}
	return columns, rows
}

// flatten writes every leaf field of a spec under its JSON path, walking into
// absent structs too, so that a new field without a row is noticed.
func flatten(out map[string]string, path string, v reflect.Value) {
	if text, ok := leaf(v); ok {
		out[path] = text
		return
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v = reflect.New(v.Type().Elem())
		}
		v = v.Elem()
	}
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		flatten(out, strings.TrimPrefix(path+"."+name, "."), v.Field(i))
	}
}

func leaf(v reflect.Value) (string, bool) {
	switch x := v.Interface().(type) {
	case *metav1.Duration:
		if x == nil {
			return absent, true
		}
		return x.Duration.String(), true
	case *intstr.IntOrString:
		return x.String(), true
	case []Wave:
		return describeWaves(x), true
	case []OperatorKind:
		return describeOperators(x), true
	}
	elem := v
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		elem = v.Elem()
	}
	switch elem.Kind() {
	case reflect.Struct, reflect.Pointer:
		return "", false
	default:
		if elem.IsZero() {
			return absent, true
		}
		return fmt.Sprint(elem.Interface()), true
	}
}

func describeWaves(waves []Wave) string {
	var out []string
	for _, w := range waves {
		selector := metav1.FormatLabelSelector(w.NamespaceSelector)
		if len(w.NamespaceSelector.MatchLabels)+len(w.NamespaceSelector.MatchExpressions) == 0 {
			selector = "every namespace"
		}
		out = append(out, fmt.Sprintf("%s (%s)", w.Name, selector))
	}
	return strings.Join(out, ", ")
}

func describeOperators(kinds []OperatorKind) string {
	var out []string
	for _, k := range kinds {
		how := "evicted"
		if a := k.Annotation; a != nil && a.Text != "" {
			how = fmt.Sprintf("%s: %q", a.Key, a.Text)
		} else if a != nil {
			how = fmt.Sprintf("%s: %s", a.Key, a.Value)
		}
		out = append(out, fmt.Sprintf("%s.%s (%s)", k.Kind, k.Group, how))
	}
	return strings.Join(out, ", ")
}

func TestDefaultsFollowOtherFields(t *testing.T) {
	for name, c := range map[string]struct {
		spec MeshTrustSpec
		got  func(MeshTrustSpec) any
		want any
	}{
		"the control plane is where the bundle is": {
			MeshTrustSpec{Profile: ProfileLinkerd, Bundle: BundleSpec{ConfigMapRef: &KeyRef{Namespace: "l5d", Name: "roots"}}},
			func(s MeshTrustSpec) any { return s.ControlPlaneNamespace }, "l5d",
		},
		"the issuer is where the bundle is": {
			MeshTrustSpec{Profile: ProfileLinkerd, Bundle: BundleSpec{SecretRef: &KeyRef{Namespace: "l5d", Name: "roots"}}},
			func(s MeshTrustSpec) any { return *s.Issuer.SecretRef },
			KeyRef{Namespace: "l5d", Name: "linkerd-identity-issuer"},
		},
		"the bundle is where the control plane is": {
			MeshTrustSpec{Profile: ProfileLinkerd, ControlPlaneNamespace: "l5d"},
			func(s MeshTrustSpec) any { return *s.Bundle.ConfigMapRef },
			KeyRef{Namespace: "l5d", Name: "linkerd-identity-trust-roots", Key: "ca-bundle.crt"},
		},
		"a Generic mesh has no control plane where its bundle is": {
			MeshTrustSpec{Profile: ProfileGeneric, Bundle: BundleSpec{SecretRef: &KeyRef{Namespace: "rabbit", Name: "ca"}}},
			func(s MeshTrustSpec) any { return s.ControlPlaneNamespace }, "",
		},
		"a ClusterTrustBundle has no namespace": {
			MeshTrustSpec{Profile: ProfileLinkerd, Bundle: BundleSpec{ClusterTrustBundleRef: &ClusterObjectRef{Name: "roots"}}},
			func(s MeshTrustSpec) any {
				return []any{s.ControlPlaneNamespace, s.Bundle.ConfigMapRef == nil, s.Bundle.SecretRef == nil}
			},
			[]any{"linkerd", true, true},
		},
		"a reference without a key gets the profile's": {
			MeshTrustSpec{Profile: ProfileGeneric, Bundle: BundleSpec{SecretRef: &KeyRef{Namespace: "rabbit", Name: "ca"}}},
			func(s MeshTrustSpec) any { return *s.Bundle.SecretRef },
			KeyRef{Namespace: "rabbit", Name: "ca", Key: "ca.crt"},
		},
		"with generations the issuer is read from its Certificate": {
			MeshTrustSpec{Profile: ProfileLinkerd, ControlPlaneNamespace: "l5d", Rotation: &RotationSpec{}},
			func(s MeshTrustSpec) any { return s.Issuer },
			IssuerSpec{CertificateRef: &ObjectRef{Namespace: "l5d", Name: "linkerd-identity-issuer"}},
		},
		"in place it is read from its Secret": {
			MeshTrustSpec{Profile: ProfileLinkerd, Rotation: &RotationSpec{Layout: LayoutInPlace}},
			func(s MeshTrustSpec) any { return s.Issuer },
			IssuerSpec{SecretRef: &KeyRef{Namespace: "linkerd", Name: "linkerd-identity-issuer"}},
		},
		"an issuer that is chosen is kept": {
			MeshTrustSpec{Profile: ProfileLinkerd, Issuer: IssuerSpec{CertificateRef: &ObjectRef{Namespace: "a", Name: "b"}}},
			func(s MeshTrustSpec) any { return s.Issuer },
			IssuerSpec{CertificateRef: &ObjectRef{Namespace: "a", Name: "b"}},
		},
		"a window without a zone is in UTC": {
			MeshTrustSpec{Rollout: RolloutSpec{Windows: []Window{{Schedule: "0 0 * * *"}, {TimeZone: "Asia/Tokyo"}}}},
			func(s MeshTrustSpec) any {
				return []string{s.Rollout.Windows[0].TimeZone, s.Rollout.Windows[1].TimeZone}
			},
			[]string{"UTC", "Asia/Tokyo"},
		},
		"numbers that are chosen are kept": {
			MeshTrustSpec{Rollout: RolloutSpec{MaxConcurrent: new(intstr.FromInt32(7)), FailureThreshold: new(int32(1))}},
			func(s MeshTrustSpec) any {
				return []any{s.Rollout.MaxConcurrent.IntValue(), *s.Rollout.FailureThreshold}
			},
			[]any{7, int32(1)},
		},
		"a clock skew of zero is a choice": {
			MeshTrustSpec{Admission: AdmissionSpec{ClockSkew: &metav1.Duration{}}},
			func(s MeshTrustSpec) any { return s.Admission.ClockSkew.Duration }, time.Duration(0),
		},
		"no rotation stays no rotation": {
			MeshTrustSpec{Profile: ProfileLinkerd},
			func(s MeshTrustSpec) any { return s.Rotation == nil }, true,
		},
		"an RSA anchor has 4096 bits": {
			MeshTrustSpec{Profile: ProfileLinkerd, Rotation: &RotationSpec{AnchorTemplate: &AnchorTemplate{PrivateKey: AnchorKey{Algorithm: KeyRSA}}}},
			func(s MeshTrustSpec) any { return s.Rotation.AnchorTemplate.PrivateKey.Size }, int32(4096),
		},
		"InPlace has a previous anchor and no template": {
			MeshTrustSpec{Profile: ProfileLinkerd, Rotation: &RotationSpec{Layout: LayoutInPlace}},
			func(s MeshTrustSpec) any {
				return []any{*s.Rotation.PreviousAnchorSecretRef, s.Rotation.AnchorTemplate == nil}
			},
			[]any{ObjectRef{Namespace: "cert-manager", Name: "linkerd-previous-anchor"}, true},
		},
		"an operator's annotation is a token among its own annotations": {
			MeshTrustSpec{Rollout: RolloutSpec{Operators: []OperatorKind{{Group: "example.com", Kind: "Database", Annotation: &RestartAnnotation{Key: "restart"}}}}},
			func(s MeshTrustSpec) any { return *s.Rollout.Operators[0].Annotation },
			RestartAnnotation{Key: "restart", Path: "metadata.annotations", Value: RestartToken},
		},
		"a text that is chosen is no token": {
			MeshTrustSpec{Rollout: RolloutSpec{Operators: []OperatorKind{{Group: "example.com", Kind: "Database", Annotation: &RestartAnnotation{Key: "restart", Path: "spec.podAnnotations", Text: "now"}}}}},
			func(s MeshTrustSpec) any { return *s.Rollout.Operators[0].Annotation },
			RestartAnnotation{Key: "restart", Path: "spec.podAnnotations", Text: "now"},
		},
		"an entry of the same group and kind replaces a known operator": {
			MeshTrustSpec{Rollout: RolloutSpec{Operators: []OperatorKind{{Group: "postgresql.cnpg.io", Kind: "Cluster", Evict: true}, {Group: "example.com", Kind: "StrimziPodSet", Evict: true}}}},
			func(s MeshTrustSpec) any { return describeOperators(s.Rollout.Operators) },
			`Cluster.postgresql.cnpg.io (evicted), StrimziPodSet.example.com (evicted), StrimziPodSet.core.strimzi.io (strimzi.io/manual-rolling-update: "true")`,
		},
		"waves that are chosen replace the default ones": {
			MeshTrustSpec{Profile: ProfileLinkerd, Rollout: RolloutSpec{Waves: []Wave{{Name: "one"}}}},
			func(s MeshTrustSpec) any { return len(s.Rollout.Waves) }, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			mt := &MeshTrust{Spec: c.spec}
			before := mt.DeepCopy()
			if diff := cmp.Diff(c.want, c.got(mt.EffectiveSpec())); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, mt); diff != "" {
				t.Errorf("EffectiveSpec changed the object (-before +after):\n%s", diff)
			}
		})
	}
}

func TestEffectiveSpecIsAFixedPoint(t *testing.T) {
	for _, p := range []Profile{ProfileLinkerd, ProfileIstio, ProfileEnvoyGateway, ProfileGeneric} {
		for _, layout := range []Layout{"", LayoutInPlace} {
			mt := &MeshTrust{Spec: MeshTrustSpec{Profile: p, Rotation: &RotationSpec{Layout: layout}}}
			once := mt.EffectiveSpec()
			mt.Spec = once
			if diff := cmp.Diff(once, mt.EffectiveSpec()); diff != "" {
				t.Errorf("%s %s (-once +twice):\n%s", p, layout, diff)
			}
		}
	}
}

func TestKeysOfAnIssuerSecret(t *testing.T) {
	if got := (KeyRef{}).Keys(DefaultIssuerKeys()...); !slices.Equal(got, []string{"tls.crt", "crt.pem"}) {
		t.Errorf("without a key: %v", got)
	}
	if got := (KeyRef{Key: "ca.pem"}).Keys(DefaultIssuerKeys()...); !slices.Equal(got, []string{"ca.pem"}) {
		t.Errorf("with a key: %v", got)
	}
}
