package linkerd_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/lab/identity"
	"github.com/reanchor/reanchor/hack/lab/kubelet"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, within time.Duration, ask func() error) {
	t.Helper()
	for end := time.Now().Add(within); ; time.Sleep(50 * time.Millisecond) {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %s: %v", within, err)
		}
	}
}

// start runs a mesh until the test ends.
func start(t *testing.T, l *lab.Lab, o linkerd.Options) *linkerd.Mesh {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	m, err := linkerd.Start(ctx, l.Config(), o)
	check(t, err)
	t.Cleanup(func() { check(t, m.Stop(context.WithoutCancel(t.Context()))) })
	return m
}

func TestMeshesSideBySide(t *testing.T) {
	l, err := lab.Start(t.Context(), lab.Options{CertManager: true, TrustManager: true, Progress: os.Stderr})
	check(t, err)
	t.Cleanup(func() { check(t, l.Stop()) })
	k, err := kubelet.Start(t.Context(), l.Config(), kubelet.Options{})
	check(t, err)
	t.Cleanup(k.Stop)
	inPlace := start(t, l, linkerd.Options{Kubelet: k, Foreign: true, Workloads: 8, Namespaces: 2})
	generations := start(t, l, linkerd.Options{Kubelet: k, Name: "blue", Layout: v1alpha1.LayoutGenerations, Workloads: 2})
	plain := start(t, l, linkerd.Options{
		Kubelet: k, Name: "red", Layout: v1alpha1.LayoutGenerations, Writer: v1alpha1.BundleWriterReanchor, Foreign: true,
	})

	t.Run("each publishes its own anchor, which signs its issuer", func(t *testing.T) {
		for m, anchors := range map[*linkerd.Mesh]int{inPlace: 2, generations: 1, plain: 2} {
			published, err := m.Published(t.Context())
			check(t, err)
			anchor, err := m.Anchor(t.Context())
			check(t, err)
			signer, err := m.SignedBy(t.Context())
			check(t, err)
			if len(published) != anchors || !published.Has(anchor) || signer != anchor {
				t.Errorf("%s publishes %s, its anchor is %.8s and its issuer is signed by %.8s", m.Mesh, published, anchor, signer)
			}
			if f := m.Foreign(); f != "" && !published.Has(f) {
				t.Errorf("%s does not publish the foreign anchor", m.Mesh)
			}
		}
	})
	t.Run("the MeshTrust is valid", func(t *testing.T) {
		check(t, l.InstallCRDs(t.Context(), "../../../manifests/crds"))
		for _, m := range []*linkerd.Mesh{inPlace, generations, plain} {
			check(t, m.Client.Create(t.Context(), m.MeshTrust()))
		}
	})
	t.Run("a restart is counted, and the pod that was down", func(t *testing.T) {
		restart(t, inPlace, "app-2")
		eventually(t, time.Minute, func() error {
			for _, r := range inPlace.History.Restarted() {
				want := 0
				if r.Name == "app-2" {
					want = 1
				}
				if r.Templates != want || r.Times() != float64(want) {
					return fmt.Errorf("%+v, want %d restarts", r, want)
				}
			}
			return nil
		})
		if n := inPlace.History.MaxUnavailable(); n != 1 {
			t.Errorf("%d pods were missing at the worst, want 1", n)
		}
		if got, want := inPlace.History.RestartsPerWorkload(), 1.0/8; got != want {
			t.Errorf("%.3f restarts per workload, want %.3f", got, want)
		}
	})
	t.Run("the anchor's renewal widens the bundle, and the issuer stays where it was", func(t *testing.T) {
		before, err := inPlace.Anchor(t.Context())
		check(t, err)
		check(t, inPlace.RenewNow(t.Context(), inPlace.AnchorKey()))
		var after string
		eventually(t, time.Minute, func() error {
			published, err := inPlace.Published(t.Context())
			if err == nil {
				after, err = inPlace.Anchor(t.Context())
			}
			if err == nil && (len(published) != 3 || !published.Has(before) || !published.Has(after)) {
				err = fmt.Errorf("published are %s", published)
			}
			return err
		})
		signer, err := inPlace.SignedBy(t.Context())
		check(t, err)
		if signer != before || after == before {
			t.Errorf("the issuer is signed by %.8s; the anchor was %.8s and is %.8s", signer, before, after)
		}
	})
	t.Run("an anchor that leaves the bundle is noticed, and what still chains to it", func(t *testing.T) {
		anchor, err := plain.Anchor(t.Context())
		check(t, err)
		var whole corev1.ConfigMap
		check(t, plain.Client.Get(t.Context(), plain.BundleKey(), &whole))
		for _, anchors := range [][]string{{anchor}, {anchor, plain.Foreign()}, {plain.Foreign()}, {anchor, plain.Foreign()}} {
			publish(t, plain, whole.Data[identity.BundleKey], anchors...)
		}
		eventually(t, time.Minute, func() error {
			n := plain.Narrowings()
			if len(n) != 2 || !n[0].Dropped.Has(plain.Foreign()) || len(n[0].Orphans) != 0 ||
				!n[1].Dropped.Has(anchor) || len(n[1].Orphans) != 6+2 { // every pod, and the replicas of identity
				return fmt.Errorf("want the foreign anchor dropped, with no orphans, and then the own one with eight, have %+v", n)
			}
			return nil
		})
		if n := inPlace.Narrowings(); len(n) != 0 {
			t.Errorf("a bundle was narrowed that nobody touched: %+v", n)
		}
	})
	t.Run("a cert-manager that issues the anchor twice gives a mesh with one anchor", func(t *testing.T) {
		for name, layout := range map[string]v1alpha1.Layout{"twice": v1alpha1.LayoutInPlace, "twice-new": v1alpha1.LayoutGenerations} {
			t.Run(string(layout), func(t *testing.T) {
				t.Parallel()
				// The bundle rests for longer than a slow cert-manager takes to issue.
				issuedTwice(t, l, inPlace.Client, linkerd.Options{Kubelet: k, Name: name, Layout: layout, Times: linkerd.Times{File: 20 * time.Second}})
			})
		}
	})
	t.Run("no handshake has failed", func(t *testing.T) {
		for _, m := range []*linkerd.Mesh{inPlace, generations, plain} {
			if s := m.Score(); s.Failed != 0 || s.Handshakes < 100 {
				t.Errorf("%s: %s; %v", m.Mesh, s, m.Proxies.Failures())
			}
		}
	})
}

// issuedTwice has the anchor issued again when it has just been published.
func issuedTwice(t *testing.T, l *lab.Lab, c client.Client, o linkerd.Options) {
	t.Helper()
	names := linkerd.NamesOf(o.Name)
	renewed := make(chan error, 1)
	go func() {
		cm := client.ObjectKey{Namespace: names.Mesh, Name: names.Bundle}
		for c.Get(t.Context(), cm, &corev1.ConfigMap{}) != nil && t.Context().Err() == nil {
			time.Sleep(100 * time.Millisecond)
		}
		renewed <- linkerd.Renew(t.Context(), c, client.ObjectKey{Namespace: linkerd.TrustNamespace, Name: names.Anchor})
	}()
	m := start(t, l, o)
	check(t, <-renewed)
	anchor, err := m.Anchor(t.Context())
	check(t, err)
	published, err := m.Published(t.Context())
	check(t, err)
	signer, err := m.SignedBy(t.Context())
	check(t, err)
	if len(published) != 1 || !published.Has(anchor) || signer != anchor {
		t.Errorf("%s publishes %s, its anchor is %.8s and its issuer is signed by %.8s", m.Mesh, published, anchor, signer)
	}
	u := linkerd.Certificate()
	check(t, c.Get(t.Context(), m.AnchorKey(), u))
	if revision, _, _ := unstructured.NestedInt64(u.Object, "status", "revision"); revision < 2 {
		t.Errorf("the anchor is of revision %d, want it issued twice", revision)
	}
}

// restart changes a Deployment's template.
func restart(t *testing.T, m *linkerd.Mesh, name string) {
	t.Helper()
	for _, w := range m.Workloads() {
		if w.Name == name {
			patch := []byte(`{"spec":{"template":{"metadata":{"annotations":{"test":"1"}}}}}`)
			check(t, m.Client.Patch(t.Context(), linkerd.Deployment(w, false), client.RawPatch("application/merge-patch+json", patch)))
		}
	}
}

// publish writes a plain bundle with just these of the anchors of a text.
func publish(t *testing.T, m *linkerd.Mesh, text string, anchors ...string) {
	t.Helper()
	kept := ""
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		if slices.Contains(anchors, identity.Fingerprint(block.Bytes)) {
			kept += string(pem.EncodeToMemory(block))
		}
	}
	var cm corev1.ConfigMap
	check(t, m.Client.Get(t.Context(), m.BundleKey(), &cm))
	cm.Data[identity.BundleKey] = kept
	check(t, m.Client.Update(t.Context(), &cm))
}
