package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/clock"
)

// managersNamespace is where both managers look for the objects of cluster-scoped
// kinds; see hack/lab/controlplane.
const managersNamespace = "cert-manager"

// bringUp starts the components and waits until the lab is of use.
func (l *Lab) bringUp(ctx context.Context, binaries Binaries) error {
	c := clock.RealClock{}
	began := c.Now()
	// The API server waits for etcd by itself.
	if err := l.startAll(Etcd, APIServer); err != nil {
		return err
	}
	if err := l.waitReady(ctx); err != nil {
		return err
	}
	if err := l.startAll(ControllerManager, Scheduler, Kwok); err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return l.addNodes(groupCtx) })
	group.Go(func() error { return l.addManagers(groupCtx, binaries) })
	group.Go(func() error { return l.waitServiceAccount(groupCtx) })
	if err := group.Wait(); err != nil {
		return err
	}
	fmt.Fprintf(l.options.Progress, "lab: ready after %.1f s\n", c.Since(began).Seconds())
	return nil
}

func (l *Lab) startAll(components ...Component) error {
	for _, c := range components {
		if err := l.StartComponent(c); err != nil {
			return err
		}
	}
	return nil
}

// waitServiceAccount waits for the controller-manager's first work: without the
// default service account no pod can be created.
func (l *Lab) waitServiceAccount(ctx context.Context) error {
	return l.poll(ctx, "the default service account", func(ctx context.Context) (bool, error) {
		_, err := l.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, nil
	})
}

// addManagers installs and starts cert-manager and trust-manager, as far as they
// are wanted. Their controllers exit when a CRD they watch is not there.
func (l *Lab) addManagers(ctx context.Context, binaries Binaries) error {
	if !l.options.CertManager && !l.options.TrustManager {
		return nil
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: managersNamespace}}
	if _, err := l.client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating namespace %s: %w", managersNamespace, err)
	}
	for _, c := range []Component{CertManager, TrustManager} {
		if l.processes[c] == nil {
			continue
		}
		crds, err := readObjects(filepath.Join(binaries.crds, string(c)))
		if err != nil {
			return err
		}
		if err := l.installCRDs(ctx, crds); err != nil {
			return err
		}
		if err := l.StartComponent(c); err != nil {
			return err
		}
	}
	return nil
}

func crdResource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
}

// InstallCRDs creates the CustomResourceDefinitions of the YAML files of a folder
// and waits until the API server serves them. Those that exist are left alone.
func (l *Lab) InstallCRDs(ctx context.Context, dir string) error {
	crds, err := readObjects(dir)
	if err != nil {
		return err
	}
	return l.installCRDs(ctx, crds)
}

func (l *Lab) installCRDs(ctx context.Context, crds []*unstructured.Unstructured) error {
	client, err := dynamic.NewForConfig(l.config)
	if err != nil {
		return fmt.Errorf("building a client for CRDs: %w", err)
	}
	resource := client.Resource(crdResource())
	for _, crd := range crds {
		if _, err := resource.Create(ctx, crd, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("creating CRD %s: %w", crd.GetName(), err)
		}
	}
	for _, crd := range crds {
		err := l.poll(ctx, "CRD "+crd.GetName()+" to be established", func(ctx context.Context) (bool, error) {
			got, err := resource.Get(ctx, crd.GetName(), metav1.GetOptions{})
			return err == nil && established(got), nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func established(crd *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	for _, condition := range conditions {
		fields, _ := condition.(map[string]any)
		if fields["type"] == "Established" {
			return fields["status"] == "True"
		}
	}
	return false
}

// readObjects reads every object of the YAML files of a folder.
func readObjects(dir string) ([]*unstructured.Unstructured, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("reading CRDs: %s holds no YAML file", dir)
	}
	var objects []*unstructured.Unstructured
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading CRDs: %w", err)
		}
		decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
		for {
			object := &unstructured.Unstructured{}
			err := decoder.Decode(object)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("reading %s: %w", file, err)
			}
			if object.GetKind() == "CustomResourceDefinition" {
				objects = append(objects, object)
			}
		}
	}
	return objects, nil
}
