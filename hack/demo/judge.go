package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
	"github.com/reanchor/reanchor/hack/lab/proxies"
)

// What the demo claims is judged by what the API server, the pods and the
// handshakes say, never by what Reanchor says of itself. The functions of this
// file ask nobody, so that tests can show them worlds that are not as claimed.

const anchorsVariable = "LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS"

// carries reads a pod's anchors where its proxy does.
func carries(pod *corev1.Pod) (bundle.Set, error) {
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, e := range c.Env {
			if e.Name != anchorsVariable {
				continue
			}
			set, err := bundle.Parse([]byte(e.Value))
			if err != nil {
				return set, fmt.Errorf("reading the anchors of pod %s: %w", pod.Name, err)
			}
			return set, nil
		}
	}
	return bundle.Set{}, fmt.Errorf("pod %s has no proxy", pod.Name)
}

// stamped returns what a pod really carries, which its stamp must say.
func stamped(pod *corev1.Pod) (bundle.Set, error) {
	carried, err := carries(pod)
	if err != nil {
		return carried, err
	}
	if stamp := pod.Annotations[v1alpha1.TrustBundleHashAnnotation]; stamp != carried.Hash() {
		return carried, fmt.Errorf("pod %s has the stamp %q and carries %s", pod.Name, stamp, carried.Hash())
	}
	return carried, nil
}

// judgeStamps wants pods that were just created to carry the bundle that was
// published, and to say so.
func judgeStamps(pods []corev1.Pod, published bundle.Set) error {
	for i := range pods {
		carried, err := stamped(&pods[i])
		if err != nil {
			return err
		}
		if !carried.Equal(published) {
			return fmt.Errorf("pod %s carries %d anchors, not the %d that it was given", pods[i].Name, carried.Len(), published.Len())
		}
	}
	return nil
}

// judgeDenial wants the answer to the creation of a pod to be a denial, and
// Reanchor's; it returns what the answer says.
func judgeDenial(err error) (string, error) {
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return "", errors.New("the pod with an expired bundle was admitted")
	case !apierrors.IsForbidden(err) || !errors.As(err, &status) || !strings.Contains(err.Error(), denier):
		return "", fmt.Errorf("the pod with an expired bundle was not denied but: %w", err)
	default:
		return status.Status().Message, nil
	}
}

// denier is Reanchor's webhook, as the API server names it.
const denier = `admission webhook "validate.reanchor.dev" denied the request`

// end is the world after a rotation.
type end struct {
	// before and after are what was published.
	before, after bundle.Set
	// signer is the fingerprint of the anchor that signed the issuer.
	signer string
	// workloads are those of the mesh, with what became of their pods.
	workloads  []linkerd.Restarted
	handshakes proxies.Stats
	failures   []proxies.Failure
	// pods are those of the application.
	pods []corev1.Pod
}

// judge returns the first thing that is not as the demo claims, or else how many
// workloads were rolled and pods are stamped.
func (e *end) judge() (rolled, stamped int, err error) {
	for _, of := range []func() error{e.judgeAnchors, e.judgeWorkloads, e.judgeHandshakes, e.judgePods} {
		if err := of(); err != nil {
			return 0, 0, err
		}
	}
	return len(e.application()), len(e.pods), nil
}

// judgeAnchors wants other anchors than before, and an issuer under them.
func (e *end) judgeAnchors() error {
	signedBy := func(s bundle.Set) bool {
		return slices.ContainsFunc(s.Fingerprints(), func(f bundle.Fingerprint) bool { return f.String() == e.signer })
	}
	switch {
	case e.after.Empty():
		return errors.New("the bundle is empty")
	case !e.after.Intersect(e.before).Empty():
		return errors.New("the old anchor is still in the bundle")
	case !signedBy(e.after):
		return errors.New("the issuer is not signed by an anchor of the bundle")
	}
	return nil
}

// judgeWorkloads wants each pod of the application to have been replaced once.
func (e *end) judgeWorkloads() error {
	for _, w := range e.application() {
		if w.Replaced != w.Pods {
			return fmt.Errorf("%s %s/%s: %d pods were replaced, not each of its %d once", w.Kind, w.Namespace, w.Name, w.Replaced, w.Pods)
		}
	}
	if n := len(e.application()); n != workloads {
		return fmt.Errorf("%d workloads were looked at, not %d", n, workloads)
	}
	return nil
}

// application returns the workloads that are not the control plane's.
func (e *end) application() []linkerd.Restarted {
	return slices.DeleteFunc(slices.Clone(e.workloads), func(w linkerd.Restarted) bool { return w.ControlPlane })
}

func (e *end) judgeHandshakes() error {
	switch s := e.handshakes; {
	case s.Failed > 0:
		return fmt.Errorf("%d handshakes failed, the last ones: %v", s.Failed, e.failures)
	case s.Handshakes == 0:
		return errors.New("there was no handshake")
	}
	return nil
}

// judgePods wants every pod to trust the new anchor, and its stamp to say what
// it carries. It may carry the old one besides: that was there when it started.
func (e *end) judgePods() error {
	for i := range e.pods {
		carried, err := stamped(&e.pods[i])
		if err != nil {
			return err
		}
		if !carried.ContainsAll(e.after) {
			return fmt.Errorf("pod %s does not carry the new anchor", e.pods[i].Name)
		}
	}
	want := replica // of the Deployment of the first act
	for _, w := range e.application() {
		want += w.Pods
	}
	if len(e.pods) != want {
		return fmt.Errorf("there are %d pods, not %d", len(e.pods), want)
	}
	return nil
}
