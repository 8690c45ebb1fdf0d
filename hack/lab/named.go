package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"
)

const (
	namedDir  = "named"
	stateFile = "state.json"
	// killTimeout is how long a killed process may take to be gone; longer
	// means that it hangs in the kernel.
	killTimeout = 10 * time.Second
)

// Named is a lab that outlives the process that started it.
type Named struct {
	Name string `json:"name"`
	// Kubeconfig is the path of the administrator's kubeconfig.
	Kubeconfig string `json:"kubeconfig"`
	// LogDir is the folder of the components' logs.
	LogDir string `json:"logDir"`
	// Components are in the order in which they were started.
	Components []NamedComponent `json:"components"`
	// Complete is false until the start has succeeded.
	Complete bool `json:"complete"`
}

// NamedComponent is one process of a named lab.
type NamedComponent struct {
	Component Component `json:"component"`
	PID       int       `json:"pid"`
	// Started tells the process from a later one with the same pid.
	Started string `json:"started"`
}

// Running tells whether the process that was started is still there.
func (c NamedComponent) Running() bool {
	started, err := startedAt(c.PID)
	return err == nil && started == c.Started
}

// Running tells whether the lab was started wholly and every component is there.
func (n Named) Running() bool {
	return n.Complete && !slices.ContainsFunc(n.Components, func(c NamedComponent) bool { return !c.Running() })
}

// Up starts a lab that runs until Down, and returns the one of that name when it
// runs already; o is of no effect then. What is left of one that broke is
// cleared first.
func Up(ctx context.Context, name string, o Options) (Named, error) {
	dir, err := namedPath(name)
	if err != nil {
		return Named{}, err
	}
	if n, err := Status(name); err == nil && n.Running() {
		return n, nil
	}
	if err := Down(name); err != nil {
		return Named{}, err
	}
	o.Dir = dir
	n := Named{Name: name, Kubeconfig: filepath.Join(dir, adminKubeconfig), LogDir: filepath.Join(dir, logsDir)}
	// Written as each component starts, so that a starter that is killed
	// half-way leaves a list of what it started.
	o.record = func(c Component, pid int) error {
		started, err := startedAt(pid)
		if err != nil {
			return err
		}
		n.Components = append(n.Components, NamedComponent{Component: c, PID: pid, Started: started})
		return n.write(dir)
	}
	l, err := Start(ctx, o)
	if err != nil {
		return Named{}, err
	}
	n.Complete = true
	if err := n.write(dir); err != nil {
		return Named{}, errors.Join(err, l.Stop())
	}
	l.letGo()
	return n, nil
}

func (n Named) write(dir string) error {
	data, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return fmt.Errorf("recording the lab: %w", err)
	}
	temporary := filepath.Join(dir, stateFile+".new")
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return fmt.Errorf("recording the lab: %w", err)
	}
	if err := os.Rename(temporary, filepath.Join(dir, stateFile)); err != nil {
		return fmt.Errorf("recording the lab: %w", err)
	}
	return nil
}

// Status reads what is known of a named lab; the error is fs.ErrNotExist when
// there is none.
func Status(name string) (Named, error) {
	dir, err := namedPath(name)
	if err != nil {
		return Named{}, err
	}
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return Named{}, fmt.Errorf("reading lab %q: %w", name, err)
	}
	var n Named
	if err := json.Unmarshal(data, &n); err != nil {
		return Named{}, fmt.Errorf("reading lab %q: %w", name, err)
	}
	return n, nil
}

// List returns the named labs that there are, running or not.
func List() ([]Named, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	states, err := filepath.Glob(filepath.Join(cache, namedDir, "*", stateFile))
	if err != nil {
		return nil, fmt.Errorf("listing labs: %w", err)
	}
	var labs []Named
	for _, state := range states {
		n, err := Status(filepath.Base(filepath.Dir(state)))
		if err != nil {
			return nil, err
		}
		labs = append(labs, n)
	}
	return labs, nil
}

// Down ends a named lab and removes its files except for the logs. It kills no
// process but those that the lab started, and is no error when there is no lab.
func Down(name string) error {
	dir, err := namedPath(name)
	if err != nil {
		return err
	}
	if !exists(dir) {
		return nil
	}
	lock, err := lockFile(filepath.Join(dir, lockName), false)
	if err != nil {
		return fmt.Errorf("lab %q is being started or stopped by another process: %w", name, err)
	}
	defer lock.release()
	n, err := Status(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	slices.Reverse(n.Components)
	for _, pid := range strays(dir) {
		if started, err := startedAt(pid); err == nil {
			n.Components = append(n.Components, NamedComponent{Component: "unrecorded", PID: pid, Started: started})
		}
	}
	for _, c := range n.Components {
		if err := c.kill(); err != nil {
			return err
		}
	}
	return removeAllBut(dir, logsDir)
}

func (c NamedComponent) kill() error {
	for waited := time.Duration(0); c.Running(); waited += pollInterval {
		if waited > killTimeout {
			return fmt.Errorf("killing %s: process %d is still there after %s", c.Component, c.PID, killTimeout)
		}
		if err := syscall.Kill(c.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("killing %s, process %d: %w", c.Component, c.PID, err)
		}
		time.Sleep(pollInterval)
	}
	return nil
}

func namedPath(name string) (string, error) {
	if !regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`).MatchString(name) {
		return "", fmt.Errorf("lab name %q: use at most 40 small letters, digits and dashes", name)
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, namedDir, name), nil
}
