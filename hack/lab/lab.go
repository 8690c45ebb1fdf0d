package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"
)

const (
	// startTimeout bounds every wait of a start; a loaded machine takes a
	// minute, more means that something is wrong.
	startTimeout = 3 * time.Minute
	pollInterval = 50 * time.Millisecond
	// tokenLife is that of the tokens of ConfigFor: longer than any test.
	tokenLife = 24 * time.Hour
)

// Lab is a running control plane. Its methods may be called from any goroutine.
type Lab struct {
	layout  layout
	options Options
	config  *rest.Config
	client  kubernetes.Interface
	spawner *spawner
	lock    *fileLock
	// processes is complete before Start returns and never changes after.
	processes map[Component]*process
	// readySince is when each node became Ready; it never changes after Start.
	readySince map[string]metav1.Time

	mu     sync.Mutex
	err    error
	failed chan struct{} // closed when err is set

	stopOnce sync.Once
	stopErr  error
}

// Start runs a new lab and returns when it is of use: the API server is ready,
// the CRDs are established, the nodes are Ready and take pods. That takes about
// six seconds, and ten minutes more when the program has to be built. ctx bounds
// the start only. After an error nothing is left running.
func Start(ctx context.Context, o Options) (*Lab, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	binaries, err := findBinaries(ctx, o)
	if err != nil {
		return nil, err
	}
	l, err := prepare(o, binaries)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := l.bringUp(ctx, binaries); err != nil {
		if failure := l.Err(); failure != nil {
			err = failure
		}
		return nil, errors.Join(fmt.Errorf("starting the lab (logs in %s): %w", l.LogDir(), err), l.end())
	}
	return l, nil
}

// prepare makes the lab's folder and everything in it that the components read.
func prepare(o Options, binaries Binaries) (*Lab, error) {
	dir, lock, err := stateDir(o)
	if err != nil {
		return nil, err
	}
	reserved, err := reservePorts()
	if err != nil {
		lock.release()
		return nil, err
	}
	l := &Lab{
		layout: layout{dir: dir, ports: reserved}, options: o, lock: lock,
		spawner: newSpawner(o.record != nil), failed: make(chan struct{}), processes: map[Component]*process{},
	}
	if err := l.writeFiles(); err != nil {
		return nil, errors.Join(err, l.end())
	}
	for _, c := range o.components() {
		path, args := binaries.command(c)
		l.processes[c] = &process{
			name: c, path: path, args: slices.Concat(args, l.layout.args(c), o.ExtraArgs[c]),
			dir: dir, logPath: l.layout.log(c), spawner: l.spawner, failed: l.fail,
		}
	}
	return l, nil
}

func (l *Lab) writeFiles() error {
	if err := writePKI(l.layout.dir, l.layout.server(), clock.RealClock{}.Now()); err != nil {
		return err
	}
	if err := l.layout.writeConfigs(); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", l.Kubeconfig())
	if err != nil {
		return fmt.Errorf("reading the lab's kubeconfig: %w", err)
	}
	l.config = unthrottled(config)
	if l.client, err = kubernetes.NewForConfig(l.config); err != nil {
		return fmt.Errorf("building the lab's client: %w", err)
	}
	return nil
}

// unthrottled lets a test write as fast as the server takes it; the server's
// priority and fairness is the only limit.
func unthrottled(config *rest.Config) *rest.Config {
	config.QPS, config.Burst = 10000, 10000
	return config
}

func (l *Lab) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
		close(l.failed)
	}
}

// Err is the first exit of a component that nobody asked for, with the end of
// its log; nil while all is well.
func (l *Lab) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Config is the administrator's configuration, without client-side throttling.
// Each call returns a copy.
func (l *Lab) Config() *rest.Config { return rest.CopyConfig(l.config) }

// Kubeconfig is the path of the administrator's kubeconfig.
func (l *Lab) Kubeconfig() string { return l.layout.path(adminKubeconfig) }

// LogDir is the folder of the components' logs, one file NAME.log each. It stays
// after Stop.
func (l *Lab) LogDir() string { return filepath.Join(l.layout.dir, logsDir) }

// ConfigFor returns a configuration that acts as a service account, with a real
// token that is good for a day, so that RBAC judges it as in a cluster. The
// service account must exist.
func (l *Lab) ConfigFor(ctx context.Context, namespace, serviceAccount string) (*rest.Config, error) {
	seconds := int64(tokenLife.Seconds())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	token, err := l.client.CoreV1().ServiceAccounts(namespace).
		CreateToken(ctx, serviceAccount, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("asking for a token of service account %s/%s: %w", namespace, serviceAccount, err)
	}
	config := rest.AnonymousClientConfig(l.config)
	config.BearerToken = token.Status.Token
	return unthrottled(config), nil
}

// waitReady waits until the API server says that it is ready.
func (l *Lab) waitReady(ctx context.Context) error {
	return l.poll(ctx, "the API server to be ready", func(ctx context.Context) (bool, error) {
		var code int
		l.client.CoreV1().RESTClient().Get().AbsPath("/readyz").Do(ctx).StatusCode(&code)
		return code == http.StatusOK, nil
	})
}

// poll asks until done says so, and gives up early when a component has failed.
func (l *Lab) poll(ctx context.Context, what string, done wait.ConditionWithContextFunc) error {
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		select {
		case <-l.failed:
			return false, l.Err()
		default:
			return done(ctx)
		}
	})
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", what, err)
	}
	return nil
}

// Stop ends every component and removes the lab's files except for the logs. It
// returns the first exit that nobody asked for (see Err). Later calls return the
// same.
func (l *Lab) Stop() error {
	l.stopOnce.Do(func() { l.stopErr = errors.Join(l.Err(), l.end()) })
	return l.stopErr
}

// letGo leaves a detached lab to itself.
func (l *Lab) letGo() {
	l.spawner.close()
	l.layout.ports.release()
	l.lock.release()
}

func (l *Lab) end() error {
	var errs []error
	// Clients before servers, so that the logs do not end in a hail of refused
	// connections.
	components := l.options.components()
	slices.Reverse(components)
	for _, c := range components {
		if p := l.processes[c]; p != nil {
			errs = append(errs, p.kill())
		}
	}
	errs = append(errs, removeAllBut(l.layout.dir, logsDir))
	l.letGo()
	return errors.Join(errs...)
}

func removeAllBut(dir, keep string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("clearing a lab's folder: %w", err)
	}
	for _, entry := range entries {
		if entry.Name() == keep {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return fmt.Errorf("clearing a lab's folder: %w", err)
		}
	}
	return nil
}
