package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/decode"
	"github.com/reanchor/reanchor/checker/kube"
	"github.com/reanchor/reanchor/checker/probe"
	"github.com/reanchor/reanchor/checker/profile"
	"github.com/reanchor/reanchor/checker/report"
	"github.com/reanchor/reanchor/checker/scan"
	"github.com/reanchor/reanchor/checker/survey"
)

// procPath is where processes are; with --rootfs it is still this host's.
const procPath = "/proc"

// Validate is called by the parser; it reports every fault at once.
func (c *CheckCmd) Validate() error {
	faults := []error{c.policy().Validate()}
	if _, err := c.now(time.Time{}); err != nil {
		faults = append(faults, err)
	}
	for _, e := range c.Endpoint {
		if _, err := probe.Parse(e); err != nil {
			faults = append(faults, err)
		}
	}
	for _, p := range slices.Concat(c.Exclude, c.Require, c.Path) {
		if _, err := path.Match(p, ""); err != nil {
			faults = append(faults, fmt.Errorf("pattern %q: %w", p, err))
		}
	}
	return errors.Join(append(faults, c.contradictions()...)...)
}

// contradictions are faults of flags that are good by themselves.
func (c *CheckCmd) contradictions() (faults []error) {
	for _, rule := range []struct {
		broken bool
		says   string
	}{
		{c.Timeout <= 0 || c.ProbeTimeout <= 0, "--timeout and --probe-timeout must be above 0"},
		{c.Quiet && c.Output != "table", "--quiet prints one line of text: leave it out for --output " + c.Output},
		{c.Serve && c.Now != "", "--now asks about one moment; it cannot be used with --serve"},
		{c.Serve && c.Interval <= 0, "--interval must be above 0"},
	} {
		if rule.broken {
			faults = append(faults, errors.New(rule.says))
		}
	}
	return faults
}

// surveyor turns flags into the engine.
func (c *CheckCmd) surveyor() (*survey.Surveyor, error) {
	passphrase, err := c.passphrase()
	if err != nil {
		return nil, err
	}
	scanner, err := scan.New(scan.Options{Root: c.Rootfs, MaxFileSize: c.MaxFileSize, CheckKeys: c.CheckKeys, Passphrase: passphrase})
	if err != nil {
		return nil, err
	}
	options, err := c.options()
	if err != nil {
		return nil, err
	}
	now, err := c.clock()
	if err != nil {
		return nil, err
	}
	return &survey.Surveyor{
		Options: options, Scanner: scanner, Prober: probe.Prober{Timeout: c.ProbeTimeout},
		Clock: now, Engine: checker.NewEngine(),
	}, nil
}

func (c *CheckCmd) options() (survey.Options, error) {
	o := survey.Options{
		NoProbe: c.NoProbe, Policy: c.policy(), Origin: report.Origin{Node: c.nodeName(), Version: version()},
		Targets: scan.Targets{Exclude: c.Exclude, Require: c.Require},
	}
	if !c.NoProcesses {
		o.Proc = procPath
	}
	for _, e := range c.Endpoint {
		target, err := probe.Parse(e)
		if err != nil {
			return o, err
		}
		o.Endpoints = append(o.Endpoints, target)
	}
	for _, t := range slices.Concat(c.Targets, c.Path) {
		if !probe.LooksLike(t) {
			o.Targets.Paths = append(o.Targets.Paths, c.absolute(t))
			continue
		}
		target, err := probe.Parse(t)
		if err != nil {
			return o, err
		}
		o.Endpoints = append(o.Endpoints, target)
	}
	for _, k := range c.KubeconfigFile {
		o.Targets.Kubeconfigs = append(o.Targets.Kubeconfigs, c.absolute(k))
	}
	c.profiles(&o)
	var err error
	o.Cluster, err = c.cluster()
	return o, err
}

// absolute makes a path of this directory the path it is; below another root
// there is no current directory.
func (c *CheckCmd) absolute(p string) string {
	if filepath.Clean(c.Rootfs) != "/" {
		return path.Join("/", p)
	}
	if abs, err := filepath.Abs(p); err == nil {
		return abs
	}
	return p
}

// profiles: a bare `reanchor check` looks at everything it knows, while named
// targets are all that is wanted.
func (c *CheckCmd) profiles(o *survey.Options) {
	named := c.Profile
	if len(named) == 0 && len(o.Targets.Paths)+len(o.Targets.Kubeconfigs)+len(o.Endpoints)+len(c.Secrets)+len(c.Configmaps) == 0 {
		named = []string{"auto"}
	}
	o.Detect = slices.Contains(named, "auto")
	for _, p := range profile.All() {
		if slices.Contains(named, p.Name) {
			o.Targets.Profiles = append(o.Targets.Profiles, p)
		}
	}
}

func (c *CheckCmd) policy() checker.Policy {
	p := checker.DefaultPolicy()
	p.Leaf = checker.Thresholds{Warning: time.Duration(c.Warning), Critical: time.Duration(c.Critical)}
	p.CA = checker.Thresholds{Warning: time.Duration(c.CaWarning), Critical: time.Duration(c.CaCritical)}
	p.FailOn, p.IncludeOrphaned = checker.FailOn(c.FailOn), c.IncludeOrphaned
	for _, text := range c.Ignore {
		id, glob, _ := strings.Cut(text, ":")
		p.Ignore = append(p.Ignore, checker.Ignore{ID: checker.RuleID(id), Glob: glob})
	}
	return p
}

// now is --now, where "+60d" counts from the real time given.
func (c *CheckCmd) now(real time.Time) (time.Time, error) {
	if ahead, ok := strings.CutPrefix(c.Now, "+"); ok {
		var d Duration
		if err := d.UnmarshalText([]byte(ahead)); err != nil {
			return time.Time{}, fmt.Errorf("--now %q: %w", c.Now, err)
		}
		return real.Add(time.Duration(d)), nil
	}
	if c.Now == "" {
		return real, nil
	}
	at, err := time.Parse(time.RFC3339, c.Now)
	if err != nil {
		return time.Time{}, fmt.Errorf("--now %q: want RFC 3339, such as 2027-01-31T00:00:00Z, or +60d", c.Now)
	}
	return at, nil
}

func (c *CheckCmd) clock() (clock.PassiveClock, error) {
	if c.Now == "" {
		return clock.RealClock{}, nil
	}
	at, err := c.now(time.Now())
	if err != nil {
		return nil, err
	}
	return clocktesting.NewFakePassiveClock(at), nil
}

func (c *CheckCmd) passphrase() ([]byte, error) {
	if c.PassphraseFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.PassphraseFile)
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	return bytes.TrimRight(text, "\r\n"), nil
}

func (c *CheckCmd) nodeName() string {
	if c.NodeName != "" {
		return c.NodeName
	}
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// cluster is nil unless Secrets or ConfigMaps were asked for.
func (c *CheckCmd) cluster() (*survey.Cluster, error) {
	request := kube.Request{Secrets: c.Secrets, ConfigMaps: c.Configmaps, Selector: c.Selector}
	if request.Empty() {
		return nil, nil
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = c.Kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: c.Context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("loading the kubeconfig for --secrets and --configmaps: %w", err)
	}
	config.QPS = -1 // one request at a time is little enough
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for --secrets and --configmaps: %w", err)
	}
	return &survey.Cluster{Reader: kube.Reader{Client: client, Decoder: decode.New(nil)}, Request: request}, nil
}
