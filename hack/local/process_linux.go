package local

import (
	"os/exec"
	"runtime"
	"syscall"
)

func endWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// run starts the process and waits for it on one thread: the kernel sends the
// death signal when the thread ends that started the child.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err == nil {
		p.cmd.Wait() // the exit code of a process that is told to end says nothing
	}
	close(p.done)
}
