// Command pkitree writes the certificates of a kubeadm, kops, k3s or rke2 node
// into a directory, to try `reanchor check --rootfs` on:
//
//	go run ./hack/pkitree -layout kops-1.30 -incident /tmp/node
//	go run ./cmd/reanchor check --rootfs /tmp/node --no-probe --no-processes
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/reanchor/reanchor/checker/checkertest"
)

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "pkitree:", err)
		os.Exit(1)
	}
}

func run(args []string, usage io.Writer) error {
	flags := flag.NewFlagSet("pkitree", flag.ContinueOnError)
	flags.SetOutput(usage)
	layout := flags.String("layout", string(checkertest.Kops130), fmt.Sprint("one of ", checkertest.Layouts()))
	incident := flags.Bool("incident", false, "kops: the leaves on the main etcd volume have expired, and an old token's directory lies beside")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("reading arguments: %w", err)
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("want one directory to write to, got %d", flags.NArg())
	}
	return checkertest.Write(flags.Arg(0), checkertest.Layout(*layout), checkertest.Options{Now: time.Now(), Incident: *incident})
}
