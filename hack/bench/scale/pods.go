package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/reanchor/reanchor/hack/lab"
)

const podsPerNamespace = 1000

// prepare starts a lab and fills it. It returns the size of a pod in bytes.
func prepare(ctx context.Context, o options) (*lab.Lab, int, error) {
	base, err := fixture(o.fixture)
	if err != nil {
		return nil, 0, err
	}
	l, err := lab.Start(ctx, lab.Options{Nodes: -1, Progress: os.Stderr})
	if err != nil {
		return nil, 0, err
	}
	size, err := fill(ctx, l, base, o)
	if err != nil {
		_ = l.Stop()
		return nil, 0, err
	}
	return l, size, nil
}

func fill(ctx context.Context, l *lab.Lab, base *corev1.Pod, o options) (int, error) {
	config := l.Config()
	config.ContentType = runtime.ContentTypeProtobuf
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return 0, fmt.Errorf("making a client: %w", err)
	}
	if err := namespaces(ctx, client, (o.pods+podsPerNamespace-1)/podsPerNamespace); err != nil {
		return 0, err
	}
	// Their owners do not exist, so the garbage collector would delete the pods;
	// nobody else has anything to do either.
	for _, c := range []lab.Component{lab.ControllerManager, lab.Scheduler, lab.Kwok} {
		if err := l.Kill(c); err != nil {
			return 0, err
		}
	}
	if err := pods(ctx, client, base, o); err != nil {
		return 0, err
	}
	pod, err := client.CoreV1().Pods(namespaceOf(0)).Get(ctx, podOf(base, 0).Name, metav1.GetOptions{})
	if err != nil {
		return 0, fmt.Errorf("reading a pod back: %w", err)
	}
	return pod.Size(), nil
}

// fixture reads the pod without what the API server does not take from a client.
func fixture(path string) (*corev1.Pod, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the pod to multiply (run this in the checkout's root): %w", err)
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(text, pod); err != nil {
		return nil, fmt.Errorf("reading the pod to multiply: %w", err)
	}
	pod.UID, pod.ResourceVersion, pod.GenerateName = "", "", ""
	pod.CreationTimestamp = metav1.Time{}
	pod.Spec.ServiceAccountName, pod.Spec.DeprecatedServiceAccount = "default", "default"
	pod.Spec.NodeName, pod.Spec.SchedulerName, pod.Spec.Priority = "", "nobody", nil
	return pod, nil
}

func namespaceOf(i int) string { return fmt.Sprintf("team-%d", i/podsPerNamespace) }

// podOf returns the i-th pod: ten to a Deployment.
func podOf(base *corev1.Pod, i int) *corev1.Pod {
	pod := base.DeepCopy()
	owner := fmt.Sprintf("checkout-%d-%s", i/10, pod.Labels["pod-template-hash"])
	pod.Namespace, pod.Name = namespaceOf(i), fmt.Sprintf("%s-%05d", owner, i)
	pod.OwnerReferences[0].Name = owner
	return pod
}

func namespaces(ctx context.Context, client kubernetes.Interface, count int) error {
	for i := range count {
		name := namespaceOf(i * podsPerNamespace)
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if _, err := client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("creating namespace %s: %w", name, err)
		}
		err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
			_, err := client.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
			return err == nil, nil
		})
		if err != nil {
			return fmt.Errorf("waiting for the service account of %s: %w", name, err)
		}
	}
	return nil
}

func pods(ctx context.Context, client kubernetes.Interface, base *corev1.Pod, o options) error {
	group, ctx := errgroup.WithContext(ctx)
	begin := time.Now()
	var next atomic.Int64
	for range o.workers {
		group.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= o.pods {
					return nil
				}
				pod := podOf(base, i)
				if _, err := client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
					return fmt.Errorf("creating pod %d: %w", i, err)
				}
				if i%2000 == 0 {
					fmt.Fprintf(os.Stderr, "scale: %d of %d pods after %.0f s\n", i, o.pods, time.Since(begin).Seconds())
				}
			}
		})
	}
	return group.Wait()
}
