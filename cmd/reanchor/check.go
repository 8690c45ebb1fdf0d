package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/prometheus/common/model"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/exporter"
	"github.com/reanchor/reanchor/checker/report"
	"github.com/reanchor/reanchor/checker/survey"
)

// CheckCmd finds the certificates that will take a control plane down. It needs
// no API server. Exit codes: 0 fine, 1 warning, 2 critical, 3 unknown (also for
// wrong usage, and when nothing was found).
type CheckCmd struct {
	Targets []string `arg:"" optional:"" name:"path|glob|url" help:"Files, directories, patterns and endpoints (https://host:port, host:port) to check. None: what the profiles name."`

	Profile        []string `help:"Kind of node: auto, kops, kubeadm, k3s, rke2 or none (repeatable). Default auto without targets, else none." enum:"auto,kops,kubeadm,k3s,rke2,none" env:"REANCHOR_PROFILE" placeholder:"NAME"`
	Path           []string `help:"Like a target, for files, directories and patterns." env:"REANCHOR_PATH" placeholder:"PATH"`
	Exclude        []string `help:"Pattern of whole paths to leave out; ** crosses directories." placeholder:"GLOB"`
	KubeconfigFile []string `help:"File that must be a kubeconfig." placeholder:"FILE"`
	Require        []string `help:"Pattern that must match at least one certificate file; otherwise exit 3." placeholder:"GLOB"`
	Rootfs         string   `help:"Where the host's file system is mounted; links are followed inside it, printed paths are the host's." default:"/" env:"REANCHOR_ROOTFS"`
	MaxFileSize    int64    `help:"Do not read larger files, in bytes." default:"4194304"`

	Endpoint     []string      `help:"Server to compare with the files it loads: host:port or host:port=GLOB." placeholder:"HOST:PORT[=GLOB]"`
	NoProbe      bool          `help:"Do not connect to the endpoints of the profiles." env:"REANCHOR_NO_PROBE"`
	ProbeTimeout time.Duration `help:"For one connection and handshake." default:"2s"`
	NoProcesses  bool          `help:"Do not compare files with the start of running processes."`
	Timeout      time.Duration `help:"For one whole check." default:"1m"`

	Secrets    []string `help:"Namespaces whose TLS Secrets to check, * for all." placeholder:"NAMESPACE"`
	Configmaps []string `help:"Namespaces whose ConfigMaps to check, * for all." placeholder:"NAMESPACE"`
	Selector   string   `short:"l" help:"Labels of Secrets and ConfigMaps to check."`
	Kubeconfig string   `help:"For --secrets and --configmaps; default as kubectl, or the pod's own." placeholder:"FILE"`
	Context    string   `help:"Context in that kubeconfig."`

	Warning         Duration `help:"Warn when less than this is left (30d, 720h, 1y)." default:"30d"`
	Critical        Duration `help:"Critical when less than this is left." default:"14d"`
	CaWarning       Duration `help:"Warning for CAs." default:"365d"`
	CaCritical      Duration `help:"Critical for CAs." default:"90d"`
	FailOn          string   `help:"What turns the exit code: warning, critical, expired (for init containers) or never. Unknown (3) always does." enum:"warning,critical,expired,never" default:"warning" env:"REANCHOR_FAIL_ON"`
	Ignore          []string `help:"Findings to drop: ID or ID:GLOB." placeholder:"ID[:GLOB]"`
	IncludeOrphaned bool     `help:"Judge leftovers too."`
	CheckKeys       bool     `help:"Compare private keys with certificates; only their public halves are kept." default:"true" negatable:""`
	PassphraseFile  string   `help:"Passphrase of encrypted keys." placeholder:"FILE"`
	Now             string   `help:"Judge as of this time (RFC 3339, or +60d from now)." placeholder:"TIME"`

	Output         string `short:"o" help:"table, wide, json, jsonl (one line), yaml or prometheus." enum:"table,wide,json,jsonl,yaml,prometheus" default:"table"`
	Quiet          bool   `short:"q" help:"One line: the worst finding."`
	NoColor        bool   `help:"No colour on a terminal either; also when NO_COLOR is set to anything."`
	Textfile       string `help:"Also write Prometheus text to this file, atomically." placeholder:"FILE"`
	TerminationLog string `help:"Where to write the one line when failing, if it exists." default:"/dev/termination-log"`
	NodeName       string `help:"Name of this node in reports." env:"NODE_NAME"`

	Serve         bool     `help:"Keep running: check at intervals and serve metrics."`
	ListenAddress string   `help:"For /metrics, /healthz and /readyz with --serve." default:":9784" env:"REANCHOR_LISTEN_ADDRESS"`
	Interval      Duration `help:"Between checks with --serve." default:"5m" env:"REANCHOR_INTERVAL"`
	CompatMetrics bool     `help:"Export x509_cert_* too, as x509-certificate-exporter does." env:"REANCHOR_COMPAT_METRICS"`
}

// Duration accepts days, weeks and years, as Prometheus does.
type Duration time.Duration

// UnmarshalText reads 30d, 2w, 1y, 720h, 90s.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := model.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("reading a duration such as 30d or 720h: %w", err)
	}
	*d = Duration(parsed)
	return nil
}

// checkFailed carries the exit code of a check. The report was printed already,
// so there is nothing left to say unless err is set.
type checkFailed struct {
	code int
	err  error
}

func (e checkFailed) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e checkFailed) Unwrap() error { return e.err }

// ExitCode is what the process ends with.
func (e checkFailed) ExitCode() int { return e.code }

// unknownCode is what a check that could not be made ends with.
var unknownCode = checker.Unknown.ExitCode()

// Run checks once, or serves.
func (c *CheckCmd) Run(ctx context.Context, s streams) error {
	// It runs beside a control plane, once in minutes: memory is dearer there
	// than the time to collect it. GOGC still wins.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	surveyor, err := c.surveyor()
	if err == nil && c.Serve {
		err = c.serve(ctx, s, surveyor)
	} else if err == nil {
		err = c.once(ctx, s, surveyor)
	}
	if failed := (checkFailed{}); err == nil || errors.As(err, &failed) {
		return err
	}
	return checkFailed{unknownCode, err}
}

func (c *CheckCmd) once(ctx context.Context, s streams, surveyor *survey.Surveyor) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	began := time.Now()
	document, err := surveyor.Survey(ctx)
	if err != nil {
		return fmt.Errorf("checking within --timeout %s: %w", c.Timeout, err)
	}
	collector := exporter.NewCollector(version(), c.CompatMetrics)
	collector.Publish(&exporter.Snapshot{Document: document, Finished: time.Now(), Took: time.Since(began)})
	if c.Textfile != "" {
		if err := exporter.TextFile(c.Textfile, collector); err != nil {
			return err
		}
	}
	if err := c.print(s.out, document, collector); err != nil {
		return err
	}
	if code := document.Summary.ExitCode; code != 0 {
		c.terminate(report.Line(document))
		return checkFailed{code: code}
	}
	return nil
}

func (c *CheckCmd) print(w io.Writer, d *report.Document, collector *exporter.Collector) error {
	if c.Quiet {
		_, err := fmt.Fprintln(w, report.Line(d))
		return err
	}
	switch c.Output {
	case "json":
		return report.JSON(w, d)
	case "jsonl":
		return report.JSONLine(w, d)
	case "yaml":
		return report.YAML(w, d)
	case "prometheus":
		return exporter.Text(w, collector)
	default:
		width, terminal := widthOf(w)
		return report.Table(w, d, report.TableOptions{Wide: c.Output == "wide", Width: width, Color: terminal && !c.NoColor && os.Getenv("NO_COLOR") == ""})
	}
}

// terminate leaves the line where kubectl describe shows it. The file is the
// container runtime's: it is there, or this is no container.
func (c *CheckCmd) terminate(line string) {
	f, err := os.OpenFile(c.TerminationLog, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return
	}
	fmt.Fprintln(f, line)
	f.Close()
}
