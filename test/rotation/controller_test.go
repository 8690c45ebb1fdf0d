package rotation

import (
	"os"
	"path/filepath"
	"sync"

	"github.com/reanchor/reanchor/hack/local"
)

// kept is a controller that is started again whenever it ends, as a kubelet does
// with a container. All compete for the lease.
type kept struct {
	log, metrics string

	mu      sync.Mutex
	process *local.Process
	err     error
	ending  bool
	lives   int
	ended   chan struct{}
}

// keep starts a controller; all its lives write one log.
func keep(name, metrics string) (*kept, error) {
	k := &kept{log: filepath.Join(env.dir, name+".log"), metrics: metrics, ended: make(chan struct{})}
	if err := k.start(); err != nil {
		return nil, err
	}
	go k.restart()
	return k, nil
}

func (k *kept) start() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ending {
		return nil
	}
	k.process, k.err = local.StartProcess(k.log, filepath.Join(env.dir, "reanchor"), "controller",
		"--kubeconfig="+filepath.Join(env.dir, "controller.kubeconfig"), "--lease-duration=4s",
		"--metrics-address="+k.metrics, "--health-address=127.0.0.1:0", "-v1")
	k.lives++
	return k.err
}

// restart goes on until stop.
func (k *kept) restart() {
	defer close(k.ended)
	for {
		<-k.current().Done()
		k.mu.Lock()
		ending := k.ending
		k.mu.Unlock()
		if ending || k.start() != nil {
			return
		}
	}
}

func (k *kept) current() *local.Process {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.process
}

// stop ends the controller for good.
func (k *kept) stop() {
	k.mu.Lock()
	k.ending = true
	k.mu.Unlock()
	k.current().Stop()
	<-k.ended
}

// signal reaches the life that there is now.
func (k *kept) signal(s os.Signal) error { return k.current().Signal(s) }
