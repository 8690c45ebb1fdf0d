// Command reanchor changes what a running mesh trusts, and finds the
// certificates that will take a control plane down.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// commands are the modes of the program.
type commands struct {
	Check      CheckCmd      `cmd:"" help:"Find the certificate that will take the control plane down."`
	Controller ControllerCmd `cmd:"" help:"Roll the owners of pods whose trust differs from the published bundle."`
	Webhook    WebhookCmd    `cmd:"" help:"Stamp meshed pods with their trust, and deny those whose trust is broken."`
	Version    VersionCmd    `cmd:"" help:"Print which version this is."`
}

// streams are where a command writes.
type streams struct{ out, err io.Writer }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal does not wait
	err := run(ctx, os.Args[1:], streams{os.Stdout, os.Stderr})
	stop()
	os.Exit(exitCode(err))
}

// run parses and runs one command. Errors are printed here, once.
func run(ctx context.Context, args []string, s streams) error {
	var cli commands
	done := false
	parser, err := kong.New(&cli, kong.Name("reanchor"),
		kong.Description("Changes what a running mesh trusts, without one failed handshake and without a human."),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(s), kong.Writers(s.out, s.err), kong.Exit(func(int) { done = true }))
	if err != nil {
		return fmt.Errorf("building the command line: %w", err)
	}
	parsed, err := parser.Parse(args)
	switch {
	case done:
		return nil
	case err == nil:
		err = parsed.Run()
	default:
		err = misuse(err)
	}
	if err != nil && err.Error() != "" {
		fmt.Fprintln(s.err, "reanchor:", err)
	}
	return err
}

// misuse says where the right use is described. Of a check it is an answer of its
// own, unknown.
func misuse(err error) error {
	var wrong *kong.ParseError
	if !errors.As(err, &wrong) || wrong.Context.Selected() == nil {
		return fmt.Errorf("%w; see reanchor --help", err)
	}
	command := wrong.Context.Selected()
	err = fmt.Errorf("%w; see %s --help", err, command.FullPath())
	if command.Name == "check" {
		return checkFailed{unknownCode, err}
	}
	return err
}

// exitCode lets a command choose.
func exitCode(err error) int {
	var coded interface{ ExitCode() int }
	switch {
	case err == nil:
		return 0
	case errors.As(err, &coded):
		return coded.ExitCode()
	default:
		return 1
	}
}
