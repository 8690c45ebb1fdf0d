// Package recovery holds the scenarios in which new pods are refused for a
// while: with the webhook and the controller both installed, owners get their
// pods back soon after the reason is gone, not when their back-off ends.
package recovery

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/lab/injector"
	"github.com/reanchor/reanchor/hack/local"
)

const nodes = 2

type world struct {
	client client.Client
	local  *local.Local
}

func start(t *testing.T) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute) // a first start builds the lab
	defer cancel()
	l, err := lab.Start(ctx, lab.Options{Nodes: nodes, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := errors.Join(l.NodesStayedReady(ctx), l.Stop()); err != nil {
			t.Error(err)
		}
	})
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	w := &world{}
	if w.client, err = client.New(l.Config(), client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	if w.local, err = local.Start(ctx, l, w.client, local.Options{Root: "../..", Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.local.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the controller's log ends:\n%s", w.local.Controller.Tail(30))
		}
	})
	i, err := injector.Start(ctx, l.Config(), injector.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.Kill() })
	return w
}

func (w *world) create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := w.client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// publish writes the bundle and an issuer below its first anchor.
func (w *world) publish(t *testing.T, anchors ...*bundletest.CA) {
	t.Helper()
	var text strings.Builder
	for _, a := range anchors {
		text.WriteString(a.PEM())
	}
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "linkerd", Name: injector.BundleConfigMap}}
	issuer := anchors[0].Intermediate("identity.linkerd.cluster.local", bundletest.From(time.Now().Add(-time.Minute), 48*time.Hour))
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "linkerd", Name: "linkerd-identity-issuer"}}
	for _, o := range []client.Object{cm, secret} {
		if err := client.IgnoreAlreadyExists(w.client.Create(t.Context(), o)); err != nil {
			t.Fatal(err)
		}
	}
	cm.Data = map[string]string{injector.BundleKey: text.String()}
	secret.Data = map[string][]byte{"tls.crt": []byte(issuer.PEM()), "tls.key": []byte(issuer.KeyPEM())}
	for _, o := range []client.Object{cm, secret} {
		o.SetResourceVersion("")
		if err := w.client.Update(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) mesh(t *testing.T) {
	t.Helper()
	w.create(t, &v1alpha1.MeshTrust{ObjectMeta: metav1.ObjectMeta{Name: "linkerd"}, Spec: v1alpha1.MeshTrustSpec{
		Profile: v1alpha1.ProfileLinkerd,
		Bundle: v1alpha1.BundleSpec{Propagation: v1alpha1.PropagationSpec{
			Environment: &metav1.Duration{Duration: time.Second}, File: &metav1.Duration{Duration: 2 * time.Second},
		}},
		Admission: v1alpha1.AdmissionSpec{ClockSkew: &metav1.Duration{Duration: time.Second}},
	}})
}

// deploy creates a namespace of its own with one owner of each kind, and returns
// the number of pods that each is to have.
func (w *world) deploy(t *testing.T, namespace string) map[string]int {
	t.Helper()
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "web"}
	template := func(app string) (*metav1.LabelSelector, corev1.PodTemplateSpec) {
		labels := map[string]string{"app": app}
		return &metav1.LabelSelector{MatchLabels: labels}, corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web"}}},
		}
	}
	deployment := &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: new(int32(2))}}
	deployment.Spec.Selector, deployment.Spec.Template = template("deployment")
	statefulSet := &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Replicas: new(int32(1)), ServiceName: "web"}}
	statefulSet.Spec.Selector, statefulSet.Spec.Template = template("statefulset")
	daemonSet := &appsv1.DaemonSet{ObjectMeta: meta}
	daemonSet.Spec.Selector, daemonSet.Spec.Template = template("daemonset")
	w.create(t,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Annotations: map[string]string{"linkerd.io/inject": "enabled"}}},
		deployment, statefulSet, daemonSet)
	return map[string]int{"ReplicaSet": 2, "StatefulSet": 1, "DaemonSet": nodes}
}

// pods counts the pods of each kind of owner.
func (w *world) pods(t *testing.T, namespace string) map[string]int {
	t.Helper()
	var list corev1.PodList
	if err := w.client.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for i := range list.Items {
		if owner := metav1.GetControllerOf(&list.Items[i]); owner != nil {
			out[owner.Kind]++
		}
	}
	return out
}

func TestOwnersOfRefusedPodsAreWokenWhenTheReasonIsGone(t *testing.T) {
	w := start(t)
	valid := bundletest.From(time.Now().Add(-time.Hour), 24*time.Hour)
	root := bundletest.NewRoot(t, "root", valid)

	expired := bundletest.NewRoot(t, "root", bundletest.From(time.Now().Add(-2*time.Hour), time.Hour))
	w.publish(t, expired)
	w.mesh(t)
	owners := w.deploy(t, "denied")
	retry := w.refused(t, "denied", "expired at", owners)
	w.publish(t, root)
	// The mesh's injector must be known to write the new bundle: its file's
	// propagation delay of two seconds is part of the wait.
	w.comeBack(t, "denied", owners, retry)
	w.woken(t, "denied", bundle.Of(root.Cert).Hash())

	w.local.Webhook.Kill()
	owners = w.deploy(t, "unanswered")
	retry = w.refused(t, "unanswered", "failed calling webhook", owners)
	if err := w.local.ReviveWebhook(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.comeBack(t, "unanswered", owners, retry)
	w.woken(t, "unanswered", "webhook-answers.")
}
