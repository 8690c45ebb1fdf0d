package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"time"
)

// Request is one that was answered, whatever the answer was.
type Request struct {
	// At is when the API server received it, by that one's clock.
	At time.Time
	// Resource is followed by /SUBRESOURCE if there is one. Name is empty where the
	// request has none, as that of a list.
	Verb, Group, Resource, Namespace, Name string
	// DryRun says that it was to change nothing.
	DryRun bool
}

// Writes reports whether it asked for a change.
func (r Request) Writes() bool {
	return !r.DryRun && slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, r.Verb)
}

// String is VERB RESOURCE NAMESPACE/NAME, without the namespace for what has none.
func (r Request) String() string {
	out := r.Verb + " " + r.Resource + " "
	if r.Namespace != "" {
		out += r.Namespace + "/"
	}
	return out + r.Name
}

// Tail reads a log as it grows: a long one is not read again and again.
type Tail struct {
	path string
	at   int64
}

// Tail begins at the present end of the log. What was asked before may be put on
// record only now; Request.At tells.
func (l *Log) Tail() (*Tail, error) {
	info, err := os.Stat(l.path)
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	return &Tail{l.path, info.Size()}, nil
}

// Read returns the requests that were answered since it was called last, in the
// order of their answers.
func (t *Tail) Read() ([]Request, error) {
	lines, err := t.lines()
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	var out []Request
	for line := range bytes.Lines(lines) {
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("reading the audit log: %w", err)
		}
		if e.ObjectRef != nil {
			out = append(out, e.request())
		}
	}
	return out, nil
}

// lines are the new ones. The last is left for later while it is half written.
func (t *Tail) lines() ([]byte, error) {
	file, err := os.Open(t.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if _, err := file.Seek(t.at, io.SeekStart); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(file)
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	t.at += int64(len(text))
	return text, err
}

func (e *event) request() Request {
	uri, err := url.Parse(e.RequestURI)
	return Request{
		At: e.RequestReceivedTimestamp, Verb: e.Verb, Group: e.ObjectRef.APIGroup, Resource: e.resource(),
		Namespace: e.ObjectRef.Namespace, Name: e.ObjectRef.Name, DryRun: err == nil && uri.Query().Has("dryRun"),
	}
}

// resource is followed by /SUBRESOURCE if there is one.
func (e *event) resource() string {
	if e.ObjectRef.Subresource == "" {
		return e.ObjectRef.Resource
	}
	return e.ObjectRef.Resource + "/" + e.ObjectRef.Subresource
}
