package rotation

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/hack/lab/linkerd"
)

// told is what Reanchor has written for people and machines, and what must not be
// in it: secret is where a piece of a key or a certificate was kept, by that piece,
// and keys are the private keys that each Secret has held, one after another.
var told struct {
	sync.Mutex
	texts  map[string]string
	secret map[string]string
	keys   map[client.ObjectKey]map[string]bool
}

// piece is how many characters of a line give it away.
const piece = 40

func tell(source, text string) {
	told.Lock()
	defer told.Unlock()
	if told.texts == nil {
		told.texts = map[string]string{}
	}
	told.texts[source] = text
}

// hideAllAlong notes what all Secrets hold from now until the test ends: most keys
// that a run begins with, and those that cert-manager keeps for a moment, are
// overwritten or deleted before that.
func hideAllAlong(t *T) {
	t.Helper()
	set, err := kubernetes.NewForConfig(t.cluster.lab.Config())
	if err != nil {
		t.Fatal(err)
	}
	factory := informers.NewSharedInformerFactory(set, 0)
	registration, err := factory.Core().V1().Secrets().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: hide, UpdateFunc: func(_, now any) { hide(now) },
	})
	if err != nil {
		t.Fatal(err)
	}
	factory.StartWithContext(t.Context())
	t.Cleanup(factory.Shutdown)
	if !cache.WaitForCacheSync(t.Context().Done(), registration.HasSynced) {
		t.Fatal("the Secrets that there are were not seen")
	}
}

// hide notes the lines of a Secret, as they are in the PEM text and as an object's
// JSON would show them.
func hide(obj any) {
	s, ok := obj.(*corev1.Secret)
	if !ok {
		return
	}
	told.Lock()
	defer told.Unlock()
	if told.secret == nil {
		told.secret, told.keys = map[string]string{}, map[client.ObjectKey]map[string]bool{}
	}
	for name, data := range s.Data {
		where := s.Namespace + "/" + s.Name + " " + name
		for line := range strings.Lines(string(data)) {
			if line = strings.TrimSpace(line); len(line) >= piece && !strings.HasPrefix(line, "-----") {
				told.secret[line[:piece]] = where
			}
		}
		if text := base64.StdEncoding.EncodeToString(data); len(text) > 200 {
			told.secret[text[120:120+piece]] = where
		}
	}
	if private := string(s.Data[corev1.TLSPrivateKeyKey]); private != "" {
		key := client.ObjectKeyFromObject(s)
		if told.keys[key] == nil {
			told.keys[key] = map[string]bool{}
		}
		told.keys[key][private] = true
	}
}

// overwritten reports whether a Secret whose name begins so has held another
// private key before its last.
func overwritten(prefix string) bool {
	for key, privates := range told.keys {
		if strings.HasPrefix(key.Name, prefix) && len(privates) > 1 {
			return true
		}
	}
	return false
}

// note keeps what a scenario's end would remove: what was told of the mesh.
func (w *world) note(ctx context.Context) error {
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
	if text, err := metricsAt(w.cluster.metrics); err == nil { // a controller that is started again has none
		tell("metrics at the end of "+w.Mesh.Mesh, text)
	}
	return nil
}

// leaks are the places of which text holds what must not be in it.
func leaks(text string) []string {
	found := map[string]bool{}
	for _, mark := range []string{"PRIVATE KEY", "BEGIN CERTIFICATE", "LS0tLS1CRUdJTi"} {
		if strings.Contains(text, mark) {
			found[mark] = true
		}
	}
	for i := range len(text) - piece + 1 { // there are more secrets than to look for one by one
		if where, ok := told.secret[text[i:i+piece]]; ok {
			found[where] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// TestNothingSecretIsTold runs after all others: no line of a key or a certificate
// is in a log, an event, a metric or a status of all these rotations. The keys are
// those that there are, and those that there were.
func TestNothingSecretIsTold(t *testing.T) {
	for _, c := range clusters {
		if c.local != nil { // none of its tests was asked for
			tellLogs(c.test(t))
			tellEvents(c.test(t))
		}
	}
	told.Lock()
	defer told.Unlock()
	if len(told.secret) < 10 || len(told.texts) < 5 || !toldMetrics() {
		t.Fatalf("%d lines are secret and %d texts were told: the test shows nothing", len(told.secret), len(told.texts))
	}
	names := linkerd.NamesOf("")
	for _, prefix := range []string{names.Anchor, names.Issuer} {
		if !overwritten(prefix) {
			t.Fatalf("no private key of a Secret %s was seen that another has overwritten: the test shows nothing of those", prefix)
		}
	}
	for line, where := range told.secret {
		if !slices.Contains(leaks("a log line with "+line+" in it"), where) {
			t.Fatal("a secret line would not be found")
		}
	}
	for source, text := range told.texts {
		for _, leak := range leaks(text) {
			t.Errorf("%s holds what is in %s", source, leak)
		}
	}
}

func tellLogs(t *T) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(t.cluster.dir, "*.log"))
	if err != nil || len(logs) < 2 {
		t.Fatalf("the logs are %v (%v)", logs, err)
	}
	for _, log := range logs {
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		tell(t.cluster.name+" "+filepath.Base(log), string(text))
	}
}

func tellEvents(t *T) {
	t.Helper()
	var list eventsv1.EventList
	if err := t.cluster.client.List(t.Context(), &list); err != nil {
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
	tell(t.cluster.name+" events", string(text))
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

// metricsAt are those that a controller serves at this moment.
func metricsAt(address string) (string, error) {
	asker := http.Client{Timeout: 20 * time.Second} // the controller may be stopped in its tracks
	answer, err := asker.Get("http://" + address + "/metrics")
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return string(text), err
}
