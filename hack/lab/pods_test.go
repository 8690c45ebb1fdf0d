package lab_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/reanchor/reanchor/hack/lab"
)

func TestNodesAreReadyAndLabelled(t *testing.T) {
	nodes, err := client(t, shared).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/os=linux"})
	if err != nil {
		t.Fatal(err)
	}
	if len(nodes.Items) != lab.DefaultNodes {
		t.Fatalf("got %d nodes, want %d", len(nodes.Items), lab.DefaultNodes)
	}
	for _, n := range nodes.Items {
		if n.Labels[corev1.LabelHostname] != n.Name {
			t.Errorf("node %s: hostname label %q", n.Name, n.Labels[corev1.LabelHostname])
		}
		if pods := n.Status.Allocatable.Pods().Value(); pods != 2000 {
			t.Errorf("node %s: %d pods allocatable, want 2000", n.Name, pods)
		}
		if len(n.Spec.Taints) != 0 {
			t.Errorf("node %s: taints %v", n.Name, n.Spec.Taints)
		}
	}
}

func TestADeploymentOfTwentyPodsBecomesAvailable(t *testing.T) {
	c := client(t, shared)
	ns := namespace(t, c, "deployment")
	if _, err := c.AppsV1().Deployments(ns).Create(t.Context(), deployment("app", 20), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "20 pods available", func() error {
		d, err := c.AppsV1().Deployments(ns).Get(t.Context(), "app", metav1.GetOptions{})
		if err == nil && d.Status.AvailableReplicas != 20 {
			err = fmt.Errorf("%d available", d.Status.AvailableReplicas)
		}
		return err
	})
	pods, err := c.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		checkStatus(t, &p)
	}
}

// checkStatus compares with what a kubelet reports for an init container, a
// native sidecar and an ordinary container.
func checkStatus(t *testing.T, p *corev1.Pod) {
	t.Helper()
	type seen struct {
		Running, Terminated, Started, Ready bool
	}
	got := map[string]seen{}
	for _, s := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
		got[s.Name] = seen{s.State.Running != nil, s.State.Terminated != nil, s.Started != nil && *s.Started, s.Ready}
		if s.State.Running != nil {
			if began := s.State.Running.StartedAt; began.Before(&p.CreationTimestamp) || time.Since(began.Time) > time.Hour {
				t.Errorf("%s/%s started at %s, created at %s", p.Name, s.Name, began, p.CreationTimestamp)
			}
		}
	}
	want := map[string]seen{
		"setup":   {Terminated: true, Ready: true},
		"sidecar": {Running: true, Started: true, Ready: true},
		"app":     {Running: true, Started: true, Ready: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: container statuses (-want +got):\n%s", p.Name, diff)
	}
	if p.Status.PodIP == "" || p.Status.HostIP == "" || p.Status.StartTime == nil {
		t.Errorf("%s: pod IP %q, host IP %q, start time %v", p.Name, p.Status.PodIP, p.Status.HostIP, p.Status.StartTime)
	}
}

func TestPodsLiveAsTheirAnnotationsSay(t *testing.T) {
	c := client(t, shared)
	ns := namespace(t, c, "lives")
	pods := c.CoreV1().Pods(ns)
	get := func(name string) *corev1.Pod {
		p, err := pods.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	start := func(t *testing.T, name string, annotations map[string]string) {
		if _, err := pods.Create(t.Context(), pod(name, annotations), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, name+" runs", func() error {
			if phase := get(name).Status.Phase; phase != corev1.PodRunning {
				return fmt.Errorf("phase %s", phase)
			}
			return nil
		})
	}
	becomesReady := func(t *testing.T, name string) {
		eventually(t, name+" is Ready", func() error {
			if p := get(name); !ready(p) {
				return fmt.Errorf("conditions %v", p.Status.Conditions)
			}
			return nil
		})
	}

	t.Run("a pod that is never ready runs and is not Ready", func(t *testing.T) {
		start(t, "never", map[string]string{lab.NeverReadyAnnotation: "true", lab.ReadyDelayAnnotation: "1ms"})
		always(t, 2*time.Second, func() error {
			if p := get("never"); ready(p) || p.Status.ContainerStatuses[0].Ready {
				return fmt.Errorf("it is Ready")
			}
			return nil
		})
	})
	t.Run("a slow pod is Ready after its delay and not before", func(t *testing.T) {
		start(t, "slow", map[string]string{lab.ReadyDelayAnnotation: "10s"}) // a slow machine looks at it before that
		before := get("slow")
		if ready(before) {
			t.Fatal("it is Ready at once")
		}
		becomesReady(t, "slow")
		after := get("slow")
		// API times have a resolution of one second.
		began, became := after.Status.StartTime.Time, transition(after, corev1.PodReady)
		if waited := became.Sub(began); waited < 9*time.Second {
			t.Errorf("Ready %s after it started", waited)
		}
		if diff := cmp.Diff(before.Status.ContainerStatuses[0].State, after.Status.ContainerStatuses[0].State); diff != "" {
			t.Errorf("becoming Ready changed the container's state (-before +after):\n%s", diff)
		}
		checkStatus(t, after)
	})
	t.Run("a pod that terminates slowly stays Terminating for its delay", func(t *testing.T) {
		start(t, "lingering", map[string]string{lab.TerminateDelayAnnotation: "2s"})
		began := time.Now()
		if err := pods.Delete(t.Context(), "lingering", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if get("lingering").DeletionTimestamp == nil {
			t.Error("it is not Terminating")
		}
		gone(t, pods, "lingering")
		if took := time.Since(began); took < 1900*time.Millisecond {
			t.Errorf("gone after %s", took)
		}
	})
	t.Run("any other pod is gone soon after it is deleted, whatever its grace period", func(t *testing.T) {
		start(t, "plain", nil)
		becomesReady(t, "plain")
		began := time.Now()
		if err := pods.Delete(t.Context(), "plain", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		gone(t, pods, "plain")
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("gone after %s", took)
		}
	})
}

func gone(t *testing.T, pods corev1client.PodInterface, name string) {
	t.Helper()
	eventually(t, name+" is gone", func() error {
		_, err := pods.Get(t.Context(), name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		}
		return fmt.Errorf("it is still there")
	})
}

func transition(p *corev1.Pod, kind corev1.PodConditionType) time.Time {
	for _, c := range p.Status.Conditions {
		if c.Type == kind {
			return c.LastTransitionTime.Time
		}
	}
	return time.Time{}
}

func TestAJobCompletesOnlyWhenAsked(t *testing.T) {
	c := client(t, shared)
	ns := namespace(t, c, "jobs")
	job := func(name string, annotations map[string]string) {
		spec := podSpec()
		spec.RestartPolicy = corev1.RestartPolicyNever
		j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: batchv1.JobSpec{
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}, Spec: spec},
		}}
		if _, err := c.BatchV1().Jobs(ns).Create(t.Context(), j, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	job("forever", nil)
	job("short", map[string]string{lab.CompleteAfterAnnotation: "1s"})
	eventually(t, "the short job succeeds", func() error {
		j, err := c.BatchV1().Jobs(ns).Get(t.Context(), "short", metav1.GetOptions{})
		if err == nil && j.Status.Succeeded != 1 {
			err = fmt.Errorf("status %v", j.Status)
		}
		return err
	})
	pods, err := c.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{LabelSelector: "job-name=short"})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range append(pods.Items[0].Status.InitContainerStatuses, pods.Items[0].Status.ContainerStatuses...) {
		if s.State.Terminated == nil {
			t.Errorf("container %s of a pod that has succeeded: %v", s.Name, s.State)
		}
	}
	// The other was created first; had it ended by itself, it would have by now.
	always(t, time.Second, func() error {
		j, err := c.BatchV1().Jobs(ns).Get(t.Context(), "forever", metav1.GetOptions{})
		if err == nil && (j.Status.Active != 1 || j.Status.Succeeded != 0) {
			err = fmt.Errorf("the other job has status %v", j.Status)
		}
		return err
	})
}
