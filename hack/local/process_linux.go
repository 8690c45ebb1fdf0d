package local

import (
	"os/exec"
	"runtime"
	"syscall"
)

func endWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// ownThread keeps the goroutine on one thread: the kernel sends the death signal
// when the thread ends that started the child.
func ownThread() (release func()) {
	runtime.LockOSThread()
	return runtime.UnlockOSThread
}
