package own

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/hack/lab"
)

// The lab stands for somebody's cluster: with nothing of Reanchor in it, and
// something of others.
func TestTheDemoOnACluster(t *testing.T) {
	ctrl.SetLogger(logr.Discard())
	l, err := lab.Start(t.Context(), lab.Options{Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
	})
	c, err := client.New(l.Config(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	options := Options{Kubeconfig: l.Kubeconfig(), Image: "pause", Root: "../../.."}
	before := atRest(t, c)

	t.Run("without --yes it says what it would create, and creates nothing", func(t *testing.T) {
		var out bytes.Buffer
		if err := Run(t.Context(), options, &out); !errors.Is(err, ErrNotAsked) {
			t.Errorf("the error is %v", err)
		}
		for _, want := range []string{l.Config().Host, "meshtrusts.reanchor.dev", systemNamespace, appNamespace, controllerName, "4 Deployments of 2 pods"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("it does not say %q: %s", want, out.String())
			}
		}
		if diff := cmp.Diff(before, everything(t, c)); diff != "" {
			t.Errorf("the cluster changed: %s", diff)
		}
	})
	options.Yes = true
	t.Run("with --yes every workload is rolled, and nothing is left", func(t *testing.T) {
		var out bytes.Buffer
		if err := Run(t.Context(), options, &out); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		for _, want := range []string{"workloads rolled  4, each once", "pods replaced     8", "CanaryInFlight"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("it does not say %q: %s", want, out.String())
			}
		}
		if diff := cmp.Diff(before, everything(t, c)); diff != "" {
			t.Errorf("something is left or missing: %s", diff)
		}
	})
	t.Run("whoever interrupts it has a clean cluster too", func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		var out interrupted
		out.when, out.do = "A mesh of profile Generic", interrupt
		if err := Run(ctx, options, &out); !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v", err)
		}
		if diff := cmp.Diff(before, everything(t, c)); diff != "" {
			t.Errorf("something is left or missing: %s", diff)
		}
	})
	t.Run("what is somebody's is not touched", func(t *testing.T) {
		foreign := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: appNamespace}}
		if err := c.Create(t.Context(), foreign); err != nil {
			t.Fatal(err)
		}
		mine := atRest(t, c)
		var out bytes.Buffer
		if err := Run(t.Context(), options, &out); err == nil || !strings.Contains(err.Error(), appNamespace+" is there already") {
			t.Errorf("the error is %v", err)
		}
		removing := options
		removing.Yes, removing.Remove = false, true
		if err := Run(t.Context(), removing, &out); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(mine, everything(t, c)); diff != "" {
			t.Errorf("the cluster changed: %s", diff)
		}
	})
}

// interrupted is an output that does something when it reads a line.
type interrupted struct {
	bytes.Buffer
	when string
	do   func()
}

func (w *interrupted) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(w.when)) {
		w.do()
	}
	return w.Buffer.Write(p)
}

// atRest is everything once nothing more comes: a cluster that has just begun makes
// namespaces, and ConfigMaps and service accounts in each, on its own.
func atRest(t *testing.T, c client.Client) []string {
	t.Helper()
	last, since := everything(t, c), time.Now()
	for end := time.Now().Add(time.Minute); time.Since(since) < 3*time.Second; time.Sleep(200 * time.Millisecond) {
		if now := everything(t, c); !slices.Equal(now, last) {
			last, since = now, time.Now()
		}
		if time.Now().After(end) {
			t.Fatal("a cluster that nobody uses does not come to rest")
		}
	}
	return last
}

// everything is the names of all objects of the kinds that the demo creates.
func everything(t *testing.T, c client.Client) []string {
	t.Helper()
	var out []string
	for _, kind := range []schema.GroupVersionKind{
		{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}, {Version: "v1", Kind: "Namespace"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRole"}, {Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRoleBinding"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"}, {Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "RoleBinding"},
		{Group: "apps", Version: "v1", Kind: "Deployment"}, {Version: "v1", Kind: "Pod"}, {Version: "v1", Kind: "ConfigMap"}, {Version: "v1", Kind: "ServiceAccount"},
		{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingWebhookConfiguration"},
	} {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind)
		if err := c.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		for _, o := range list.Items {
			out = append(out, kind.Kind+" "+o.Namespace+"/"+o.Name)
		}
	}
	slices.Sort(out)
	return out
}

// The controller of the demo writes no workload outside the demo's namespace.
func TestTheControllerMayWriteNoWorkloadOfOthers(t *testing.T) {
	w := &world{options: Options{Root: "../../.."}}
	rights, err := w.rights()
	if err != nil {
		t.Fatal(err)
	}
	rules := 0
	for _, o := range rights {
		role, ok := o.(*rbacv1.ClusterRole)
		if !ok {
			continue
		}
		for _, rule := range role.Rules {
			rules++
			for _, verb := range rule.Verbs {
				harmless := slices.Contains([]string{"get", "list", "watch"}, verb)
				own := slices.Equal(rule.APIGroups, []string{"reanchor.dev"}) || slices.Equal(rule.Resources, []string{"events"})
				if !harmless && !own {
					t.Errorf("it may %s any of %v", verb, rule.Resources)
				}
				if slices.Contains(rule.Resources, "secrets") || slices.Contains(rule.Resources, "configmaps") {
					t.Errorf("it may %s %v everywhere", verb, rule.Resources)
				}
			}
		}
	}
	if rules < 5 {
		t.Errorf("only %d rules were looked at", rules)
	}
}

func TestFlagsForAClusterNeedACluster(t *testing.T) {
	for _, args := range [][]string{{"--yes"}, {"--remove"}, {"--context", "x"}} {
		parser, err := kong.New(&Options{}, kong.Exit(func(int) {}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse(args); err == nil || !strings.Contains(err.Error(), "--kubeconfig") {
			t.Errorf("%v: %v", args, err)
		}
	}
}
