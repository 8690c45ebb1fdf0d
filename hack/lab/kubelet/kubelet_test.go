package kubelet_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/lab/kubelet"
)

const (
	ns     = "default"
	file   = "/roots/ca-bundle.crt"
	pinned = "/pinned.crt"
)

// cluster is a lab with a kubelet of references and one ConfigMap that pods
// refer to by env, by volume and by subPath.
type cluster struct {
	*testing.T
	client kubernetes.Interface
	k      *kubelet.Kubelet
}

func (c cluster) publish(text string) {
	c.Helper()
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "roots"}, Data: map[string]string{"ca-bundle.crt": text}}
	maps := c.client.CoreV1().ConfigMaps(ns)
	_, err := maps.Update(c.Context(), cm, metav1.UpdateOptions{})
	if err != nil {
		_, err = maps.Create(c.Context(), cm, metav1.CreateOptions{})
	}
	if err != nil {
		c.Fatal(err)
	}
}

func (c cluster) start(name string) *corev1.Pod {
	c.Helper()
	reference := corev1.LocalObjectReference{Name: "roots"}
	always := corev1.ContainerRestartPolicyAlways
	mounts := []corev1.VolumeMount{
		{Name: "roots", MountPath: "/roots"},
		{Name: "roots", MountPath: pinned, SubPath: "ca-bundle.crt"},
	}
	p, err := c.client.CoreV1().Pods(ns).Create(c.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "proxy", Image: "example.com/proxy", RestartPolicy: &always, VolumeMounts: mounts,
				Env: []corev1.EnvVar{{Name: "ANCHORS", ValueFrom: &corev1.EnvVarSource{
					ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: reference, Key: "ca-bundle.crt"},
				}}}}},
			Containers: []corev1.Container{{Name: "app", Image: "example.com/app"}},
			Volumes: []corev1.Volume{{Name: "roots", VolumeSource: corev1.VolumeSource{
				ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: reference},
			}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		c.Fatal(err)
	}
	c.eventually(name+" is resolved", func() error {
		if _, ok := c.k.Resolved(p.UID, "proxy"); !ok {
			return fmt.Errorf("not seen")
		}
		return nil
	})
	return p
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
		time.Sleep(10 * time.Millisecond)
	}
}

func (c cluster) given(p *corev1.Pod, env, mounted string) {
	c.Helper()
	r, ok := c.k.Resolved(p.UID, "proxy")
	if !ok {
		c.Fatalf("%s was not seen", p.Name)
	}
	if got := r.Env["ANCHORS"]; got != env {
		c.Errorf("%s: env %q, want %q", p.Name, got, env)
	}
	for _, path := range []string{file, pinned} {
		if got := string(r.Files[path]); got != mounted {
			c.Errorf("%s: %s held %q at the start, want %q", p.Name, path, got, mounted)
		}
	}
	if len(r.Missing) != 0 {
		c.Errorf("%s: missing %v", p.Name, r.Missing)
	}
	if now := time.Now(); r.StartedAt.After(now) || now.Sub(r.StartedAt) > time.Minute {
		c.Errorf("%s: started at %s", p.Name, r.StartedAt)
	}
}

func (c cluster) mounted(p *corev1.Pod, path string) string {
	c.Helper()
	files, ok := c.k.Mounted(p.UID, "proxy")
	if !ok {
		c.Fatalf("%s was not seen", p.Name)
	}
	return string(files[path])
}

func TestKubeletOfReferences(t *testing.T) {
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
	k, err := kubelet.Start(t.Context(), l.Config(), kubelet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Stop)
	c := cluster{t, client, k}

	c.publish("one")
	first := c.start("first")
	var secondText time.Time
	t.Run("without lag a container gets what was published last", func(t *testing.T) {
		c.given(first, "one", "one")
		c.publish("two")
		secondText = time.Now()
		c.given(c.start("second"), "two", "two")
	})
	t.Run("what a container was given stays, its files change", func(t *testing.T) {
		c.eventually("the file changes", func() error {
			if got := c.mounted(first, file); got != "two" {
				return fmt.Errorf("it holds %q", got)
			}
			return nil
		})
		c.given(first, "one", "one")
		if got := c.mounted(first, pinned); got != "one" {
			t.Errorf("a subPath changed to %q", got)
		}
	})
	t.Run("env and files lag each by their own time", func(t *testing.T) {
		const lag = 10 * time.Second // a pod starts in it on a slow machine too
		k.SetLag(0, lag)
		c.eventually("the second text is older than the lag", func() error {
			if age := time.Since(secondText); age < lag {
				return fmt.Errorf("its age is %s", age)
			}
			return nil
		})
		published := time.Now()
		c.publish("three")
		p := c.start("lagging")
		if took := time.Since(published); took > lag {
			t.Fatalf("the machine is too slow for this test: the pod took %s", took)
		}
		c.given(p, "three", "two")
		c.eventually("the file changes", func() error {
			if got := c.mounted(p, file); got != "three" {
				return fmt.Errorf("it holds %q", got)
			}
			return nil
		})
		if took := time.Since(published); took < lag {
			t.Errorf("the file changed after %s, want %s", took, lag)
		}
		c.given(p, "three", "two")
	})
	t.Run("a container that restarts is given everything anew", func(t *testing.T) {
		k.SetLag(0, 0)
		before, _ := k.Resolved(first.UID, "proxy")
		c.restart("first", before.StartedAt)
		c.eventually("the restart is seen", func() error {
			if r, _ := k.Resolved(first.UID, "proxy"); r.StartedAt.Equal(before.StartedAt) {
				return fmt.Errorf("still the start at %s", r.StartedAt)
			}
			return nil
		})
		c.given(first, "three", "three")
	})
	t.Run("a pod that is gone is forgotten", func(t *testing.T) {
		if err := client.CoreV1().Pods(ns).Delete(t.Context(), "first", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.eventually("it is forgotten", func() error {
			if _, ok := k.Resolved(first.UID, "proxy"); ok {
				return fmt.Errorf("it is known")
			}
			return nil
		})
	})
}

// restart reports, as a kubelet would, that the proxy died and runs again.
func (c cluster) restart(name string, before time.Time) {
	c.Helper()
	pods := c.client.CoreV1().Pods(ns)
	p, err := pods.Get(c.Context(), name, metav1.GetOptions{})
	if err != nil {
		c.Fatal(err)
	}
	status := &p.Status.InitContainerStatuses[0]
	status.RestartCount++
	status.State.Running.StartedAt = metav1.NewTime(before.Add(time.Second))
	if _, err := pods.UpdateStatus(c.Context(), p, metav1.UpdateOptions{}); err != nil {
		c.Fatal(err)
	}
}
