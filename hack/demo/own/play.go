package own

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
)

// The application.
const (
	deployments = 4
	replicas    = 2
)

// propagation is how long a kubelet may hand out an older ConfigMap (the default
// of spec.bundle.propagation.environment), and a moment.
const propagation = 12 * time.Second

// play publishes a bundle, deploys what reads it at its start, widens the bundle
// and watches the roll.
func (w *world) play(ctx context.Context) error {
	began := time.Now()
	first, second, err := anchors()
	if err != nil {
		return err
	}
	if err := w.mesh(ctx, first); err != nil {
		return err
	}
	w.heading(fmt.Sprintf("%d Deployments of %d pods that read the bundle when they start", deployments, replicas))
	if err := w.deploy(ctx); err != nil {
		return err
	}
	before, err := w.awaitPods(ctx)
	if err != nil {
		return err
	}
	if err := w.awaitConverged(ctx, first, nil); err != nil {
		return err
	}
	w.heading("A second anchor is published; nothing in Kubernetes restarts a pod for that")
	published, err := w.publish(ctx, first+second)
	if err != nil {
		return err
	}
	if err := w.awaitConverged(ctx, first+second, w.table()); err != nil {
		return err
	}
	if err := w.check(ctx, before, published); err != nil {
		return err
	}
	w.heading("Summary")
	fmt.Fprintf(w.out, "  workloads rolled  %d, each once\n  pods replaced     %d\n  time              %s\n",
		deployments, len(before), time.Since(began).Round(time.Second))
	return nil
}

// anchors are two roots, of nobody's mesh.
func anchors() (first, second string, err error) {
	var text [2]string
	for i := range text {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return "", "", fmt.Errorf("making a key: %w", err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i) + 1), Subject: pkix.Name{CommonName: fmt.Sprintf("reanchor-demo anchor %d", i+1)},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true,
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			return "", "", fmt.Errorf("making a certificate: %w", err)
		}
		text[i] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return text[0], text[1], nil
}

// mesh publishes the first bundle, tells Reanchor of it, and waits until a pod
// that starts surely reads it.
func (w *world) mesh(ctx context.Context, first string) error {
	w.heading("A mesh of profile Generic, and its trust bundle in a ConfigMap")
	if _, err := w.publish(ctx, first); err != nil {
		return err
	}
	mt := labelled(&v1alpha1.MeshTrust{
		ObjectMeta: metav1.ObjectMeta{Name: meshName},
		Spec: v1alpha1.MeshTrustSpec{
			Profile: v1alpha1.ProfileGeneric, Issuer: v1alpha1.IssuerSpec{None: true},
			Bundle:  v1alpha1.BundleSpec{ConfigMapRef: &v1alpha1.KeyRef{Namespace: appNamespace, Name: bundleName, Key: bundleKey}},
			Rollout: v1alpha1.RolloutSpec{MaxConcurrent: new(intstr.FromInt32(2)), MaxConcurrentPerNamespace: new(int32(2))},
		},
	})
	if err := w.client.Create(ctx, mt); err != nil {
		return fmt.Errorf("creating the MeshTrust: %w", err)
	}
	if err := w.awaitConverged(ctx, first, nil); err != nil {
		return err
	}
	w.step(fmt.Sprintf("waiting %s: until then a kubelet may hand out what was there before", propagation))
	ready := time.Now().Add(propagation)
	return w.await(ctx, 2*propagation, "the bundle to propagate", func() (bool, error) { return time.Now().After(ready), nil })
}

// publish writes the bundle and returns when that was, by the API server's clock.
func (w *world) publish(ctx context.Context, text string) (time.Time, error) {
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: appNamespace, Name: bundleName}}
	err := w.client.Get(ctx, client.ObjectKeyFromObject(cm), cm)
	there := err == nil
	if client.IgnoreNotFound(err) != nil {
		return time.Time{}, fmt.Errorf("reading the bundle: %w", err)
	}
	cm.Data = map[string]string{bundleKey: text}
	if there {
		err = w.client.Update(ctx, cm)
	} else {
		err = w.client.Create(ctx, labelled(cm))
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("writing the bundle: %w", err)
	}
	written := cm.CreationTimestamp.Time
	for _, f := range cm.ManagedFields {
		if f.Time != nil && f.Time.After(written) {
			written = f.Time.Time
		}
	}
	return written, nil
}

func (w *world) deploy(ctx context.Context) error {
	for i := range deployments {
		if err := w.client.Create(ctx, w.deployment(fmt.Sprintf("web-%d", i+1))); err != nil {
			return fmt.Errorf("creating a Deployment: %w", err)
		}
	}
	return nil
}

// deployment is one whose pods any cluster admits, and that read the bundle into
// their environment, as many a proxy does.
func (w *world) deployment(name string) *appsv1.Deployment {
	yes, no, user := true, false, int64(65532)
	labels := map[string]string{"app": name, v1alpha1.MeshLabel: meshName}
	return labelled(&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: appNamespace, Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(replicas)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					NodeSelector:                  map[string]string{corev1.LabelOSStable: "linux"},
					AutomountServiceAccountToken:  &no,
					TerminationGracePeriodSeconds: new(int64(1)),
					SecurityContext: &corev1.PodSecurityContext{
						RunAsNonRoot: &yes, RunAsUser: &user, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
					},
					Containers: []corev1.Container{{
						Name: "web", Image: w.options.Image,
						Env: []corev1.EnvVar{{Name: "TRUST_ANCHORS", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
							LocalObjectReference: corev1.LocalObjectReference{Name: bundleName}, Key: bundleKey,
						}}}},
						Resources: corev1.ResourceRequirements{
							Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1m"), corev1.ResourceMemory: resource.MustParse("8Mi")},
							Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("32Mi")},
						},
						SecurityContext: &corev1.SecurityContext{
							AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
						},
					}},
				},
			},
		},
	})
}

// awaitPods waits until the application runs, with no old pod left.
func (w *world) awaitPods(ctx context.Context) ([]corev1.Pod, error) {
	const want = deployments * replicas
	var list corev1.PodList
	err := w.await(ctx, 3*time.Minute, fmt.Sprintf("%d ready pods in %s", want, appNamespace), func() (bool, error) {
		if err := w.client.List(ctx, &list, client.InNamespace(appNamespace)); err != nil {
			return false, err
		}
		unready := slices.ContainsFunc(list.Items, func(p corev1.Pod) bool {
			return p.DeletionTimestamp != nil || !slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
			})
		})
		return len(list.Items) == want && !unready, nil
	})
	return list.Items, err
}

// convergeWithin is more than the few rolls of the demo take.
const convergeWithin = 5 * time.Minute

// awaitConverged waits until the MeshTrust has converged on a bundle, and shows
// each of its states, of which some last for less than a second.
func (w *world) awaitConverged(ctx context.Context, text string, show func(*v1alpha1.MeshTrust)) error {
	set, err := bundle.Parse([]byte(text))
	if err != nil {
		return fmt.Errorf("reading the demo's own bundle: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, convergeWithin, fmt.Errorf("not there after %s", convergeWithin))
	defer cancel()
	for {
		ended, err := w.follow(ctx, func(mt *v1alpha1.MeshTrust) bool {
			if show != nil {
				show(mt)
			}
			return mt.Status.Bundle != nil && mt.Status.Bundle.Hash == set.Hash() &&
				apimeta.IsStatusConditionTrue(mt.Status.Conditions, v1alpha1.ConditionConverged)
		})
		if err != nil {
			return fmt.Errorf("waiting for the mesh to converge: %w", err)
		}
		if !ended {
			return nil
		}
	}
}

// follow looks at each state of the MeshTrust until done is true, or until the
// watch has ended, as the API server's do after a time.
func (w *world) follow(ctx context.Context, done func(*v1alpha1.MeshTrust) bool) (ended bool, err error) {
	events, err := w.client.Watch(ctx, &v1alpha1.MeshTrustList{}, client.MatchingFields{metav1.ObjectNameField: meshName})
	if err != nil {
		return false, fmt.Errorf("watching the MeshTrust: %w", err)
	}
	defer events.Stop()
	for e := range events.ResultChan() {
		if e.Type == watch.Error {
			return false, fmt.Errorf("watching the MeshTrust: %w", apierrors.FromObject(e.Object))
		}
		if mt, ok := e.Object.(*v1alpha1.MeshTrust); ok && done(mt) {
			return false, nil
		}
	}
	return true, context.Cause(ctx)
}

// table prints a line for each change of the status.
func (w *world) table() func(*v1alpha1.MeshTrust) {
	began, last := time.Now(), ""
	fmt.Fprintf(w.out, "  %6s %7s %7s %8s   %s\n", "TIME", "CURRENT", "STALE", "ROLLING", "STATUS")
	return func(mt *v1alpha1.MeshTrust) {
		status := ""
		if c := apimeta.FindStatusCondition(mt.Status.Conditions, v1alpha1.ConditionReady); c != nil {
			status = c.Reason
		}
		line := fmt.Sprintf("%7d %7d %8d   %s", mt.Status.Pods.Current, mt.Status.Pods.Stale, mt.Status.Rollout.InProgressTotal, status)
		if line != last {
			fmt.Fprintf(w.out, "  %5.0fs %s\n", time.Since(began).Seconds(), line)
			last = line
		}
	}
}

// check asks the cluster, not Reanchor.
func (w *world) check(ctx context.Context, before []corev1.Pod, published time.Time) error {
	after, err := w.awaitPods(ctx)
	if err != nil {
		return err
	}
	var sets appsv1.ReplicaSetList
	if err := w.client.List(ctx, &sets, client.InNamespace(appNamespace)); err != nil {
		return fmt.Errorf("listing ReplicaSets: %w", err)
	}
	e := end{before: before, after: after, published: published, sets: sets.Items}
	return e.judge()
}
