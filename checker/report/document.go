// Package report shows a checker.Report: as a table for people, as JSON or YAML
// for programs (schema.json is the contract), and as Prometheus text through
// package exporter. It decides nothing.
package report

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/reanchor/reanchor/checker"
)

// The kind of the JSON document.
const (
	APIVersion = "reanchor.dev/v1alpha1"
	Kind       = "CertificateReport"
)

//go:embed schema.json
var schema []byte

// Schema is the JSON schema of the document.
func Schema() []byte { return append([]byte(nil), schema...) }

// Document is a report with where, when and how it was made.
type Document struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// GeneratedAt is the time that certificates were judged at, so it is
	// --now where that was given.
	GeneratedAt time.Time  `json:"generatedAt"`
	Node        string     `json:"node"`
	Tool        Tool       `json:"tool"`
	Thresholds  Thresholds `json:"thresholds"`
	checker.Report
	// Processes are the files found that running processes have loaded; empty
	// where processes were not looked at.
	Processes []checker.Loaded `json:"processes,omitempty"`
}

// Tool is the program that made the report.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Thresholds are how strict the policy was; times are in seconds.
type Thresholds struct {
	WarningSeconds    int64          `json:"warningSeconds"`
	CriticalSeconds   int64          `json:"criticalSeconds"`
	CAWarningSeconds  int64          `json:"caWarningSeconds"`
	CACriticalSeconds int64          `json:"caCriticalSeconds"`
	FailOn            checker.FailOn `json:"failOn"`
	// IncludeOrphaned says that leftovers were judged too.
	IncludeOrphaned bool `json:"includeOrphaned,omitempty"`
}

// Origin is who made a report.
type Origin struct{ Node, Version string }

// New wraps a report.
func New(r checker.Report, now time.Time, p checker.Policy, o Origin) *Document {
	return &Document{
		APIVersion: APIVersion, Kind: Kind, GeneratedAt: now.UTC(), Node: o.Node,
		Tool: Tool{Name: "reanchor", Version: o.Version},
		Thresholds: Thresholds{
			WarningSeconds: int64(p.Leaf.Warning.Seconds()), CriticalSeconds: int64(p.Leaf.Critical.Seconds()),
			CAWarningSeconds: int64(p.CA.Warning.Seconds()), CACriticalSeconds: int64(p.CA.Critical.Seconds()),
			FailOn: p.FailOn, IncludeOrphaned: p.IncludeOrphaned,
		},
		Report: r,
	}
}

// JSON writes the document, indented.
func JSON(w io.Writer, d *Document) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(d); err != nil {
		return fmt.Errorf("writing the report as JSON: %w", err)
	}
	return nil
}

// JSONLine writes the document in one line, to be appended to a log.
func JSONLine(w io.Writer, d *Document) error {
	if err := json.NewEncoder(w).Encode(d); err != nil {
		return fmt.Errorf("writing the report as a line of JSON: %w", err)
	}
	return nil
}

// YAML writes the document with the keys of the JSON.
func YAML(w io.Writer, d *Document) error {
	text, err := yaml.Marshal(d)
	if err == nil {
		_, err = w.Write(text)
	}
	if err != nil {
		return fmt.Errorf("writing the report as YAML: %w", err)
	}
	return nil
}
