package admission

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab"
	"github.com/reanchor/reanchor/hack/local"
	manifests "github.com/reanchor/reanchor/manifests/webhook"
	"github.com/reanchor/reanchor/test/audit"
)

// Names of the installation.
const (
	systemNamespace = "reanchor-system"
	serviceAccount  = "reanchor-webhook"
	servingSecret   = "reanchor-webhook-tls"
	stampName       = "zz-reanchor-stamp"
	validateName    = "reanchor-validate"
)

// cluster is the lab with the admission edge installed. The tests of this
// package share it, one after the other.
type cluster struct {
	lab        *lab.Lab
	kube       kubernetes.Interface
	client     client.Client
	binary     string
	kubeconfig string
	balancer   *balancer
	replicas   []*replica
	audit      *audit.Log
}

var shared *cluster

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "reanchor-admission-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	shared, err = start(dir)
	if shared != nil {
		defer shared.stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if code == 0 && audit.EveryTest() {
		if err := errors.Join(leastPrivilege(), shared.lab.NodesStayedReady(context.Background())); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// leastPrivilege returns an error when the manifests permit the webhook what it
// used in no test.
func leastPrivilege() error {
	granted, err := audit.Granted("../../manifests/webhook/rbac.yaml")
	if err != nil {
		return err
	}
	used, err := shared.audit.Used()
	if err != nil {
		return err
	}
	return audit.Check(used, granted, nil)
}

// start brings up everything. What is up when it fails is in the cluster it
// returns.
func start(dir string) (*cluster, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute) // a first start builds the lab
	defer cancel()
	c := &cluster{binary: filepath.Join(dir, "reanchor"), kubeconfig: filepath.Join(dir, "kubeconfig")}
	err := local.Build(ctx, "../..", c.binary)
	if err != nil {
		return c, err
	}
	if c.audit, err = audit.New(dir, systemNamespace, serviceAccount); err != nil {
		return c, err
	}
	args := map[lab.Component][]string{lab.APIServer: c.audit.Args()}
	if c.lab, err = lab.Start(ctx, lab.Options{Nodes: 2, Progress: os.Stderr, ExtraArgs: args}); err != nil {
		return c, err
	}
	if err := c.lab.InstallCRDs(ctx, "../../manifests/crds"); err != nil {
		return c, err
	}
	if err := c.connect(); err != nil {
		return c, err
	}
	if err := c.install(ctx); err != nil {
		return c, err
	}
	for range 2 {
		r, err := newReplica(c, dir)
		if err != nil {
			return c, err
		}
		c.replicas = append(c.replicas, r)
	}
	c.balancer.backends = c.replicas
	return c, c.startReplicas(ctx)
}

func (c *cluster) connect() error {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	var err error
	if c.client, err = client.New(c.lab.Config(), client.Options{Scheme: scheme}); err != nil {
		return err
	}
	c.kube, err = kubernetes.NewForConfig(c.lab.Config())
	return err
}

// install applies the manifests, with a balancer in the place of the Service.
func (c *cluster) install(ctx context.Context) error {
	if err := c.create(ctx, "namespace.yaml", &corev1.Namespace{}); err != nil {
		return err
	}
	if err := c.create(ctx, "rbac.yaml", &corev1.ServiceAccount{}, &rbacv1.ClusterRole{}, &rbacv1.ClusterRoleBinding{},
		&rbacv1.Role{}, &rbacv1.RoleBinding{}); err != nil {
		return err
	}
	var err error
	if c.balancer, err = newBalancer(); err != nil {
		return err
	}
	mutating, validating, err := manifests.ConfigurationsFor(c.balancer.url(0))
	if err != nil {
		return err
	}
	if err := c.client.Create(ctx, mutating); err != nil {
		return err
	}
	if err := c.client.Create(ctx, validating); err != nil {
		return err
	}
	return local.WriteKubeconfig(ctx, c.lab, c.kubeconfig, serviceAccount)
}

// create creates the first objects of a file, which are of the given types.
func (c *cluster) create(ctx context.Context, file string, objects ...client.Object) error {
	documents, err := manifests.Documents(file)
	if err != nil {
		return err
	}
	for i, object := range objects {
		if err := yaml.UnmarshalStrict(documents[i], object); err != nil {
			return fmt.Errorf("decoding %s: %w", file, err)
		}
		if err := c.client.Create(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// startReplicas starts those that are not running and waits until all are ready.
func (c *cluster) startReplicas(ctx context.Context, args ...string) error {
	for _, r := range c.replicas {
		if err := r.start(args...); err != nil {
			return err
		}
	}
	for _, r := range c.replicas {
		if err := r.waitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) stop() {
	for _, r := range c.replicas {
		r.kill()
	}
	if c.balancer != nil {
		c.balancer.close()
	}
	if c.lab != nil {
		if err := c.lab.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}
