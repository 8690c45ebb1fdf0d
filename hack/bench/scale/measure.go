package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/reanchor/reanchor/mesh"
	"github.com/reanchor/reanchor/rotation/inventory"
)

// measurement is what was seen of the measured process.
type measurement struct {
	pods             int
	sync             time.Duration
	steadyMB, peakMB float64
}

// measure runs the inventory in a process of its own until it has synced and
// rested.
func measure(ctx context.Context, kubeconfig, env string, o options) (measurement, error) {
	program, err := os.Executable()
	if err != nil {
		return measurement{}, fmt.Errorf("looking for this program: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	child := exec.CommandContext(ctx, program, "-index", kubeconfig)
	child.Env = append(os.Environ(), env)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		return measurement{}, fmt.Errorf("running the inventory: %w", err)
	}
	if err := child.Start(); err != nil {
		return measurement{}, fmt.Errorf("running the inventory: %w", err)
	}
	defer func() { cancel(); _ = child.Wait() }()

	var m measurement
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return measurement{}, fmt.Errorf("waiting for the inventory: %w", err)
	}
	if _, err := fmt.Sscan(line, &m.pods, (*int64)(&m.sync)); err != nil {
		return measurement{}, fmt.Errorf("reading %q: %w", line, err)
	}
	select {
	case <-time.After(o.rest):
	case <-ctx.Done():
		return measurement{}, ctx.Err()
	}
	return m, m.memory(child.Process.Pid)
}

// memory reads the resident set of a process, now and at its worst.
func (m *measurement) memory(pid int) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return fmt.Errorf("reading the inventory's memory: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[2] != "kB" {
			continue
		}
		kb, err := strconv.ParseFloat(fields[1], 64)
		if err != nil {
			return fmt.Errorf("reading the inventory's memory: %w", err)
		}
		switch fields[0] {
		case "VmRSS:":
			m.steadyMB = kb / 1024
		case "VmHWM:":
			m.peakMB = kb / 1024
		}
	}
	if m.steadyMB == 0 || m.peakMB == 0 {
		return fmt.Errorf("reading the inventory's memory: process %d tells none", pid)
	}
	return nil
}

// index is the measured process: when it has synced, it tells how many pods
// there are and how many nanoseconds it took; then it stays.
func index(ctx context.Context, kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	client, err := inventory.NewClient(config)
	if err != nil {
		return err
	}
	x := inventory.New(client)
	x.SetMeshes(mesh.Mesh{Name: "linkerd", Profile: mesh.Linkerd, Namespace: "linkerd"})
	begin := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- x.Start(ctx) }()
	err = wait.PollUntilContextCancel(ctx, 10*time.Millisecond, true, func(context.Context) (bool, error) { return x.Synced(), nil })
	if err != nil {
		return fmt.Errorf("waiting for the inventory: %w", err)
	}
	took := time.Since(begin)
	workloads, _ := x.Workloads("linkerd", inventory.Question{Now: time.Now()})
	pods := 0
	for _, w := range workloads {
		pods += w.Counts.Total
	}
	fmt.Println(pods, took.Nanoseconds())
	return <-ended
}
