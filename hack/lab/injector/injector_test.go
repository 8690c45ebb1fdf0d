package injector_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/lab/injector"
)

const (
	meshed  = "meshed" // a namespace whose pods are injected
	anchors = "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"
	forever = time.Hour
)

type cluster struct {
	*testing.T
	lab    *lab.Lab
	client kubernetes.Interface
}

func start(t *testing.T) cluster {
	t.Helper()
	l, err := lab.Start(t.Context(), lab.Options{Nodes: 1, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
	})
	client, err := kubernetes.NewForConfig(l.Config())
	if err != nil {
		t.Fatal(err)
	}
	c := cluster{t, l, client}
	for name, annotations := range map[string]map[string]string{"linkerd": nil, meshed: {"linkerd.io/inject": "enabled"}} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}}
		if _, err := client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		c.eventually("service account", func() error {
			_, err := client.CoreV1().ServiceAccounts(name).Get(t.Context(), "default", metav1.GetOptions{})
			return err
		})
	}
	return c
}

// with runs a part of the test with its own t.
func (c cluster) with(t *testing.T) cluster { return cluster{t, c.lab, c.client} }

func (c cluster) injector(o injector.Options) *injector.Injector {
	c.Helper()
	i, err := injector.Start(c.Context(), c.lab.Config(), o)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		if err := i.Stop(context.WithoutCancel(c.Context())); err != nil {
			c.Error(err)
		}
	})
	// The API server learns of a webhook a moment after it was registered.
	c.eventually("the webhook is called", func() error {
		if got := c.dryRun("default", map[string]string{"linkerd.io/inject": "enabled"}); got == "" {
			return fmt.Errorf("a pod was not injected")
		}
		return nil
	})
	return i
}

func (c cluster) publish(text string) {
	c.Helper()
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: injector.BundleConfigMap}, Data: map[string]string{injector.BundleKey: text}}
	maps := c.client.CoreV1().ConfigMaps("linkerd")
	if _, err := maps.Update(c.Context(), cm, metav1.UpdateOptions{}); err == nil {
		return
	}
	if _, err := maps.Create(c.Context(), cm, metav1.CreateOptions{}); err != nil {
		c.Fatal(err)
	}
}

// dryRun returns the anchors of a pod that is not created, "" when it would not
// be injected.
func (c cluster) dryRun(namespace string, annotations map[string]string) string {
	c.Helper()
	p, err := c.create(namespace, annotations)
	if err != nil {
		c.Fatal(err)
	}
	return literal(p)
}

func (c cluster) create(namespace string, annotations map[string]string) (*corev1.Pod, error) {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "probe", Annotations: annotations},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "example.com/app"}}},
	}
	return c.client.CoreV1().Pods(namespace).Create(c.Context(), p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}

func literal(p *corev1.Pod) string {
	for _, container := range append(p.Spec.InitContainers, p.Spec.Containers...) {
		for _, v := range container.Env {
			if v.Name == anchors {
				return v.Value
			}
		}
	}
	return ""
}

// answers counts what n dry runs get.
func (c cluster) answers(n int) map[string]int {
	c.Helper()
	got := map[string]int{}
	for range n {
		got[c.dryRun(meshed, nil)]++
	}
	return got
}

func (c cluster) eventually(what string, check func() error) {
	c.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.Fatalf("%s: not within a minute: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// deployment creates one and waits until all its pods are Ready.
func (c cluster) deployment(namespace, name string, replicas int32) {
	c.Helper()
	labels := map[string]string{"app": name}
	_, err := c.client.AppsV1().Deployments(namespace).Create(c.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "example.com/app"}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		c.Fatal(err)
	}
	c.eventually(name+" is available", func() error {
		d, err := c.client.AppsV1().Deployments(namespace).Get(c.Context(), name, metav1.GetOptions{})
		if err == nil && d.Status.AvailableReplicas != replicas {
			err = fmt.Errorf("%d available", d.Status.AvailableReplicas)
		}
		return err
	})
}

func TestInjector(t *testing.T) {
	c := start(t)
	c.publish("one")
	t.Run("pods of an annotated namespace get the proxy with the bundle", func(t *testing.T) {
		c := c.with(t)
		c.injector(injector.Options{})
		c.publish("\n one\n\n")
		c.eventually("the bundle is seen", func() error {
			if got := c.dryRun(meshed, nil); got != "one\n" {
				return fmt.Errorf("anchors %q, want the text trimmed and a new line", got)
			}
			return nil
		})
		c.deployment(meshed, "web", 2)
		pods, err := c.client.CoreV1().Pods(meshed).List(t.Context(), metav1.ListOptions{LabelSelector: "linkerd.io/control-plane-ns=linkerd"})
		if err != nil {
			t.Fatal(err)
		}
		if len(pods.Items) != 2 {
			t.Fatalf("%d meshed pods, want 2", len(pods.Items))
		}
		for _, p := range pods.Items {
			c.checkInjected(&p)
		}
		if got := c.dryRun("default", nil); got != "" {
			t.Errorf("a pod that nobody wants injected got %q", got)
		}
	})
	t.Run("each replica sees a new bundle after its own lag", func(t *testing.T) {
		const lag = 3 * time.Second
		c := c.with(t)
		c.publish("one")
		i := c.injector(injector.Options{Replicas: 3, Lags: []time.Duration{0, lag, forever}, ConnectionPerRequest: true})
		published := time.Now()
		c.publish("two")
		c.eventually("the first replica sees it", func() error {
			if got := c.answers(3); got["two\n"] != 1 || got["one\n"] != 2 {
				return fmt.Errorf("three replicas answer %v", got)
			}
			return nil
		})
		c.eventually("the second replica sees it", func() error {
			if got := c.answers(3); got["two\n"] != 2 || got["one\n"] != 1 {
				return fmt.Errorf("three replicas answer %v", got)
			}
			return nil
		})
		if took := time.Since(published); took < lag {
			t.Errorf("the second replica saw it after %s, want %s", took, lag)
		}
		i.SetLag(2, 0)
		if got := c.answers(3); got["two\n"] != 3 {
			t.Errorf("without lags three replicas answer %v", got)
		}
		i.SetLag(2, forever)
		if got := c.answers(3); got["two\n"] != 3 {
			t.Errorf("a replica forgot what it had seen: %v", got)
		}
		for n := range 3 {
			if i.Served(n) == 0 {
				t.Errorf("replica %d served nothing", n)
			}
		}
	})
	t.Run("sequential requests reach one replica", func(t *testing.T) {
		c := c.with(t)
		i := c.injector(injector.Options{Replicas: 3})
		before := []int{i.Served(0), i.Served(1), i.Served(2)}
		c.answers(20)
		busy := 0
		for n := range 3 {
			if i.Served(n) > before[n] {
				busy++
			}
		}
		if busy != 1 {
			t.Errorf("%d replicas served 20 requests in a row", busy)
		}
	})
	t.Run("a pod that replaces a replica has read the file anew", func(t *testing.T) {
		c := c.with(t)
		c.publish("three")
		c.deployment("linkerd", "linkerd-proxy-injector", 2)
		c.injector(injector.Options{PodSelector: "app=linkerd-proxy-injector", Lags: []time.Duration{forever}, ConnectionPerRequest: true})
		c.publish("four")
		if got := c.answers(4); got["three\n"] != 4 {
			t.Errorf("before the restart: %v", got)
		}
		err := c.client.CoreV1().Pods("linkerd").DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c.eventually("the new pods answer", func() error {
			if got := c.answers(4); got["four\n"] != 4 {
				return fmt.Errorf("answers %v", got)
			}
			return nil
		})
	})
	t.Run("two control planes have each their own namespaces", func(t *testing.T) {
		c := c.with(t)
		for name, labels := range map[string]map[string]string{"other": nil, "other-apps": {injector.MeshLabel: "other"}} {
			namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
				Name: name, Labels: labels, Annotations: map[string]string{"linkerd.io/inject": "enabled"},
			}}
			if _, err := c.client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			c.eventually("service account", func() error {
				_, err := c.client.CoreV1().ServiceAccounts(name).Get(t.Context(), "default", metav1.GetOptions{})
				return err
			})
		}
		c.publish("first")
		bundle := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: injector.BundleConfigMap}, Data: map[string]string{injector.BundleKey: "second"}}
		if _, err := c.client.CoreV1().ConfigMaps("other").Create(t.Context(), bundle, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		c.injector(injector.Options{})
		c.injector(injector.Options{ControlPlane: "other"})
		c.eventually("each injects its own", func() error {
			own, theirs := c.dryRun(meshed, nil), c.dryRun("other-apps", nil)
			if own != "first\n" || theirs != "second\n" {
				return fmt.Errorf("anchors %q and %q", own, theirs)
			}
			return nil
		})
	})
	t.Run("with every replica dead the failure policy decides", func(t *testing.T) {
		c := c.with(t)
		ignoring := c.injector(injector.Options{})
		ignoring.Kill()
		if got := c.dryRun(meshed, nil); got != "" {
			t.Errorf("a dead injector injected %q", got)
		}
		failing := c.injector(injector.Options{FailurePolicy: admissionregistrationv1.Fail})
		failing.Kill()
		c.eventually("pods are refused", func() error {
			if _, err := c.create(meshed, nil); err == nil {
				return fmt.Errorf("a pod was admitted")
			}
			return nil
		})
	})
}

func (c cluster) checkInjected(p *corev1.Pod) {
	c.Helper()
	if got := literal(p); got != "one\n" {
		c.Errorf("%s: anchors %q", p.Name, got)
	}
	if got := p.Labels["linkerd.io/proxy-deployment"]; got != "web" {
		c.Errorf("%s: label proxy-deployment %q", p.Name, got)
	}
	statuses := map[string]bool{}
	for _, s := range p.Status.InitContainerStatuses {
		statuses[s.Name] = s.State.Running != nil
	}
	if running, known := statuses["linkerd-proxy"]; !known || !running {
		c.Errorf("%s: init container statuses %v, want linkerd-proxy running", p.Name, statuses)
	}
	p.Status, p.ManagedFields = corev1.PodStatus{}, nil
	data, err := json.Marshal(p)
	if err != nil {
		c.Fatal(err)
	}
	// A real one has 11 KB, of which 700 bytes are the bundle.
	if len(data) < 8500 || len(data) > 12500 {
		c.Errorf("%s has %d bytes", p.Name, len(data))
	}
}
