package checker

import "fmt"

// Severity orders findings and reports from harmless to harmful. The order is
// also the precedence of exit codes: critical over unknown over warning.
type Severity uint8

// The severities. Unknown is "could not be looked at although it was asked
// for"; it must never pass for OK.
const (
	OK Severity = iota
	Info
	Warning
	Unknown
	Critical
)

func severityNames() [5]string {
	return [5]string{"ok", "info", "warning", "unknown", "critical"}
}

// String is the lower-case word used in JSON and metrics.
func (s Severity) String() string {
	if names := severityNames(); int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("severity(%d)", uint8(s))
}

// MarshalText writes the word of String.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the word of String.
func (s *Severity) UnmarshalText(text []byte) error {
	for i, name := range severityNames() {
		if name == string(text) {
			*s = Severity(i)
			return nil
		}
	}
	return fmt.Errorf("reading severity: %q is none of %v", text, severityNames())
}

// ExitCode follows the convention of Nagios plugins: 0 OK, 1 WARNING,
// 2 CRITICAL, 3 UNKNOWN. Information does not fail.
func (s Severity) ExitCode() int {
	switch s {
	case Critical:
		return 2
	case Unknown:
		return 3
	case Warning:
		return 1
	default:
		return 0
	}
}
