package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"k8s.io/utils/clock"
)

const (
	modulePath  = "github.com/reanchor/reanchor"
	programName = "controlplane"
	crdsDir     = "crds"
	// cacheVariable names the folder of built programs and of running labs.
	cacheVariable = "REANCHOR_LAB_CACHE"
)

// Binaries are the components' programs and the CRDs that go with them.
type Binaries struct {
	program string // the multi-call program, "" when it was not needed
	crds    string // folder of folders of CRDs, one per component
	assets  string // folder of ready-made binaries, may be ""
}

// Program is the path of the multi-call program; its first argument is the name
// of a component.
func (b Binaries) Program() string { return b.program }

// command returns what to execute to get a component, and the arguments that
// come before its flags.
func (b Binaries) command(c Component) (path string, args []string) {
	if readyMade(b.assets, c) {
		return filepath.Join(b.assets, string(c)), nil
	}
	return b.program, []string{string(c)}
}

// readyMade tells whether folder has the component's own program. The managers
// are never taken: the lab runs controllers of theirs, not their commands.
func readyMade(folder string, c Component) bool {
	if folder == "" || c == CertManager || c == TrustManager {
		return false
	}
	info, err := os.Stat(filepath.Join(folder, string(c)))
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// findBinaries builds the program only when a component needs it.
func findBinaries(ctx context.Context, o Options) (Binaries, error) {
	for _, c := range o.components() {
		if readyMade(o.Assets, c) {
			continue
		}
		built, err := Build(ctx, o.Progress)
		built.assets = o.Assets
		return built, err
	}
	return Binaries{assets: o.Assets}, nil
}

// Build returns the program that holds every component, after building it when
// the cache has none for the present sources: about ten minutes on two cores the
// first time, with a line to progress every ten seconds. Two builds never run
// side by side; the second waits and takes the first one's result.
//
// The cache is $REANCHOR_LAB_CACHE, else reanchor/lab in the user's cache folder.
// The sources are looked for in the checkout around the working directory.
func Build(ctx context.Context, progress io.Writer) (Binaries, error) {
	source, err := sourceDir()
	if err != nil {
		return Binaries{}, err
	}
	cache, err := cacheDir()
	if err != nil {
		return Binaries{}, err
	}
	key, err := sourceKey(source)
	if err != nil {
		return Binaries{}, err
	}
	dir := filepath.Join(cache, key)
	found := Binaries{program: filepath.Join(dir, programName), crds: filepath.Join(dir, crdsDir)}
	if exists(found.program) {
		return found, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return Binaries{}, fmt.Errorf("creating the lab's cache: %w", err)
	}
	lock, err := buildLock(cache, progress)
	if err != nil {
		return Binaries{}, err
	}
	defer lock.release()
	if exists(found.program) {
		return found, nil
	}
	if err := build(ctx, source, dir, progress); err != nil {
		return Binaries{}, err
	}
	return found, nil
}

func buildLock(cache string, progress io.Writer) (*fileLock, error) {
	path := filepath.Join(cache, "build.lock")
	lock, err := lockFile(path, false)
	if err == nil {
		return lock, nil
	}
	fmt.Fprintln(progress, "lab: waiting for another build of the control plane")
	return lockFile(path, true)
}

// build fills dir by way of a temporary folder, so that dir is whole or absent.
func build(ctx context.Context, source, dir string, progress io.Writer) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("creating the lab's cache: %w", err)
	}
	temporary, err := os.MkdirTemp(filepath.Dir(dir), "build-")
	if err != nil {
		return fmt.Errorf("creating the lab's cache: %w", err)
	}
	defer os.RemoveAll(temporary)
	if err := compile(ctx, source, filepath.Join(temporary, programName), progress); err != nil {
		return err
	}
	if err := copyCRDs(ctx, source, filepath.Join(temporary, crdsDir)); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("replacing an incomplete build: %w", err)
	}
	if err := os.Rename(temporary, dir); err != nil {
		return fmt.Errorf("moving the finished build: %w", err)
	}
	return nil
}

func compile(ctx context.Context, source, target string, progress io.Writer) error {
	flags, err := linkerFlags(source)
	if err != nil {
		return err
	}
	// -v names each package as it is compiled, which is all there is to show.
	cmd := goCommand(ctx, source, "build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", target, ".")
	report := newReport(progress, "lab: building the control plane (ten minutes on two cores the first time)", clock.RealClock{})
	cmd.Stdout, cmd.Stderr = report, report
	err = cmd.Run()
	report.close(err == nil)
	if ctx.Err() != nil {
		return fmt.Errorf("building the lab's control plane: %w", context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("building the lab's control plane: %w; the end of go's output:\n%s", err, report.tail())
	}
	return nil
}

func goCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	// An interrupted go command ends the compilers that it has started.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	// No C compiler is needed, so none must be found; and the nested module
	// stands alone whatever workspace it is checked out in.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	return cmd
}

// linkerFlags set the version that the API server reports. Without them clients
// that parse it fail on "v0.0.0-master+$Format:%H$".
func linkerFlags(source string) (string, error) {
	mod, err := os.ReadFile(filepath.Join(source, "go.mod"))
	if err != nil {
		return "", fmt.Errorf("reading the lab's module file: %w", err)
	}
	version := regexp.MustCompile(`k8s\.io/kubernetes (v(\d+)\.(\d+)\.\d+)`).FindStringSubmatch(string(mod))
	if version == nil {
		return "", errors.New("reading the lab's module file: it requires no k8s.io/kubernetes")
	}
	flags := []string{"-s", "-w"}
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		flags = append(flags,
			"-X "+pkg+".gitVersion="+version[1], "-X "+pkg+".gitMajor="+version[2], "-X "+pkg+".gitMinor="+version[3],
			"-X "+pkg+".gitCommit=reanchor-lab", "-X "+pkg+".gitTreeState=clean")
	}
	return strings.Join(flags, " "), nil
}

// copyCRDs puts the managers' CRDs beside the program, so that a second start
// asks the go command nothing.
func copyCRDs(ctx context.Context, source, target string) error {
	for component, module := range map[Component]string{
		CertManager:  "github.com/cert-manager/cert-manager",
		TrustManager: "github.com/cert-manager/trust-manager",
	} {
		out, err := goCommand(ctx, source, "list", "-m", "-f", "{{.Dir}}", module).Output()
		if err != nil {
			return fmt.Errorf("finding the CRDs of %s: %w", component, err)
		}
		crds := filepath.Join(strings.TrimSpace(string(out)), "deploy", "crds")
		if err := os.CopyFS(filepath.Join(target, string(component)), os.DirFS(crds)); err != nil {
			return fmt.Errorf("copying the CRDs of %s: %w", component, err)
		}
	}
	return nil
}

// sourceDir finds the nested module in the checkout around the working directory.
func sourceDir() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("looking for the lab's sources: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		source := filepath.Join(dir, "hack", "lab", "controlplane")
		if exists(filepath.Join(source, "go.mod")) {
			return source, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("looking for the lab's sources: no checkout of %s around %s; "+
				"run inside one, or name a folder of ready-made binaries by KUBEBUILDER_ASSETS", modulePath, start)
		}
	}
}

func cacheDir() (string, error) {
	if dir := os.Getenv(cacheVariable); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("looking for the user's cache folder: %w; name one by %s", err, cacheVariable)
	}
	return filepath.Join(dir, "reanchor", "lab"), nil
}

// sourceKey changes when the program would: with its sources, its modules, the
// way it is built (this file's flags), and the compiler.
func sourceKey(source string) (string, error) {
	const recipe = "1" // raise it when the flags of compile change
	hash := sha256.New()
	fmt.Fprintln(hash, recipe, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	tree := os.DirFS(source)
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(tree, name)
		fmt.Fprintf(hash, "%s %d\n", name, len(data))
		hash.Write(data)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("hashing the lab's sources: %w", err)
	}
	return hex.EncodeToString(hash.Sum(nil)[:8]), nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
