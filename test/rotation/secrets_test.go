package rotation

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
	"github.com/reanchor/reanchor/hack/local"
)

// told is what Reanchor has written for people and machines, and secret what must
// not be in it: lines of keys and certificates, by where they are kept.
var told struct {
	sync.Mutex
	texts  map[string]string
	secret map[string]string
}

func tell(source, text string) {
	told.Lock()
	defer told.Unlock()
	if told.texts == nil {
		told.texts = map[string]string{}
	}
	told.texts[source] = text
}

// hide notes the lines of the Secrets of a namespace, as they are in the PEM text
// and as an object's JSON would show them.
func hide(ctx context.Context, namespace string) error {
	var list corev1.SecretList
	if err := env.client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return err
	}
	told.Lock()
	defer told.Unlock()
	if told.secret == nil {
		told.secret = map[string]string{}
	}
	for i := range list.Items {
		s := &list.Items[i]
		for name, data := range s.Data {
			where := s.Namespace + "/" + s.Name + " " + name
			for line := range strings.Lines(string(data)) {
				if line = strings.TrimSpace(line); len(line) >= 40 && !strings.HasPrefix(line, "-----") {
					told.secret[line] = where
				}
			}
			if text := base64.StdEncoding.EncodeToString(data); len(text) > 200 {
				told.secret[text[120:180]] = where
			}
		}
	}
	return nil
}

// note keeps what a scenario's end would remove: what was told of the mesh, and
// what was to be kept secret.
func (w *world) note(ctx context.Context) error {
	for _, namespace := range []string{w.Mesh.Mesh, linkerd.TrustNamespace} {
		if err := hide(ctx, namespace); err != nil {
			return err
		}
	}
	var trusts v1alpha1.MeshTrustList
	var runs v1alpha1.AnchorRotationList
	for name, list := range map[string]client.ObjectList{"MeshTrusts": &trusts, "AnchorRotations": &runs} {
		if err := w.Client.List(ctx, list); err != nil {
			return err
		}
		text, err := json.Marshal(list)
		if err != nil {
			return err
		}
		tell(name+" at the end of "+w.Mesh.Mesh, string(text))
	}
	if text, err := metrics(); err == nil { // a controller that is started again has none
		tell("metrics at the end of "+w.Mesh.Mesh, text)
	}
	return nil
}

// leaks are the places where text holds what must not be in it.
func leaks(text string) []string {
	var out []string
	for _, mark := range []string{"PRIVATE KEY", "BEGIN CERTIFICATE", "LS0tLS1CRUdJTi"} {
		if strings.Contains(text, mark) {
			out = append(out, mark)
		}
	}
	for line, where := range told.secret {
		if strings.Contains(text, line) {
			out = append(out, where)
		}
	}
	return out
}

// TestNothingSecretIsTold runs after all others: no line of a key or a certificate
// is in a log, an event, a metric or a status of all these rotations.
func TestNothingSecretIsTold(t *testing.T) {
	for _, namespace := range []string{linkerd.TrustNamespace, local.Namespace} {
		if err := hide(t.Context(), namespace); err != nil {
			t.Fatal(err)
		}
	}
	logs, err := filepath.Glob(filepath.Join(env.dir, "*.log"))
	if err != nil || len(logs) < 2 {
		t.Fatalf("the logs are %v (%v)", logs, err)
	}
	for _, log := range logs {
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		tell(filepath.Base(log), string(text))
	}
	tellEvents(t)
	told.Lock()
	defer told.Unlock()
	if len(told.secret) < 10 || len(told.texts) < 5 || !toldMetrics() {
		t.Fatalf("%d lines are secret and %d texts were told: the test shows nothing", len(told.secret), len(told.texts))
	}
	for line := range told.secret {
		if len(leaks("a log line with "+line+" in it")) == 0 {
			t.Fatal("a secret line would not be found")
		}
	}
	for source, text := range told.texts {
		for _, leak := range leaks(text) {
			t.Errorf("%s holds what is in %s", source, leak)
		}
	}
}

func tellEvents(t *testing.T) {
	t.Helper()
	var list eventsv1.EventList
	if err := env.client.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	mine := 0
	for i := range list.Items {
		if strings.HasPrefix(list.Items[i].ReportingController, "reanchor") {
			mine++
		}
	}
	if mine == 0 {
		t.Error("there are no events of Reanchor")
	}
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	tell("events", string(text))
}

// toldMetrics reports whether there were metrics of a mesh.
func toldMetrics() bool {
	for source, text := range told.texts {
		if strings.HasPrefix(source, "metrics ") && strings.Contains(text, "reanchor_") {
			return true
		}
	}
	return false
}

// metrics are those that the controller serves at this moment.
func metrics() (string, error) {
	answer, err := http.Get("http://" + env.metrics + "/metrics")
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return string(text), err
}
