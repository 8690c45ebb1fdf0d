package local

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// Process is a child process with its output in a file.
type Process struct {
	// Log is the path of its output.
	Log string

	cmd  *exec.Cmd
	done chan struct{}
}

// StartProcess starts a program. It ends with this process, however that ends,
// where the system can see to it.
func StartProcess(log, program string, args ...string) (*Process, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", program, err)
	}
	defer file.Close()
	p := &Process{Log: log, cmd: exec.Command(program, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = file, file
	endWithParent(p.cmd)
	started := make(chan error, 1)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", program, err)
	}
	return p, nil
}

// Stop asks the process to end, and ends it after ten seconds.
func (p *Process) Stop() {
	p.cmd.Process.Signal(os.Interrupt) // it may have ended, which is what is wanted
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		p.Kill()
	}
}

// Kill ends the process at once.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// Signal sends the process a signal, such as SIGSTOP.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("sending %v: %w", s, err)
	}
	return nil
}

// Tail returns the last lines of the output.
func (p *Process) Tail(lines int) string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}
