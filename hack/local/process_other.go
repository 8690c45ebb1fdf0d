//go:build !linux

package local

import "os/exec"

// endWithParent has no counterpart here: a killed parent leaves its children.
func endWithParent(*exec.Cmd) {}

func (p *Process) run(started chan<- error) {
	err := p.cmd.Start()
	started <- err
	if err == nil {
		p.cmd.Wait()
	}
	close(p.done)
}
