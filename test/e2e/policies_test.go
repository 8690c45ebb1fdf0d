package e2e

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// These scenarios show what the policies of manifests/controller refuse. That
// they refuse nothing of what the controller does is shown by all the others,
// which run under them.

const (
	noPodMayRun = "no pod may run there"
	onlyRestart = "may restart a workload, and not change its pods, their labels or their number"
	ownKeysOnly = "may write only those that begin with reanchor.dev/"
	oneLabel    = "may write only the label reanchor.dev/admission"
)

// thief is a client of somebody who has the controller's token.
func thief(t *testing.T) client.Client {
	t.Helper()
	config := env.lab.Config()
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:reanchor-system:reanchor-controller",
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:reanchor-system", "system:authenticated"},
	}
	c, err := client.New(config, client.Options{Scheme: env.scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// refused returns an error unless err is a refusal that says so in a sentence.
func refused(err error, sentence string) error {
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), sentence) {
		return fmt.Errorf("want it refused because %q, have: %v", sentence, err)
	}
	return nil
}

// judged checks that a change is refused with a sentence, or passes when there is
// none; and that an administrator may make it. It is a dry run, which policies
// judge like others.
func judged(t *testing.T, who client.Client, before, after client.Object, sentence string) {
	t.Helper()
	change := func(c client.Client) error {
		return c.Patch(t.Context(), after.DeepCopyObject().(client.Object), client.MergeFrom(before), client.DryRunAll)
	}
	// A policy is in force some moments after it was created.
	eventually(t, time.Minute, func() error {
		err := change(who)
		if sentence != "" {
			return refused(err, sentence)
		}
		return err
	})
	if err := change(env.client); err != nil {
		t.Errorf("an administrator may not do it: %v", err)
	}
}

// The namespaces of dry runs admit privileged pods, so that nobody may run one
// there, with whatever rights.
func TestNobodyRunsAPodWhereDryRunsAreMade(t *testing.T) {
	t.Parallel()
	newNamespace := func(name string, labels map[string]string) string {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
		create(t, ns)
		t.Cleanup(func() { env.client.Delete(context.Background(), ns) })
		return name
	}
	labelled := newNamespace("policies-probe", map[string]string{v1alpha1.ProbeForLabel: "policies"})
	plain := newNamespace("policies-plain", nil)
	pod := func(namespace string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "p-"}, Spec: podTemplate("p", nil).Spec}
	}
	for who, where := range map[string]struct {
		client    client.Client
		namespace string
	}{
		"an administrator where the controller's dry runs are": {env.client, "reanchor-probe"},
		"the controller where its dry runs are":                {thief(t), "reanchor-probe"},
		"an administrator where those of one mesh are":         {env.client, labelled},
	} {
		t.Run(who, func(t *testing.T) {
			eventually(t, time.Minute, func() error {
				p := pod(where.namespace)
				err := where.client.Create(t.Context(), p)
				if err == nil {
					err = env.client.Delete(t.Context(), p)
				}
				return refused(err, noPodMayRun)
			})
			if err := where.client.Create(t.Context(), pod(where.namespace), client.DryRunAll); err != nil {
				t.Errorf("a dry run is refused: %v", err)
			}
		})
	}
	eventually(t, time.Minute, func() error { return env.client.Create(t.Context(), pod(plain)) })
}

// With the component restart-only the right to patch workloads lets nobody choose
// what they run.
func TestTheControllersTokenChangesNoPodTemplate(t *testing.T) {
	t.Parallel()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "policies-workloads"}}
	create(t, ns)
	t.Cleanup(func() { env.client.Delete(context.Background(), ns) })
	d := deployment(t, ns.Name, "shop", 0, func(d *appsv1.Deployment) {
		d.Spec.Template.Annotations = map[string]string{"config.linkerd.io/proxy-image": "proxy"}
	})
	who := thief(t)
	for change, tc := range map[string]struct {
		change  func(template *corev1.PodTemplateSpec, replicas *int32)
		refused string
	}{
		"another image":                         {func(p *corev1.PodTemplateSpec, _ *int32) { p.Spec.Containers[0].Image = "mine" }, onlyRestart},
		"another service account":               {func(p *corev1.PodTemplateSpec, _ *int32) { p.Spec.ServiceAccountName = "rich" }, onlyRestart},
		"a label by which a Service finds pods": {func(p *corev1.PodTemplateSpec, _ *int32) { p.Labels["role"] = "bank" }, onlyRestart},
		"more pods":                             {func(_ *corev1.PodTemplateSpec, n *int32) { *n = 100 }, onlyRestart},
		"an image by annotation":                {func(p *corev1.PodTemplateSpec, _ *int32) { p.Annotations["config.linkerd.io/proxy-image"] = "mine" }, ownKeysOnly},
		"one more annotation of others":         {func(p *corev1.PodTemplateSpec, _ *int32) { p.Annotations["linkerd.io/inject"] = "disabled" }, ownKeysOnly},
		"one annotation of others less":         {func(p *corev1.PodTemplateSpec, _ *int32) { clear(p.Annotations) }, ownKeysOnly},
		"a restart":                             {func(p *corev1.PodTemplateSpec, _ *int32) { p.Annotations[v1alpha1.RestartedForAnnotation] = "v1:0" }, ""},
	} {
		t.Run(change, func(t *testing.T) {
			changed := d.DeepCopy()
			tc.change(&changed.Spec.Template, changed.Spec.Replicas)
			judged(t, who, d, changed, tc.refused)
		})
	}
}

// An Argo Rollout may name a Deployment whose template it takes.
func TestTheControllersTokenGivesARolloutNoOtherTemplate(t *testing.T) {
	t.Parallel()
	customKind(t, argoRollout, argoCRD)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "policies-rollouts"}}
	create(t, ns)
	t.Cleanup(func() { env.client.Delete(context.Background(), ns) })
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"replicas": int64(0), "workloadRef": map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
	}}}
	u.SetGroupVersionKind(argoRollout)
	u.SetNamespace(ns.Name)
	u.SetName("shop")
	create(t, u)
	who := thief(t)
	for change, tc := range map[string]struct {
		value   any
		path    []string
		refused string
	}{
		"another Deployment's": {"mine", []string{"spec", "workloadRef", "name"}, onlyRestart},
		"more pods":            {int64(100), []string{"spec", "replicas"}, onlyRestart},
		"a restart":            {"2030-01-01T00:00:00Z", []string{"spec", "restartAt"}, ""},
	} {
		t.Run(change, func(t *testing.T) {
			changed := u.DeepCopy()
			if err := unstructured.SetNestedField(changed.Object, tc.value, tc.path...); err != nil {
				t.Fatal(err)
			}
			judged(t, who, u, changed, tc.refused)
		})
	}
}

func TestTheControllersTokenChangesOneLabelOfNamespaces(t *testing.T) {
	t.Parallel()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "policies-labels", Labels: map[string]string{v1alpha1.ProbeForLabel: "policies-labels"}}}
	create(t, ns)
	t.Cleanup(func() { env.client.Delete(context.Background(), ns) })
	who := thief(t)
	for change, tc := range map[string]struct {
		labels, annotations map[string]string
		refused             string
	}{
		"a lower Pod Security":                   {map[string]string{"pod-security.kubernetes.io/enforce": "privileged", v1alpha1.ProbeForLabel: ns.Name}, nil, oneLabel},
		"no more a namespace of dry runs":        {nil, nil, oneLabel},
		"a namespace of another mesh's dry runs": {map[string]string{v1alpha1.ProbeForLabel: "other"}, nil, oneLabel},
		"an annotation":                          {map[string]string{v1alpha1.ProbeForLabel: ns.Name}, map[string]string{"linkerd.io/inject": "disabled"}, oneLabel},
		"a mirrored opt-out":                     {map[string]string{v1alpha1.ProbeForLabel: ns.Name, v1alpha1.AdmissionLabel: v1alpha1.AdmissionDisabled}, nil, ""},
	} {
		t.Run(change, func(t *testing.T) {
			changed := ns.DeepCopy()
			changed.Labels = map[string]string{corev1.LabelMetadataName: ns.Name}
			maps.Copy(changed.Labels, tc.labels)
			changed.Annotations = tc.annotations
			judged(t, who, ns, changed, tc.refused)
		})
	}
}
