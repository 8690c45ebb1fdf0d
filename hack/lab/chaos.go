package lab

import (
	"context"
	"fmt"
	"syscall"
)

// Kill ends a component with SIGKILL and waits until it is gone. It is no error
// when it is down already.
func (l *Lab) Kill(c Component) error {
	p, err := l.process(c)
	if err != nil {
		return err
	}
	return p.kill()
}

// StartComponent starts a component that was killed, on its old ports and data,
// and does not wait for it to be ready.
func (l *Lab) StartComponent(c Component) error {
	p, err := l.process(c)
	if err != nil {
		return err
	}
	if err := p.start(); err != nil || l.options.record == nil {
		return err
	}
	return l.options.record(c, p.pid())
}

// Restart kills a component, starts it, and waits until the API server is ready.
func (l *Lab) Restart(ctx context.Context, c Component) error {
	if err := l.Kill(c); err != nil {
		return err
	}
	if err := l.StartComponent(c); err != nil {
		return err
	}
	return l.waitReady(ctx)
}

// Pause stops a component in its tracks (SIGSTOP): it keeps its ports, its
// connections and its memory, and answers nothing.
func (l *Lab) Pause(c Component) error { return l.signal(c, syscall.SIGSTOP) }

// Resume lets a paused component go on.
func (l *Lab) Resume(c Component) error { return l.signal(c, syscall.SIGCONT) }

func (l *Lab) signal(c Component, sig syscall.Signal) error {
	p, err := l.process(c)
	if err != nil {
		return err
	}
	return p.signal(sig)
}

func (l *Lab) process(c Component) (*process, error) {
	p, ok := l.processes[c]
	if !ok {
		return nil, fmt.Errorf("component %q: this lab has none of that name", c)
	}
	return p, nil
}
