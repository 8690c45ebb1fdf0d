package e2e

import (
	"os/exec"
	"syscall"
)

// endWithParent lets the kernel end the process when the tests are killed. The
// signal follows the thread that started it; test binaries keep theirs.
func endWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
