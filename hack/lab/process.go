package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// spawner starts processes from one thread that lives as long as the lab.
//
// On Linux the kernel can be told to kill a child when its parent dies, but it
// takes the parent to be the *thread* that forked. Go ends a thread when a
// goroutine that is locked to it returns, so a child that is started from just
// any goroutine may be killed while the program goes on.
type spawner struct {
	requests chan func()
	closed   chan struct{}
	attr     func() *syscall.SysProcAttr
}

func newSpawner(detach bool) *spawner {
	s := &spawner{requests: make(chan func()), closed: make(chan struct{}), attr: attachedAttr}
	if detach {
		s.attr = detachedAttr
	}
	go func() {
		runtime.LockOSThread()
		for {
			select {
			case request := <-s.requests:
				request()
			case <-s.closed:
				return
			}
		}
	}()
	return s
}

func (s *spawner) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = s.attr()
	result := make(chan error, 1)
	select {
	case s.requests <- func() { result <- cmd.Start() }:
		return <-result
	case <-s.closed:
		return errors.New("the lab has been stopped")
	}
}

// close ends the thread, and with it, on Linux, every child that still runs.
func (s *spawner) close() { close(s.closed) }

// process is one component, which may be killed and started again.
type process struct {
	name    Component
	path    string
	args    []string
	dir     string
	logPath string
	spawner *spawner
	// failed is told of an exit that nobody asked for.
	failed func(error)

	mu      sync.Mutex
	running *exec.Cmd     // nil when the component is down
	exited  chan struct{} // closed when running has ended
	wanted  bool          // false from the moment that a kill was asked for
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running != nil {
		return fmt.Errorf("starting %s: it is running", p.name)
	}
	log, err := os.OpenFile(p.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	defer log.Close()
	cmd := exec.Command(p.path, p.args...)
	cmd.Dir = p.dir
	cmd.Stdout, cmd.Stderr = log, log
	if err := p.spawner.start(cmd); err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	p.running, p.exited, p.wanted = cmd, make(chan struct{}), true
	go p.wait(cmd, p.exited)
	return nil
}

func (p *process) wait(cmd *exec.Cmd, exited chan struct{}) {
	err := cmd.Wait()
	p.mu.Lock()
	unexpected := p.wanted
	p.running, p.wanted = nil, false
	p.mu.Unlock()
	close(exited)
	if unexpected {
		p.failed(fmt.Errorf("%s exited by itself: %w; the end of %s:\n%s",
			p.name, orExitZero(err), p.logPath, lastLines(p.logPath, 15)))
	}
}

func orExitZero(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// kill ends the component with SIGKILL, stopped or not, and waits for its end.
func (p *process) kill() error {
	p.mu.Lock()
	cmd, exited := p.running, p.exited
	p.wanted = false
	p.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing %s: %w", p.name, err)
	}
	<-exited
	return nil
}

func (p *process) signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		return fmt.Errorf("sending %v to %s: it is not running", sig, p.name)
	}
	if err := p.running.Process.Signal(sig); err != nil {
		return fmt.Errorf("sending %v to %s: %w", sig, p.name, err)
	}
	return nil
}

// pid is 0 while the component is down.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		return 0
	}
	return p.running.Process.Pid
}

func lastLines(path string, n int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
