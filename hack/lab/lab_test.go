package lab_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/reanchor/reanchor/hack/lab"
)

// processes finds what runs with a lab's folder on its command line, which
// everything that a lab starts has.
func processes(t *testing.T, dir string) map[string]int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(data), dir) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			t.Fatal(err)
		}
		if pid != os.Getpid() {
			found[strings.ReplaceAll(string(data), "\x00", " ")] = pid
		}
	}
	return found
}

func noProcesses(t *testing.T, dir string) {
	t.Helper()
	eventually(t, "no process of the lab is left", func() error {
		if left := processes(t, dir); len(left) > 0 {
			return fmt.Errorf("left: %v", left)
		}
		return nil
	})
}

// onlyLogs fails unless a lab that has ended left its logs, and nothing else.
func onlyLogs(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != "logs" {
		t.Errorf("left in the lab's folder: %v, want the logs", entries)
	}
	for _, c := range []lab.Component{lab.Etcd, lab.APIServer} {
		log, err := os.ReadFile(filepath.Join(dir, "logs", string(c)+".log"))
		if err != nil || len(log) == 0 {
			t.Errorf("the log of %s has %d bytes: %v", c, len(log), err)
		}
	}
}

// small starts a lab of its own for a test that is not good to it.
func small(t *testing.T) *lab.Lab {
	t.Helper()
	l, err := lab.Start(t.Context(), lab.Options{Nodes: 1, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Stop() })
	return l
}

func TestTwoLabsRunSideBySideAndStopLeavesNothing(t *testing.T) {
	l := small(t)
	dir := filepath.Dir(l.LogDir())
	if l.Config().Host == shared.Config().Host {
		t.Fatalf("both labs are at %s", l.Config().Host)
	}
	nodes, err := client(t, l).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(nodes.Items) != 1 {
		t.Errorf("%d nodes, want the lab's own one", len(nodes.Items))
	}
	if got := len(processes(t, dir)); got != 5 {
		t.Errorf("%d processes, want 5: %v", got, processes(t, dir))
	}
	if err := l.Stop(); err != nil {
		t.Error(err)
	}
	noProcesses(t, dir)
	onlyLogs(t, dir)
	if err := l.Stop(); err != nil {
		t.Errorf("stopping again: %v", err)
	}
	if err := l.StartComponent(lab.Etcd); err == nil {
		t.Error("a component of a stopped lab was started")
	}
	if err := shared.Err(); err != nil {
		t.Errorf("the other lab suffered: %v", err)
	}
}

func TestEverythingListensOnLoopbackOnly(t *testing.T) {
	own := map[string]bool{}
	for _, pid := range processes(t, filepath.Dir(shared.LogDir())) {
		links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range links {
			target, err := os.Readlink(link)
			if inode, found := strings.CutPrefix(target, "socket:["); err == nil && found {
				own[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	listening := 0
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, err := os.ReadFile(table)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no IPv6
		}
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			// proc_net_tcp(5): slot, local address, remote, state (0A is
			// LISTEN), ..., inode the tenth.
			fields := strings.Fields(line)
			if len(fields) < 10 || fields[3] != "0A" || !own[fields[9]] {
				continue
			}
			listening++
			if !strings.HasPrefix(fields[1], "0100007F:") {
				t.Errorf("a component listens on %s", fields[1])
			}
		}
	}
	if listening != 3 {
		t.Errorf("%d listening sockets, want etcd's two and the API server's", listening)
	}
}

func TestNothingIsLeftWhenTheStarterIsKilled(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), starterVariable+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("the starter said nothing: %v", err)
	}
	running := processes(t, dir)
	if len(running) != 6 {
		t.Errorf("%d processes before the kill, want 6: %v", len(running), running)
	}
	// A stopped process does not act on any signal but the one that kills.
	for line, pid := range running {
		if strings.Contains(line, " kube-apiserver ") {
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	noProcesses(t, dir)
}

func TestComponentsCanBeKilledPausedAndRestarted(t *testing.T) {
	l := small(t)
	c := client(t, l)
	ns := namespace(t, c, "kept")
	answers := func(timeout time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		_, err := c.CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{})
		return err
	}

	if err := l.Pause(lab.APIServer); err != nil {
		t.Fatal(err)
	}
	if err := answers(time.Second); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a paused API server: %v, want no answer", err)
	}
	if err := l.Resume(lab.APIServer); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the resumed API server answers", func() error { return answers(time.Second) })

	if err := l.Kill(lab.APIServer); err != nil {
		t.Fatal(err)
	}
	if err := answers(time.Second); err == nil {
		t.Error("a killed API server answers")
	}
	if err := l.StartComponent(lab.APIServer); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the restarted API server answers", func() error { return answers(time.Second) })
	if err := l.StartComponent(lab.APIServer); err == nil {
		t.Error("a component was started twice")
	}

	if err := l.Restart(t.Context(), lab.Etcd); err != nil {
		t.Fatal(err)
	}
	if err := answers(10 * time.Second); err != nil {
		t.Errorf("after a restart of etcd: %v", err)
	}
	if err := l.Kill(lab.CertManager); err == nil {
		t.Error("killing a component that the lab does not have: no error")
	}
	if err := l.Err(); err != nil {
		t.Errorf("what was asked for counts as a failure: %v", err)
	}
}

// A node that says itself that it is not Ready is put right by its kubelet at
// once, and it is on record all the same; but not a node of the test's own.
func TestANodeThatWasNotReadyIsOnRecord(t *testing.T) {
	l := small(t)
	nodes := client(t, l).CoreV1().Nodes()
	list, err := nodes.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("%d nodes, error %v", len(list.Items), err)
	}
	const own = "a-node-of-the-test"
	if _, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: own}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	recorded := func(name string) error {
		notReady := []byte(`{"status":{"conditions":[{"type":"Ready","status":"False"}]}}`)
		if _, err := nodes.Patch(t.Context(), name, types.StrategicMergePatchType, notReady, metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
		eventually(t, name+" is Ready again", func() error {
			n, err := nodes.Get(t.Context(), name, metav1.GetOptions{})
			if err == nil && !slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
				return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
			}) {
				err = errors.New("it is not")
			}
			return err
		})
		return l.NodesStayedReady(t.Context())
	}
	if err := recorded(own); err != nil {
		t.Errorf("of a node that the lab was not started with: %v", err)
	}
	// Again when it was within the second in which the node became Ready first:
	// the API's times are whole seconds.
	eventually(t, "the record", func() error {
		if err := recorded(list.Items[0].Name); err == nil || !strings.Contains(err.Error(), list.Items[0].Name+" was not Ready") {
			return fmt.Errorf("it says %v", err)
		}
		return nil
	})
}

func TestAComponentThatDiesByItselfIsNoted(t *testing.T) {
	l := small(t)
	for line, pid := range processes(t, filepath.Dir(l.LogDir())) {
		if strings.Contains(line, " kwok ") {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "the death is noted", func() error {
		if l.Err() == nil {
			return errors.New("no error")
		}
		return nil
	})
	if err := l.Stop(); err == nil || !strings.Contains(err.Error(), "kwok") {
		t.Errorf("Stop: %v, want an error that names kwok", err)
	}
}

func TestAComponentThatCannotStartFailsTheStartAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	_, err := lab.Start(t.Context(), lab.Options{Dir: dir, ExtraArgs: map[lab.Component][]string{
		lab.APIServer: {"--no-such-flag"},
	}})
	if err == nil || !strings.Contains(err.Error(), "no-such-flag") {
		t.Errorf("got %v, want the end of the API server's log", err)
	}
	noProcesses(t, dir)
}

func TestAStartThatIsCancelledLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		eventually(t, "the API server is started", func() error {
			if len(processes(t, dir)) < 2 {
				return errors.New("not yet")
			}
			return nil
		})
		cancel()
	}()
	if _, err := lab.Start(ctx, lab.Options{Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	noProcesses(t, dir)
}

func TestConfigForActsUnderTheRBACOfItsServiceAccount(t *testing.T) {
	admin := client(t, shared)
	ns := namespace(t, admin, "rbac")
	config, err := shared.ConfigFor(t.Context(), ns, "default")
	if err != nil {
		t.Fatal(err)
	}
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	list := func() error {
		_, err := c.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		return err
	}
	if err := list(); !apierrors.IsForbidden(err) {
		t.Errorf("without a role: %v, want forbidden", err)
	}
	_, err = admin.RbacV1().RoleBindings(ns).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "view"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: "default"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the role takes effect", list)
}

func TestTheServerReportsTheVersionItWasBuiltFrom(t *testing.T) {
	version, err := client(t, shared).Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("controlplane/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(mod), "k8s.io/kubernetes "+version.GitVersion+"\n") {
		t.Errorf("server version %q is not what controlplane/go.mod requires", version.GitVersion)
	}
}

// readyMade makes a folder of programs for some components. The lab's own goes by
// the name it is called by, so a link is as good as a real binary of that name.
func readyMade(t *testing.T, names ...lab.Component) string {
	t.Helper()
	binaries, err := lab.Build(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	assets := t.TempDir()
	for _, name := range names {
		if err := os.Symlink(binaries.Program(), filepath.Join(assets, string(name))); err != nil {
			t.Fatal(err)
		}
	}
	return assets
}

func TestReadyMadeBinariesAreUsed(t *testing.T) {
	assets, dir := readyMade(t, lab.Etcd, lab.APIServer), t.TempDir()
	l, err := lab.Start(t.Context(), lab.Options{Nodes: -1, Assets: assets, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Stop()
	used := 0
	for line := range processes(t, dir) {
		if strings.HasPrefix(line, assets) {
			used++
		}
	}
	if used != 2 {
		t.Errorf("%d processes are of the ready-made binaries, want 2: %v", used, processes(t, dir))
	}
}

func TestNothingIsBuiltWhenTheEnvironmentNamesEveryBinary(t *testing.T) {
	assets := readyMade(t, lab.Etcd, lab.APIServer, lab.ControllerManager, lab.Scheduler, lab.Kwok)
	cache, dir := t.TempDir(), t.TempDir()
	t.Setenv("REANCHOR_LAB_CACHE", cache)
	t.Setenv("KUBEBUILDER_ASSETS", assets)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // too short for a build
	defer cancel()
	l, err := lab.Start(ctx, lab.Options{Nodes: 1, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Stop()
	running := processes(t, dir)
	if len(running) != 5 {
		t.Errorf("%d processes, want 5: %v", len(running), running)
	}
	for line := range running {
		if !strings.HasPrefix(line, assets) {
			t.Errorf("not one of the ready-made binaries: %s", line)
		}
	}
	entries, err := os.ReadDir(cache)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 0 {
		t.Errorf("in the cache: %v, want nothing", entries)
	}
}

func TestANamedLabOutlivesItsStarterUntilDown(t *testing.T) {
	name := fmt.Sprintf("test-%d", os.Getpid())
	t.Cleanup(func() { lab.Down(name) })
	up, err := lab.Up(t.Context(), name, lab.Options{Nodes: 1})
	if err != nil {
		t.Fatal(err)
	}
	if !up.Running() {
		t.Errorf("it is not running: %+v", up)
	}
	again, err := lab.Up(t.Context(), name, lab.Options{Nodes: 1})
	if err != nil {
		t.Fatal(err)
	}
	if again.Components[0].PID != up.Components[0].PID {
		t.Error("a second Up started another lab")
	}

	// One component crashes: the next Up clears the rest and starts anew.
	if err := syscall.Kill(up.Components[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the crash shows", func() error {
		n, err := lab.Status(name)
		if err == nil && n.Running() {
			err = errors.New("it counts as running")
		}
		return err
	})
	fresh, err := lab.Up(t.Context(), name, lab.Options{Nodes: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range up.Components {
		if c.Running() {
			t.Errorf("%s of the broken lab still runs", c.Component)
		}
	}
	if !fresh.Running() {
		t.Errorf("it is not running: %+v", fresh)
	}

	if err := lab.Down(name); err != nil {
		t.Fatal(err)
	}
	for _, c := range fresh.Components {
		if c.Running() {
			t.Errorf("%s still runs after Down", c.Component)
		}
	}
	onlyLogs(t, filepath.Dir(fresh.LogDir))
	if _, err := lab.Status(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Status after Down: %v, want none", err)
	}
	if err := lab.Down(name); err != nil {
		t.Errorf("Down again: %v", err)
	}
}

func TestDownClearsALabWhoseStarterWasKilledHalfWay(t *testing.T) {
	name := fmt.Sprintf("half-%d", os.Getpid())
	t.Cleanup(func() { lab.Down(name) })
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), starterVariable+"="+upPrefix+name)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first component is started", func() error {
		n, err := lab.Status(name)
		if err == nil && len(n.Components) == 0 {
			err = errors.New("none yet")
		}
		return err
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	n, err := lab.Status(name)
	if err != nil {
		t.Fatal(err)
	}
	if n.Running() {
		t.Errorf("it counts as running: %+v", n)
	}
	dir := filepath.Dir(n.LogDir)
	if len(processes(t, dir)) == 0 {
		t.Error("nothing is left to clear, so the test shows nothing")
	}
	if err := lab.Down(name); err != nil {
		t.Fatal(err)
	}
	if left := processes(t, dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestDownKillsNoProcessThatIsNotTheLabs(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	// A pid that was used again: the number is right, the start is not.
	other := lab.NamedComponent{Component: lab.Kwok, PID: cmd.Process.Pid, Started: "1"}
	if other.Running() {
		t.Error("a process that began at another time counts as the lab's")
	}
	cache := t.TempDir()
	t.Setenv("REANCHOR_LAB_CACHE", cache)
	dir := filepath.Join(cache, "named", "stale")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	state := fmt.Sprintf(`{"name":"stale","components":[{"component":"kwok","pid":%d,"started":"1"}]}`, cmd.Process.Pid)
	if err := os.WriteFile(filepath.Join(dir, "state.json"), []byte(state), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := lab.Down("stale"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the foreign process is gone: %v", err)
	}
}
