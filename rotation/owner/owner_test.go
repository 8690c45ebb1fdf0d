package owner

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/rollout"
)

func TestWhatIsExpectedOfAnOwnerThatIsNotRead(t *testing.T) {
	replaces, nothing := rollout.Owner{Observed: true, ByPods: true}, rollout.Owner{Observed: true}
	for name, c := range map[string]struct {
		group, kind string
		want        rollout.Owner
	}{
		"an unknown kind makes up for pods that are gone": {"apps.kruise.io", "CloneSet", replaces},
		"so does one with a known name in another group":  {"example.com", "Deployment", replaces},
		"a Job does":                      {"batch", "Job", replaces},
		"nothing makes up for a bare pod": {"", "Pod", nothing},
		"nor for a mirror pod, which its node has none other for": {"", "Node", nothing},
	} {
		t.Run(name, func(t *testing.T) {
			key := rollout.Key{Group: c.group, Kind: c.kind, Namespace: "shop", Name: "x"}
			got, err := reader(world(nil, interceptor.Funcs{}), nil).Read(t.Context(), key, Surroundings{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Owner{Spec: rollout.OwnerSpec{Key: key, Found: true}, State: c.want}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A Deployment that the cache does not show yet is taken for one that is gone:
// then its ReplicaSets are looked at, and live they name it.
func TestAReplicaSetNamesWhatControlsIt(t *testing.T) {
	key := rollout.Key{Group: "apps", Kind: "ReplicaSet", Namespace: "shop", Name: "web-abc"}
	for name, c := range map[string]struct {
		refs []metav1.OwnerReference
		want rollout.Key
	}{
		"a Deployment": {
			[]metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", Controller: new(true)}},
			rollout.Key{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"},
		},
		"an unknown kind": {
			[]metav1.OwnerReference{{APIVersion: "example.org/v1beta1", Kind: "Canary", Name: "web", Controller: new(true)}},
			rollout.Key{Group: "example.org", Kind: "Canary", Namespace: "shop", Name: "web"},
		},
		"an owner that does not control it":                   {[]metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}}, rollout.Key{}},
		"none, as when its Deployment was deleted without it": {nil, rollout.Key{}},
	} {
		t.Run(name, func(t *testing.T) {
			scheme := runtime.NewScheme()
			if err := appsv1.AddToScheme(scheme); err != nil {
				t.Fatal(err)
			}
			rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, OwnerReferences: c.refs}}
			got, err := reader(fake.NewClientBuilder().WithScheme(scheme).WithObjects(rs).Build(), nil).Read(t.Context(), key, Surroundings{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got.Spec.ControlledBy); diff != "" || !got.Spec.Found {
				t.Errorf("found: %t; controlled by (-want +got):\n%s", got.Spec.Found, diff)
			}
		})
	}
}

func TestAnArgoRolloutIsInFlightByItsPhase(t *testing.T) {
	key := rollout.Key{Group: rolloutKind.Group, Kind: rolloutKind.Kind, Namespace: "shop", Name: "web"}
	for phase, want := range map[string]bool{"Progressing": true, "Healthy": false, "Paused": false, "Degraded": false, "": false} {
		t.Run(phase, func(t *testing.T) {
			u := &unstructured.Unstructured{Object: map[string]any{
				"spec": map[string]any{"replicas": int64(3)},
				"status": map[string]any{
					"phase": phase, "observedGeneration": "0", "replicas": int64(4), "availableReplicas": int64(2),
				},
			}}
			u.SetGroupVersionKind(rolloutKind)
			u.SetNamespace(key.Namespace)
			u.SetName(key.Name)
			c := fake.NewClientBuilder().WithScheme(runtime.NewScheme()).WithObjects(u).Build()
			got, err := reader(c, nil).Read(t.Context(), key, Surroundings{})
			if err != nil {
				t.Fatal(err)
			}
			state := rollout.Owner{Observed: true, Progressing: want, Desired: 3, Updated: 4, Total: 4, Available: 2}
			if diff := cmp.Diff(state, got.State); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// One Rollout that cannot be read, or has a template that is none, must not keep the
// other workloads of the mesh from being looked at.
func TestAnArgoRolloutThatCannotBeReadIsLeftAlone(t *testing.T) {
	key := rollout.Key{Group: rolloutKind.Group, Kind: rolloutKind.Kind, Namespace: "shop", Name: "web"}
	for name, c := range map[string]struct {
		fault error
		verb  v1alpha1.Verb
		says  string
	}{
		"it is forbidden":         {apierrors.NewForbidden(schema.GroupResource{}, "web", errors.New("no")), "", "allow it to get and patch rollouts.argoproj.io"},
		"it cannot be converted":  {apierrors.NewInternalError(errors.New("conversion webhook")), "", "see whether its operator runs"},
		"its template is no such": {nil, v1alpha1.VerbRestartAt, ""},
	} {
		t.Run(name, func(t *testing.T) {
			u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"replicas": int64(3), "template": map[string]any{"spec": "none"}}}}
			u.SetGroupVersionKind(rolloutKind)
			u.SetNamespace(key.Namespace)
			u.SetName(key.Name)
			built := fake.NewClientBuilder().WithScheme(runtime.NewScheme()).WithObjects(u).WithInterceptorFuncs(interceptor.Funcs{
				Get: func(ctx context.Context, inner client.WithWatch, k client.ObjectKey, o client.Object, opts ...client.GetOption) error {
					if c.fault != nil {
						return c.fault
					}
					return inner.Get(ctx, k, o, opts...)
				},
			}).Build()
			got, err := reader(built, nil).Read(t.Context(), key, Surroundings{})
			if err != nil {
				t.Fatal(err)
			}
			verb, hold := rollout.VerbFor(got.Spec, rollout.Policy{})
			if verb != c.verb || !strings.Contains(hold.Message, c.says) {
				t.Errorf("got %q, %q: %s", verb, hold.Reason, hold.Message)
			}
		})
	}
}

func TestAStatefulSetTellsWhereItsPartitionBegins(t *testing.T) {
	replicas, partition := int32(3), int32(1)
	key := rollout.Key{Group: "apps", Kind: kindStatefulSet, Namespace: "shop", Name: "db"}
	for name, c := range map[string]struct {
		ordinals *appsv1.StatefulSetOrdinals
		want     int
	}{
		"at 0 by itself":           {nil, 0},
		"at its ordinals' start":   {&appsv1.StatefulSetOrdinals{Start: 5}, 5},
		"at 0 when they say so to": {&appsv1.StatefulSetOrdinals{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			set := &appsv1.StatefulSet{
				ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
				Spec: appsv1.StatefulSetSpec{Replicas: &replicas, Ordinals: c.ordinals, UpdateStrategy: appsv1.StatefulSetUpdateStrategy{
					RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{Partition: &partition},
				}},
			}
			scheme := runtime.NewScheme()
			_ = appsv1.AddToScheme(scheme)
			stripped, _ := Strip(set)
			got, err := reader(fake.NewClientBuilder().WithScheme(scheme).WithObjects(stripped.(*appsv1.StatefulSet)).Build(), nil).Read(t.Context(), key, Surroundings{})
			if err != nil {
				t.Fatal(err)
			}
			if got.State.Partition != 1 || got.State.FirstOrdinal != c.want {
				t.Errorf("%d of them from %d on, want 1 from %d", got.State.Partition, got.State.FirstOrdinal, c.want)
			}
		})
	}
}

// The decision is made of cached objects, the write of live ones.
func TestATemplateIsJudgedTheSameWhenItIsCached(t *testing.T) {
	pem := bundletest.NewRoot(t, "root", bundletest.From(time.Now().Add(-time.Hour), 2*time.Hour)).PEM()
	linkerd := &mesh.Mesh{Name: "linkerd", Profile: mesh.Linkerd, Namespace: "linkerd"}
	generic := &mesh.Mesh{
		Name: "db", Profile: mesh.Generic, Namespace: "shop", Literal: "CA",
		Bundle: mesh.Reference{Object: mesh.Object{Kind: mesh.Secret, Name: "ca"}, Key: "ca.crt"}, Containers: []string{"a", "b"},
	}
	variable := func(name, value string) []corev1.EnvVar { return []corev1.EnvVar{{Name: name, Value: value}} }
	mounted := []corev1.VolumeMount{{Name: "ca", MountPath: "/ca"}}
	volumes := []corev1.Volume{{Name: "ca", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "ca"}}}}
	const anchors = "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"
	for name, c := range map[string]struct {
		mesh *mesh.Mesh
		spec corev1.PodSpec
		want bool
	}{
		"a proxy with its anchors":    {linkerd, corev1.PodSpec{Containers: []corev1.Container{{Name: "linkerd-proxy", Env: variable(anchors, pem)}}}, true},
		"a proxy with no anchors yet": {linkerd, corev1.PodSpec{Containers: []corev1.Container{{Name: "linkerd-proxy", Env: variable(anchors, "")}}}, false},
		"a proxy whose anchors are to be filled in": {linkerd, corev1.PodSpec{Containers: []corev1.Container{
			{Name: "linkerd-proxy", Env: variable(anchors, "here")}}}, false},
		"another container with anchors": {linkerd, corev1.PodSpec{Containers: []corev1.Container{
			{Name: "linkerd-proxy"}, {Name: "app", Env: variable(anchors, pem)}}}, false},
		"one holds the bundle, the other mounts it": {generic, corev1.PodSpec{Volumes: volumes, Containers: []corev1.Container{
			{Name: "a", Env: variable("CA", pem)}, {Name: "b", VolumeMounts: mounted}}}, true},
		"both mount it": {generic, corev1.PodSpec{Volumes: volumes, Containers: []corev1.Container{
			{Name: "a", VolumeMounts: mounted}, {Name: "b", VolumeMounts: mounted}}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
			d.Spec.Template.Labels = map[string]string{mesh.MeshLabel: "db", mesh.LinkerdControlPlaneLabel: "linkerd"}
			d.Spec.Template.Spec = c.spec
			embeds := func(d *appsv1.Deployment) bool {
				view := mesh.ViewOf(&corev1.Pod{ObjectMeta: d.Spec.Template.ObjectMeta, Spec: d.Spec.Template.Spec})
				view.Namespace = d.Namespace
				return c.mesh.Embeds(view)
			}
			live := embeds(d)
			stripped, err := Strip(d)
			if err != nil {
				t.Fatal(err)
			}
			if cached := embeds(stripped.(*appsv1.Deployment)); live != c.want || cached != c.want {
				t.Errorf("holds the bundle: live %t, cached %t, want %t", live, cached, c.want)
			}
		})
	}
}
