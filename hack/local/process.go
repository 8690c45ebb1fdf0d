package local

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"
)

// Process is a child process with its output in a file.
type Process struct {
	// Log is the path of its output.
	Log string

	program string
	args    []string
	// keep says that it is started again when it ends by itself.
	keep bool
	done chan struct{}

	mu    sync.Mutex
	cmd   *exec.Cmd
	runs  int
	ended bool
}

// backOff is how long a process that ended by itself stays away.
const backOff = time.Second

// StartProcess starts a program. It ends with this process, however that ends,
// where the system can see to it.
func StartProcess(log, program string, args ...string) (*Process, error) {
	return start(&Process{Log: log, program: program, args: args, done: make(chan struct{})})
}

// KeepProcess does the same and starts the program again whenever it ends by
// itself, as a kubelet does: a controller that lost its lease is meant to end.
func KeepProcess(log, program string, args ...string) (*Process, error) {
	return start(&Process{Log: log, program: program, args: args, keep: true, done: make(chan struct{})})
}

func start(p *Process) (*Process, error) {
	started := make(chan error, 1)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.program, err)
	}
	return p, nil
}

// run starts the process and waits for it, on one thread.
func (p *Process) run(started chan<- error) {
	release := ownThread()
	defer release()
	defer close(p.done)
	cmd, err := p.begin()
	started <- err
	for err == nil {
		cmd.Wait() // the exit code of a process that is told to end says nothing
		if !p.keep || p.isEnded() {
			return
		}
		time.Sleep(backOff)
		cmd, err = p.begin()
	}
}

var errEnded = errors.New("it was told to end")

func (p *Process) begin() (*exec.Cmd, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil, errEnded
	}
	file, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening its log: %w", err)
	}
	defer file.Close()
	p.cmd = exec.Command(p.program, p.args...)
	p.cmd.Stdout, p.cmd.Stderr = file, file
	endWithParent(p.cmd)
	p.runs++
	return p.cmd, p.cmd.Start()
}

// Runs is how many times the program was started.
func (p *Process) Runs() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.runs
}

// Done is closed when the program has ended and is not started again.
func (p *Process) Done() <-chan struct{} { return p.done }

func (p *Process) isEnded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

// Stop asks the process to end, and ends it after ten seconds.
func (p *Process) Stop() {
	p.end(os.Interrupt)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		p.Kill()
	}
}

// Kill ends the process at once.
func (p *Process) Kill() {
	p.end(os.Kill)
	<-p.done
}

// end makes it the last run.
func (p *Process) end(s os.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.cmd.Process.Signal(s) // it may have ended, which is what is wanted
}

// Signal sends the process a signal, such as SIGSTOP.
func (p *Process) Signal(s os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
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
