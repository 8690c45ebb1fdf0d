// Command controlplane is every component of the lab in one program: etcd,
// kube-apiserver, kube-controller-manager, kube-scheduler, kwok, and the
// controllers of cert-manager and trust-manager.
//
// One program because they share most of their code: linked once they take a
// third of the time and of the space that seven programs take. It is a module
// of its own because k8s.io/kubernetes can only be imported with a replace line
// for each of its staging modules, which the main module must not have.
//
// The component is chosen by the name the program is called by, so that a link
// named etcd is etcd, or else by the first argument:
//
//	controlplane kube-apiserver --etcd-servers=...
//
// All flags after it are the component's own. cert-manager and trust-manager
// take --kubeconfig only: their own commands listen on all addresses or are not
// importable, so the controllers are wired here.
package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // the components' client metrics
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// component runs one component with os.Args already its own and returns the
// exit code.
type component func() int

func components() map[string]component {
	return map[string]component{
		"etcd":                    etcd,
		"kube-apiserver":          command(apiserver.NewAPIServerCommand),
		"kube-controller-manager": command(controllermanager.NewControllerManagerCommand),
		"kube-scheduler":          command(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
		"kwok":                    kwok,
		"cert-manager":            controllers("cert-manager", runCertManager),
		"trust-manager":           controllers("trust-manager", runTrustManager),
	}
}

func main() {
	known := components()
	if run, ok := known[filepath.Base(os.Args[0])]; ok {
		os.Exit(run())
	}
	if len(os.Args) > 1 {
		if run, ok := known[os.Args[1]]; ok {
			// The components read os.Args; it must look as if they were
			// called by their own name.
			os.Args = os.Args[1:]
			os.Exit(run())
		}
	}
	fmt.Fprintf(os.Stderr, "usage: %s COMPONENT [flags]\ncomponents: %v\n",
		filepath.Base(os.Args[0]), slices.Sorted(maps.Keys(known)))
	os.Exit(2)
}

func command(build func() *cobra.Command) component {
	return func() int { return cli.Run(build()) }
}

func etcd() int {
	etcdmain.Main(os.Args)
	return 0
}
