// Command lab keeps a Kubernetes control plane on loopback for playing and
// developing with: "lab up" starts it, "lab down" ends it. Package lab says what
// is in it and where its files are.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/reanchor/reanchor/hack/lab"
)

type cli struct {
	Up     up     `cmd:"" help:"Start a lab, or do nothing when it runs. eval \"$(lab up)\" points kubectl at it."`
	Down   down   `cmd:"" help:"End a lab and remove its files, logs excepted."`
	Status status `cmd:"" help:"Show the labs and their processes."`
	Build  build  `cmd:"" help:"Build the control plane without starting it: ten minutes the first time."`
}

type up struct {
	Name         string `default:"default" help:"Name of the lab; several run side by side."`
	Nodes        int    `default:"6" help:"Number of fake nodes."`
	CertManager  bool   `default:"true" negatable:"" help:"Run cert-manager."`
	TrustManager bool   `default:"true" negatable:"" help:"Run trust-manager."`
	Assets       string `env:"KUBEBUILDER_ASSETS" type:"path" help:"Folder of ready-made binaries to use instead of building: etcd, kube-apiserver, ..."`
}

// streams are where a command writes: out what a script reads, progress the rest.
type streams struct{ out, progress io.Writer }

func (u up) Run(ctx context.Context, s streams) error {
	n, err := lab.Up(ctx, u.Name, lab.Options{
		Nodes: u.Nodes, CertManager: u.CertManager, TrustManager: u.TrustManager,
		Assets: u.Assets, Progress: s.progress,
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "# lab %q is up; logs: %s\nexport KUBECONFIG=%s\n", n.Name, n.LogDir, n.Kubeconfig)
	return nil
}

type down struct {
	Name string `default:"default" help:"Name of the lab."`
}

func (d down) Run(s streams) error {
	if err := lab.Down(d.Name); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "lab %q is down\n", d.Name)
	return nil
}

type status struct {
	Name string `help:"Name of the lab; without it all are shown."`
}

func (st status) Run(s streams) error {
	labs, err := st.labs()
	if err != nil {
		return err
	}
	if len(labs) == 0 {
		fmt.Fprintln(s.out, "no lab")
	}
	for _, n := range labs {
		fmt.Fprintf(s.out, "%s  kubeconfig %s\n", n.Name, n.Kubeconfig)
		for _, c := range n.Components {
			state := "running"
			if !c.Running() {
				state = "gone, see " + n.LogDir
			}
			fmt.Fprintf(s.out, "  %-24s pid %-8d %s\n", c.Component, c.PID, state)
		}
	}
	return nil
}

func (st status) labs() ([]lab.Named, error) {
	if st.Name == "" {
		return lab.List()
	}
	n, err := lab.Status(st.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return []lab.Named{n}, err
}

type build struct{}

func (build) Run(ctx context.Context, s streams) error {
	binaries, err := lab.Build(ctx, s.progress)
	if err != nil {
		return err
	}
	fmt.Fprintln(s.out, binaries.Program())
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	parsed := kong.Parse(&cli{}, kong.Name("lab"), kong.UsageOnError(),
		kong.Description("A Kubernetes control plane on loopback, built from Go modules."),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(streams{out: os.Stdout, progress: os.Stderr}))
	parsed.FatalIfErrorf(parsed.Run())
}
