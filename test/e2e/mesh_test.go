package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/hack/lab/injector"
)

// meshWorld is a Linkerd mesh of one scenario.
type meshWorld struct {
	t *testing.T
	// name is that of the MeshTrust and of the control plane's namespace.
	name     string
	root     *bundletest.CA
	injector *injector.Injector
}

var meshes atomic.Int32

// meshOptions say how a scenario's mesh differs from the usual.
type meshOptions struct {
	injector injector.Options
	// spec is the MeshTrust's; nil means newMesh makes none.
	spec *v1alpha1.MeshTrustSpec
}

// quick is a spec for scenarios: short propagation delays, a wide budget.
func quick() *v1alpha1.MeshTrustSpec {
	return &v1alpha1.MeshTrustSpec{
		Profile: v1alpha1.ProfileLinkerd,
		Bundle: v1alpha1.BundleSpec{Propagation: v1alpha1.PropagationSpec{
			Environment: &metav1.Duration{Duration: time.Second}, File: &metav1.Duration{Duration: 2 * time.Second},
		}},
		Rollout: v1alpha1.RolloutSpec{
			MaxConcurrent:             new(intstr.FromInt32(10)),
			MaxConcurrentPerNamespace: new(int32(10)),
		},
	}
}

// newMesh makes a mesh with a root, an issuer under it, a published bundle, an
// injector and a MeshTrust.
func newMesh(t *testing.T, o meshOptions) *meshWorld {
	t.Helper()
	m := &meshWorld{t: t, name: fmt.Sprintf("mesh-%d", meshes.Add(1))}
	m.createNamespace(m.name, nil)
	m.root = bundletest.NewRoot(t, "root.linkerd.cluster.local", lifetime())
	m.publish(m.root)
	m.issue(m.root)
	m.allowReading()
	m.allowProbes()
	o.injector.ControlPlane = m.name
	var err error
	if m.injector, err = injector.Start(t.Context(), env.lab.Config(), o.injector); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.injector.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if o.spec != nil {
		m.trust(*o.spec)
	}
	return m
}

func lifetime() bundletest.Validity {
	return bundletest.From(time.Now().Add(-time.Hour), 365*24*time.Hour)
}

// trust creates the MeshTrust of the mesh.
func (m *meshWorld) trust(spec v1alpha1.MeshTrustSpec) {
	m.t.Helper()
	spec.ControlPlaneNamespace = m.name
	mt := &v1alpha1.MeshTrust{ObjectMeta: metav1.ObjectMeta{Name: m.name}, Spec: spec}
	create(m.t, mt)
	m.t.Cleanup(func() { env.client.Delete(context.Background(), mt) })
}

// publish writes the bundle, in the order given.
func (m *meshWorld) publish(anchors ...*bundletest.CA) {
	m.t.Helper()
	var text strings.Builder
	for _, a := range anchors {
		text.WriteString(a.PEM())
	}
	m.publishText(text.String())
}

func (m *meshWorld) publishText(text string) {
	m.t.Helper()
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: m.name, Name: injector.BundleConfigMap}}
	err := env.client.Get(m.t.Context(), client.ObjectKeyFromObject(cm), cm)
	cm.Data = map[string]string{injector.BundleKey: text}
	if err != nil {
		create(m.t, cm)
	} else if err := env.client.Update(m.t.Context(), cm); err != nil {
		m.t.Fatal(err)
	}
}

// issue puts an issuer under the root into the Secret that identity uses.
func (m *meshWorld) issue(root *bundletest.CA) {
	m.t.Helper()
	issuer := root.Intermediate("identity.linkerd.cluster.local", bundletest.From(time.Now().Add(-time.Minute), 48*time.Hour))
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: m.name, Name: "linkerd-identity-issuer"}}
	err := env.client.Get(m.t.Context(), client.ObjectKeyFromObject(s), s)
	s.Data = map[string][]byte{"crt.pem": []byte(issuer.PEM()), "key.pem": []byte(issuer.KeyPEM())}
	if err != nil {
		create(m.t, s)
	} else if err := env.client.Update(m.t.Context(), s); err != nil {
		m.t.Fatal(err)
	}
}

// allowReading gives the controller what manifests/controller/linkerd-rbac.yaml
// gives it for a mesh in namespace linkerd.
func (m *meshWorld) allowReading() {
	m.t.Helper()
	role := &rbacv1.Role{}
	if err := env.client.Get(m.t.Context(), client.ObjectKey{Namespace: "linkerd", Name: "reanchor-controller"}, role); err != nil {
		m.t.Fatal(err)
	}
	m.grant(m.name, role)
}

// probeNamespace is where the fence's dry runs for this mesh are made; no other
// scenario's are.
func (m *meshWorld) probeNamespace() string { return m.name + "-probe" }

// allowProbes makes the namespace of the fence's dry runs, as
// manifests/controller does for a single mesh.
func (m *meshWorld) allowProbes() {
	m.t.Helper()
	name := m.probeNamespace()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		injector.MeshLabel: m.name, v1alpha1.ProbeForLabel: m.name, "pod-security.kubernetes.io/enforce": "privileged",
	}}}
	create(m.t, ns)
	m.t.Cleanup(func() { env.client.Delete(context.Background(), ns) })
	role := &rbacv1.Role{}
	if err := env.client.Get(m.t.Context(), client.ObjectKey{Namespace: "reanchor-probe", Name: "reanchor-probe"}, role); err != nil {
		m.t.Fatal(err)
	}
	m.grant(name, role)
}

// grant gives the controller a role of the manifests in another namespace.
func (m *meshWorld) grant(namespace string, role *rbacv1.Role) {
	m.t.Helper()
	create(m.t, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: role.Name}, Rules: role.Rules})
	create(m.t, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "reanchor-system", Name: "reanchor-controller"}},
	})
}

// namespace makes a namespace whose pods belong to the mesh and are injected.
func (m *meshWorld) namespace(name string) string {
	m.t.Helper()
	name = m.name + "-" + name
	m.createNamespace(name, map[string]string{"linkerd.io/inject": "enabled"})
	return name
}

func (m *meshWorld) createNamespace(name string, annotations map[string]string) {
	m.t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{injector.MeshLabel: m.name}, Annotations: annotations,
	}}
	create(m.t, ns)
	m.t.Cleanup(func() { env.client.Delete(context.Background(), ns) })
}

// status returns the MeshTrust as it is now.
func (m *meshWorld) status() *v1alpha1.MeshTrust {
	m.t.Helper()
	var mt v1alpha1.MeshTrust
	if err := env.client.Get(m.t.Context(), client.ObjectKey{Name: m.name}, &mt); err != nil {
		m.t.Fatal(err)
	}
	return &mt
}

// update changes the MeshTrust, again when somebody else changed it meanwhile.
func (m *meshWorld) update(change func(*v1alpha1.MeshTrust)) {
	m.t.Helper()
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		mt := m.status()
		change(mt)
		return env.client.Update(m.t.Context(), mt)
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

// serves reports whether the injector writes an anchor into new pods: by a dry
// run in the control plane's namespace.
func (m *meshWorld) serves(anchor *bundletest.CA) error {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: m.name, GenerateName: "dry-", Annotations: map[string]string{"linkerd.io/inject": "enabled"}},
		Spec:       podTemplate("dry", nil).Spec,
	}
	if err := env.client.Create(m.t.Context(), pod, client.DryRunAll); err != nil {
		return err
	}
	if !anchorsOf(m.t, pod).Contains(anchor.Fingerprint()) {
		return fmt.Errorf("the injector of %s serves an older bundle", m.name)
	}
	return nil
}
