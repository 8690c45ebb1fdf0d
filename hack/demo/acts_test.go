package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
)

// asProgram makes the test binary the demo itself.
const asProgram = "DEMO_RUNS_AS_A_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// staged is a world without a cluster, in which answer decides what becomes of
// each object that is created, and what a Deployment's pods are like.
func staged(t *testing.T, published bundle.Set, answer func(client.Object) error, pod func(name string) corev1.Pod) *world {
	t.Helper()
	mesh := &linkerd.Mesh{Names: linkerd.NamesOf(linkerd.DefaultName)}
	key := mesh.BundleKey()
	create := func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
		if err := answer(o); err != nil {
			return err
		}
		d, ok := o.(*appsv1.Deployment)
		for i := 0; ok && i < int(*d.Spec.Replicas); i++ {
			p := pod(fmt.Sprint(d.Name, "-", i))
			p.Namespace, p.Labels = d.Namespace, map[string]string{linkerd.ControlPlaneLabel: mesh.Mesh}
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
			if err := c.Create(ctx, &p); err != nil {
				return err
			}
		}
		return c.Create(ctx, o, options...)
	}
	c := fake.NewClientBuilder().WithInterceptorFuncs(interceptor.Funcs{Create: create}).WithObjects(&corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Data: map[string]string{bundleKey: string(published.PEM())},
	}).Build()
	return &world{client: c, mesh: mesh, out: io.Discard}
}

func TestTheFirstActFailsUnlessPodsAreStamped(t *testing.T) {
	published := anchor(t, "published")
	for name, tc := range map[string]struct {
		pod  func(name string) corev1.Pod
		want string // "" when all is well
	}{
		"they are": {func(name string) corev1.Pod { return carrying(name, published) }, ""},
		"they are not": {func(name string) corev1.Pod {
			p := carrying(name, published)
			delete(p.Annotations, v1alpha1.TrustBundleHashAnnotation)
			return p
		}, `pod web-0 has the stamp ""`},
	} {
		t.Run(name, func(t *testing.T) {
			w := staged(t, published, func(client.Object) error { return nil }, tc.pod)
			want(t, w.stamp(t.Context()), tc.want)
		})
	}
}

func TestTheSecondActFailsUnlessThePodIsDenied(t *testing.T) {
	for name, tc := range map[string]struct {
		answer error
		denied int
		want   string
	}{
		"it is":                   {apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "left-behind", errors.New(denier+": expired")), 1, ""},
		"it is admitted":          {nil, 0, "was admitted"},
		"somebody else denies it": {apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "left-behind", errors.New("quota")), 0, "not denied but"},
	} {
		t.Run(name, func(t *testing.T) {
			w := staged(t, anchor(t, "published"), func(client.Object) error { return tc.answer }, nil)
			want(t, w.deny(t.Context()), tc.want)
			if w.denied != tc.denied {
				t.Errorf("%d denials were counted, want %d", w.denied, tc.denied)
			}
		})
	}
}

func TestAnActThatFailsIsTheLast(t *testing.T) {
	var played []string
	act := func(name string, err error) func(context.Context) error {
		return func(context.Context) error { played = append(played, name); return err }
	}
	failed := errors.New("the second has failed")
	if err := perform(t.Context(), act("first", nil), act("second", failed), act("third", nil)); !errors.Is(err, failed) {
		t.Errorf("the error is %v, want %v", err, failed)
	}
	if got := strings.Join(played, " "); got != "first second" {
		t.Errorf("%s were played", got)
	}
	if err := perform(t.Context(), act("first", nil), act("second", nil)); err != nil {
		t.Error(err)
	}
}

func TestAFailureIsSaidAndIsTheExitCode(t *testing.T) {
	command := exec.CommandContext(t.Context(), os.Args[0], "--kubeconfig", filepath.Join(t.TempDir(), "none"))
	command.Env = append(os.Environ(), asProgram+"=1")
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := command.Run(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("it ends with %v, want exit code 1", err)
	}
	if !strings.HasPrefix(errs.String(), "demo: loading the kubeconfig: ") {
		t.Errorf("it says %q, want what failed", errs.String())
	}
	if strings.Contains(out.String(), "Summary") {
		t.Errorf("it sums up what was not shown: %s", out.String())
	}
}
