package lab_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/reanchor/reanchor/hack/lab"
)

// starterVariable makes the test binary a program that starts a lab and waits
// to be killed; its value says which.
const (
	starterVariable = "REANCHOR_LAB_TEST_STARTER"
	upPrefix        = "up:" // a named lab, else the folder of an ordinary one
)

// shared is the lab of the tests that do no harm to it; TestMain starts it once.
var shared *lab.Lab

func TestMain(m *testing.M) {
	if os.Getenv(starterVariable) != "" {
		os.Exit(starter())
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	shared, err = lab.Start(context.Background(), lab.Options{CertManager: true, TrustManager: true, Progress: os.Stderr})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := shared.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// starter starts a lab, says so on standard output, and hangs.
func starter() int {
	var err error
	if name, found := strings.CutPrefix(os.Getenv(starterVariable), upPrefix); found {
		_, err = lab.Up(context.Background(), name, lab.Options{Nodes: 1})
	} else {
		_, err = lab.Start(context.Background(), lab.Options{Nodes: 1, Dir: os.Getenv(starterVariable), CertManager: true})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("started")
	for {
		time.Sleep(time.Hour)
	}
}

func client(t *testing.T, l *lab.Lab) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(l.Config())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// resource is a client for a kind that client-go has no types of.
func resource(t *testing.T, apiVersion, plural, namespace string) dynamic.ResourceInterface {
	t.Helper()
	c, err := dynamic.NewForConfig(shared.Config())
	if err != nil {
		t.Fatal(err)
	}
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		t.Fatal(err)
	}
	if namespace == "" {
		return c.Resource(gv.WithResource(plural))
	}
	return c.Resource(gv.WithResource(plural)).Namespace(namespace)
}

func create(t *testing.T, r dynamic.ResourceInterface, object map[string]any) {
	t.Helper()
	if _, err := r.Create(t.Context(), &unstructured.Unstructured{Object: object}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// namespace makes a namespace that goes with the test.
func namespace(t *testing.T, c kubernetes.Interface, name string) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := c.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "default service account", func() error {
		_, err := c.CoreV1().ServiceAccounts(name).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	return name
}

// eventually polls until check has no error, and fails with its last one.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// always checks during d that check has no error.
func always(t *testing.T, d time.Duration, check func() error) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err := check(); err != nil {
			t.Fatal(err)
		}
	}
}

func podSpec() corev1.PodSpec {
	always := corev1.ContainerRestartPolicyAlways
	return corev1.PodSpec{
		InitContainers: []corev1.Container{
			{Name: "setup", Image: "example.com/setup"},
			{Name: "sidecar", Image: "example.com/sidecar", RestartPolicy: &always},
		},
		Containers: []corev1.Container{{Name: "app", Image: "example.com/app"}},
	}
}

func pod(name string, annotations map[string]string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}, Spec: podSpec()}
}

func deployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec()},
		},
	}
}

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
