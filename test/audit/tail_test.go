package audit

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// written are lines of an API server's log, of which the last is half written.
const (
	earlier = `{"verb":"delete","requestURI":"/api/v1/namespaces/n/pods/gone","objectRef":{"resource":"pods","namespace":"n","name":"gone"},"requestReceivedTimestamp":"2026-05-01T10:00:00.000000Z"}
`
	written = `{"verb":"patch","requestURI":"/apis/apps/v1/namespaces/n/deployments/d?fieldManager=reanchor&force=true","objectRef":{"resource":"deployments","namespace":"n","name":"d","apiGroup":"apps"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-05-01T10:00:01.500000Z"}
{"verb":"get","requestURI":"/readyz","requestReceivedTimestamp":"2026-05-01T10:00:02.000000Z"}
{"verb":"create","requestURI":"/api/v1/namespaces/n/pods?dryRun=All","objectRef":{"resource":"pods","namespace":"n","name":"p"},"requestReceivedTimestamp":"2026-05-01T10:00:02.000000Z"}
{"verb":"patch","requestURI":"/apis/x/v1/certs/c/status","objectRef":{"resource":"certs","name":"c","apiGroup":"x","subresource":"status"},"requestReceivedTimestamp":"2026-05-01T10:00:03.000000Z"}
{"verb":"list","requestURI":"/api/v1/pods","objectRef":{"resource":"pods"},"requestReceivedTimestamp":"2026-05-01T10:00:04.000000Z"}
`
	half = `{"verb":"delete","requestURI":"/api/v1/namespaces/n/secrets/s","objectRef":{"resou`
	rest = `rce":"secrets","namespace":"n","name":"s"},"requestReceivedTimestamp":"2026-05-01T10:00:05.000000Z"}
`
)

func TestATailTellsWhatWasAskedSince(t *testing.T) {
	l := &Log{path: filepath.Join(t.TempDir(), "audit.log")}
	if _, err := l.Tail(); err == nil {
		t.Error("a log that does not exist has a tail")
	}
	add := func(text string) {
		t.Helper()
		file, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := file.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	add(earlier)
	tail, err := l.Tail()
	if err != nil {
		t.Fatal(err)
	}
	at := func(seconds float64) time.Time {
		return time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
	}
	for _, step := range []struct {
		add    string
		want   []Request
		writes []string
	}{
		{"", nil, nil},
		{written + half, []Request{
			{At: at(1.5), Verb: "patch", Group: "apps", Resource: "deployments", Namespace: "n", Name: "d"},
			{At: at(2), Verb: "create", Resource: "pods", Namespace: "n", Name: "p", DryRun: true},
			{At: at(3), Verb: "patch", Group: "x", Resource: "certs/status", Name: "c"},
			{At: at(4), Verb: "list", Resource: "pods"},
		}, []string{"patch deployments n/d", "patch certs/status c"}},
		{"", nil, nil},
		{rest, []Request{{At: at(5), Verb: "delete", Resource: "secrets", Namespace: "n", Name: "s"}}, []string{"delete secrets n/s"}},
	} {
		add(step.add)
		have, err := tail.Read()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, have); diff != "" {
			t.Error(diff)
		}
		var writes []string
		for _, r := range have {
			if r.Writes() {
				writes = append(writes, r.String())
			}
		}
		if diff := cmp.Diff(step.writes, writes); diff != "" {
			t.Error(diff)
		}
	}
	add("this is no event\n")
	if _, err := tail.Read(); err == nil {
		t.Error("what cannot be read is passed over")
	}
}
