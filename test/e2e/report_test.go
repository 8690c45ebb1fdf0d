package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/bundle/bundletest"
)

// What an operator reads: the columns of kubectl, the events of a roll on the
// MeshTrust and on the workload, and no certificate in any of it.
func TestARollIsReportedInColumnsAndEvents(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{spec: quick()})
	ns := m.namespace("apps")
	app := deployment(t, ns, "app", 2, nil)
	ready(t, ns, 2)
	m.awaitConverged(time.Minute, m.root)
	next := bundletest.NewRoot(t, "root.linkerd.cluster.local", bundletest.From(time.Now().Add(-time.Hour), 24*time.Hour))
	m.update(func(mt *v1alpha1.MeshTrust) { mt.Spec.Rollout.Paused = true })
	m.publish(m.root, next)
	eventually(t, time.Minute, func() error {
		return m.columns(map[string]string{
			"Name": m.name, "Profile": "Linkerd", "Anchors": "2", "Expires": m.root.Cert.NotAfter.UTC().Format(time.RFC3339),
			"Pods": "2", "Stale": "2", "Status": "Paused",
		})
	})
	m.update(func(mt *v1alpha1.MeshTrust) { mt.Spec.Rollout.Paused = false })
	m.awaitConverged(time.Minute, m.root, next)
	eventually(t, time.Minute, func() error {
		return m.columns(map[string]string{"Anchors": "2", "Pods": "2", "Stale": "0", "Status": "Converged"})
	})

	eventually(t, time.Minute, func() error {
		for _, want := range []struct{ namespace, kind, name, reason string }{
			{"default", "MeshTrust", m.name, "Paused"},
			{"default", "MeshTrust", m.name, "Restarted"},
			{"default", "MeshTrust", m.name, "Converged"},
			{ns, "Deployment", "app", "Restarted"},
			{ns, "Deployment", "app", "Converged"},
		} {
			found := slices.ContainsFunc(events(t, want.namespace), func(e eventsv1.Event) bool {
				return e.Regarding.Kind == want.kind && e.Regarding.Name == want.name && e.Reason == want.reason && e.Note != ""
			})
			if !found {
				return fmt.Errorf("no event %+v", want)
			}
		}
		return nil
	})
	// kubectl describe finds events by the UID.
	for _, e := range slices.Concat(events(t, "default"), events(t, ns)) {
		uid := app.UID
		if e.Regarding.Kind == "MeshTrust" {
			uid = m.status().UID
		}
		if (e.Regarding.Name == m.name || e.Regarding.Name == "app") && e.Regarding.UID != uid {
			t.Errorf("the event %q is about the UID %q, want %q", e.Note, e.Regarding.UID, uid)
		}
	}
	m.nothingLeaks(ns, m.root, next)
}

// columns reads what "kubectl get meshtrusts" prints.
func (m *meshWorld) columns(want map[string]string) error {
	kube, err := kubernetes.NewForConfig(env.lab.Config())
	if err != nil {
		return err
	}
	text, err := kube.RESTClient().Get().AbsPath("/apis/reanchor.dev/v1alpha1/meshtrusts/"+m.name).
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(m.t.Context())
	if err != nil {
		return err
	}
	var table metav1.Table
	if err := json.Unmarshal(text, &table); err != nil {
		return err
	}
	for i, column := range table.ColumnDefinitions {
		if value, ok := want[column.Name]; ok && fmt.Sprint(table.Rows[0].Cells[i]) != value {
			return fmt.Errorf("column %s is %v, want %s", column.Name, table.Rows[0].Cells[i], value)
		}
	}
	if len(table.ColumnDefinitions) != 8 {
		return fmt.Errorf("%d columns, want the eight of the design", len(table.ColumnDefinitions))
	}
	return nil
}

func events(t *testing.T, namespace string) []eventsv1.Event {
	t.Helper()
	var list eventsv1.EventList
	if err := env.client.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// nothingLeaks looks for certificates and keys where none may be (I6).
func (m *meshWorld) nothingLeaks(namespace string, anchors ...*bundletest.CA) {
	m.t.Helper()
	secrets := []string{"BEGIN CERT", "PRIVATE KEY"}
	for _, a := range anchors {
		der := base64.StdEncoding.EncodeToString(a.Cert.Raw)
		key := strings.Split(strings.ReplaceAll(a.KeyPEM(), "\\n", "\n"), "\n")[1]
		// The middle of a certificate, which is in one line of its PEM text.
		secrets = append(secrets, der[64:112], base64.StdEncoding.EncodeToString([]byte(a.PEM()))[64:112], key[8:56])
	}
	log, err := os.ReadFile(env.leader.Log)
	if err != nil {
		m.t.Fatal(err)
	}
	places := map[string]string{
		"the status":               asJSON(m.t, m.status()),
		"an event of the mesh":     asJSON(m.t, &eventsv1.EventList{Items: events(m.t, "default")}),
		"an event of the workload": asJSON(m.t, &eventsv1.EventList{Items: events(m.t, namespace)}),
		"the controller's log":     string(log),
		"the controller's metrics": m.metrics(),
	}
	for place, text := range places {
		if len(text) < 500 {
			m.t.Errorf("%s is empty: %q", place, text)
		}
		for _, secret := range secrets {
			if i := strings.Index(text, secret); i >= 0 {
				m.t.Errorf("%s holds %q: ...%s...", place, secret, text[max(0, i-200):min(len(text), i+60)])
			}
		}
	}
}

// metrics is what the controller says of all meshes, this one included.
func (m *meshWorld) metrics() string {
	m.t.Helper()
	response, err := http.Get(env.leader.metrics)
	if err != nil {
		m.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	if !strings.Contains(string(text), `mesh="`+m.name+`"`) {
		m.t.Error("the controller's metrics do not know the mesh")
	}
	return string(text)
}

func asJSON(t *testing.T, o runtime.Object) string {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
