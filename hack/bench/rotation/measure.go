package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
	"github.com/reanchor/reanchor/hack/local"
)

const (
	leafLifetime = 40 * time.Second
	fileDelay    = 12 * time.Second
	// fixedSleep is how long issuer-first sleeps: as much longer than it takes the
	// lab to restart something as a minute is in a cluster.
	fixedSleep = 15 * time.Second
	startLimit = 5 * time.Minute
)

// measure makes a mesh, lets the procedure replace its anchor, and prints what
// that cost.
func (b *bench) measure(ctx context.Context, p procedure) error {
	startCtx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	m, err := linkerd.Start(startCtx, b.lab.Config(), linkerd.Options{
		Name: p.mesh, Workloads: b.options.workloads, Namespaces: b.options.namespaces, Rate: b.options.rate,
		Kubelet: b.kubelet, Foreign: true, Times: linkerd.Times{Leaf: leafLifetime, File: fileDelay},
	})
	if err != nil {
		return err
	}
	began := time.Now()
	err = p.replace(ctx, b, m)
	wall := time.Since(began)
	if err == nil {
		// What goes wrong shows when the leaves end that were good at the end.
		err = pause(ctx, leafLifetime+fileDelay)
	}
	score := m.Score()
	err = errors.Join(err, m.Stop(context.WithoutCancel(ctx)))
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	fmt.Printf("BENCH rotation/%s %s wall_s=%.0f\n", p.name, score, wall.Seconds())
	fmt.Fprintf(os.Stderr, "%s: failures by reason %v, longest pause between handshakes %s\n", p.name, score.ByReason, score.LongestPause)
	if why := p.missed(score, b.options); why != "" {
		for _, f := range m.Proxies.Failures() {
			fmt.Fprintln(os.Stderr, f)
		}
		err = miss(p.name + ": " + why)
	}
	return errors.Join(err, clear(ctx, m))
}

// clear removes what would slow the next procedure down.
func clear(ctx context.Context, m *linkerd.Mesh) error {
	var errs []error
	for _, w := range m.Workloads() {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.Namespace}}
		errs = append(errs, client.IgnoreNotFound(m.Client.Delete(ctx, ns)))
	}
	return errors.Join(errs...)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// byHand runs hack/rotate-by-hand as the program that it is.
func byHand(order string) func(context.Context, *bench, *linkerd.Mesh) error {
	return func(ctx context.Context, b *bench, m *linkerd.Mesh) error {
		program := filepath.Join(b.dir, "rotate-by-hand")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "./hack/rotate-by-hand").CombinedOutput(); err != nil {
			return fmt.Errorf("building rotate-by-hand: %w: %s", err, out)
		}
		cmd := exec.CommandContext(ctx, program, "--order="+order, "--kubeconfig="+b.lab.Kubeconfig(),
			"--control-plane="+m.Mesh, "--anchor="+m.AnchorKey().Name, "--previous="+m.PreviousKey().Name, "--bundle="+m.BundleKey().Name,
			"--propagation="+fileDelay.String(), "--sleep="+fixedSleep.String())
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		return cmd.Run()
	}
}

// byReanchor creates one AnchorRotation and waits for its end.
func byReanchor(ctx context.Context, b *bench, m *linkerd.Mesh) (err error) {
	x, err := local.Start(ctx, b.lab, m.Client, local.Options{Root: ".", Dir: b.dir})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\nthe controller's log ends:\n%s", err, x.Controller.Tail(20))
		}
		err = errors.Join(err, x.Stop())
	}()
	if err := local.ApplyFile(ctx, m.Client, "manifests/controller/rotation/inplace/rbac.yaml"); err != nil {
		return err
	}
	mt := m.MeshTrust()
	if err := m.Client.Create(ctx, mt); err != nil {
		return fmt.Errorf("creating the MeshTrust: %w", err)
	}
	run := &v1alpha1.AnchorRotation{
		ObjectMeta: metav1.ObjectMeta{Name: mt.Name},
		Spec:       v1alpha1.AnchorRotationSpec{MeshTrustRef: v1alpha1.ClusterObjectRef{Name: mt.Name}},
	}
	if err := m.Client.Create(ctx, run); err != nil {
		return fmt.Errorf("creating the AnchorRotation: %w", err)
	}
	return awaitComplete(ctx, m.Client, run)
}

// awaitComplete prints the phases as they come.
func awaitComplete(ctx context.Context, c client.Client, run *v1alpha1.AnchorRotation) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	began, last := time.Now(), ""
	for {
		if err := c.Get(ctx, client.ObjectKeyFromObject(run), run); err != nil {
			return fmt.Errorf("reading the AnchorRotation: %w", err)
		}
		progressing := apimeta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionProgressing)
		if progressing != nil && progressing.Reason != last {
			last = progressing.Reason
			fmt.Fprintf(os.Stderr, "%5.1fs %s\n", time.Since(began).Seconds(), last)
		}
		switch {
		case apimeta.IsStatusConditionTrue(run.Status.Conditions, v1alpha1.ConditionComplete):
			return nil
		case apimeta.IsStatusConditionTrue(run.Status.Conditions, v1alpha1.ConditionFailed):
			return fmt.Errorf("the rotation has failed: %+v", run.Status.Conditions)
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return fmt.Errorf("waiting for the rotation to end, in phase %s: %w; conditions: %+v", last, err, run.Status.Conditions)
		}
	}
}
