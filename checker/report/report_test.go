package report_test

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/checkertest"
	"github.com/reanchor/reanchor/checker/report"
)

const day = 24 * time.Hour

func now() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

func issue(t *testing.T, s checkertest.Spec, parent *checkertest.Pair) *checkertest.Pair {
	t.Helper()
	if s.NotBefore.IsZero() {
		s.NotBefore = now().Add(-3000 * day)
	}
	p, err := checkertest.Issue(s, parent)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const longPath = "/mnt/master-vol-0a1b2c3d4e5f60718/pki/-k3Vq0Zp8TtWmB1nXyL2ew/clients/server.crt"

// document has one of everything.
func document(t *testing.T) *report.Document {
	t.Helper()
	ca := issue(t, checkertest.Spec{CN: "etcd-clients-ca", CA: true, NotAfter: now().Add(3000 * day)}, nil)
	expired := issue(t, checkertest.Spec{CN: "etcd-a", Organization: []string{"o"}, DNS: []string{"etcd-a"}, IPs: []string{"127.0.0.1"}, Usages: checkertest.Both(), NotAfter: now().Add(-12 * day)}, ca)
	fine := issue(t, checkertest.Spec{CN: "a-subject-that-is-much-longer-than-anybody-would-like", DNS: []string{"x"}, NotAfter: now().Add(700 * day)}, ca)
	file := func(path string, certs ...*checkertest.Pair) checker.File {
		f := checker.File{Source: checker.SourceFile, Path: path, Modified: now().Add(-day)}
		for _, c := range certs {
			f.Certs = append(f.Certs, c.Checked())
		}
		return f
	}
	lost := file(longPath, expired)
	lost.Resolved, lost.Use = "/elsewhere", checker.Use{Profile: "kops", Role: "etcd-server", Instance: "main", Renew: "restart etcd-manager-{instance} on this node, one node at a time"}
	old := file("/old/server.crt", issue(t, checkertest.Spec{CN: "old", NotAfter: now().Add(-400 * day)}, ca))
	old.Orphan = "nobody uses it"
	user := file("/etc/kubernetes/admin.conf", fine)
	user.Source, user.Key = checker.SourceKubeconfig, "users/admin/client-certificate-data"
	facts := checker.Facts{
		Files: []checker.File{lost, old, user, file("/pki/ca.crt", ca), file("/srv/ca.crt", ca), {Source: checker.SourceFile, Path: "/pki/broken.crt", Faults: []checker.Fault{{ID: checker.TruncatedPEM, Detail: "block 1 begins and does not end"}}}},
		Endpoints: []checker.Endpoint{
			{Address: "127.0.0.1:4001", State: checker.EndpointServing, Chain: []*checker.Cert{expired.Checked()}, ExpectPaths: []string{"/pki/ca.crt"}},
			{Address: "127.0.0.1:2382", State: checker.EndpointNotTLS, Detail: "plain"},
			{Address: "127.0.0.1:6443", ServerName: "apiserver-loopback-client", State: checker.EndpointUnreachable, Detail: "connection refused"},
		},
		Roots: []checker.Root{{Path: "/pki", State: checker.RootScanned, Files: 2, Profile: "kops"}, {Path: "/mnt/disks/*/pki", State: checker.RootMissing}, {Path: "/srv", State: checker.RootUnreadable}},
	}
	policy := checker.DefaultPolicy()
	d := report.New(checker.Check(facts, now(), policy), now(), policy, report.Origin{Node: "etcd-a", Version: "v1"})
	d.Processes = []checker.Loaded{{Process: "etcd", PID: 7, Path: "/pki/ca.crt", RestartSuspected: true}, {Process: "etcd", PID: 7, Path: longPath}}
	return d
}

func table(t *testing.T, d *report.Document, o report.TableOptions) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.Table(&b, d, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTheTableOfATerminalOf120Columns(t *testing.T) {
	const start = `STATUS    EXPIRES     LEFT   SUBJECT                   LOCATION
EXPIRED   2026-11-10  -12d   etcd-a
    /mnt/master-vol-0a1b2c3d4e5f60718/pki/-k3Vq0Zp8TtWmB1nXyL2ew/clients/server.crt (and 1 more)
    expired 12 days ago, on 2026-11-10T12:00:00Z
    → restart etcd-manager-main on this node, one node at a time
`
	got := table(t, document(t), report.TableOptions{Width: 120})
	if !strings.HasPrefix(got, start) {
		t.Errorf("want at the beginning\n%s\ngot\n%s", start, got)
	}
	for _, part := range []string{
		"live_mismatch at 127.0.0.1:4001: serves", "truncated_pem: block 1", "ORPHANED", "orphaned: nobody uses it\n",
		"Scanned:     /pki (2)", "Not there:   /mnt/disks/*/pki", "Unreadable:  /srv",
		"Information: live_not_tls 127.0.0.1:2382", "sni=apiserver-loopback-client",
		"CRITICAL: 4 certificates, 1 expired, 1 orphaned, 2 ok; 6 files read in 1 root, 2 roots missing, 3 endpoints, 1 process;\nexit 2\n",
	} {
		if !strings.Contains(got, part) {
			t.Errorf("missing %q in:\n%s", part, got)
		}
	}
}

func TestTheTableOfATerminalOf80Columns(t *testing.T) {
	want, err := os.ReadFile("testdata/80columns.txt")
	if err != nil {
		t.Fatal(err)
	}
	got := table(t, document(t), report.TableOptions{Width: 80})
	// Keys are new in every run, and so are fingerprints.
	got = regexp.MustCompile(`\b[0-9a-f]{16}\b`).ReplaceAllString(got, "0000000000000000")
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAFooterBreaksBetweenItsItems(t *testing.T) {
	d := report.New(checker.Report{Summary: checker.Summary{Roots: []checker.Root{
		{Path: "/var/lib/kube-controller-manager/kubeconfig", State: checker.RootScanned, Files: 1},
		{Path: "/var/lib/kubectl/kubeconfig", State: checker.RootScanned, Files: 1},
	}}}, now(), checker.DefaultPolicy(), report.Origin{})
	const want = `Scanned:     /var/lib/kube-controller-manager/kubeconfig (1)
             /var/lib/kubectl/kubeconfig (1)
`
	if got := table(t, d, report.TableOptions{Width: 85}); !strings.Contains(got, want) {
		t.Errorf("want\n%s\ngot\n%s", want, got)
	}
}

func TestARemedyIsRepeatedOnlyWhereLinesAreReadAlone(t *testing.T) {
	d := report.New(checker.Report{Findings: []checker.Finding{
		{ID: checker.NoCertificate, Severity: checker.Warning, Path: "/a", Message: "none", Remedy: "restore it"},
		{ID: checker.NoCertificate, Severity: checker.Warning, Path: "/b", Message: "none", Remedy: "restore it"},
		{ID: checker.NoCertificate, Severity: checker.Warning, Path: "/c", Message: "none", Remedy: "something else"},
		{ID: checker.NoCertificate, Severity: checker.Warning, Path: "/d", Message: "none", Remedy: "restore it"},
	}}, now(), checker.DefaultPolicy(), report.Origin{})
	for width, want := range map[int][]string{
		80: {"→ restore it", "→ as above", "→ something else", "→ restore it"},
		0:  {"→ restore it", "→ restore it", "→ something else", "→ restore it"},
	} {
		var got []string
		for line := range strings.Lines(table(t, d, report.TableOptions{Width: width})) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "→") {
				got = append(got, line)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("width %d (-want +got):\n%s", width, diff)
		}
	}
}

func TestNoLineIsWiderThanTheTerminalUnlessItIsAPath(t *testing.T) {
	d := document(t)
	for _, width := range []int{80, 100, 120, 200} {
		for line := range strings.Lines(table(t, d, report.TableOptions{Width: width})) {
			line = strings.TrimRight(line, "\n")
			if utf8.RuneCountInString(line) > width && !strings.HasPrefix(strings.TrimSpace(line), "/") {
				t.Errorf("width %d: a line of %d: %s", width, utf8.RuneCountInString(line), line)
			}
		}
	}
}

func TestAPathIsNeverCut(t *testing.T) {
	for _, width := range []int{0, 40, 80, 120, 200} {
		if got := table(t, document(t), report.TableOptions{Width: width}); !strings.Contains(got, longPath) {
			t.Errorf("width %d: the path is not there in one piece:\n%s", width, got)
		}
	}
}

func TestWithoutATerminalACertificateIsOneLine(t *testing.T) {
	got := table(t, document(t), report.TableOptions{})
	if !slices.ContainsFunc(strings.Split(got, "\n"), func(line string) bool {
		return strings.HasPrefix(line, "EXPIRED") && strings.Contains(line, longPath)
	}) {
		t.Errorf("status and path are not in one line:\n%s", got)
	}
	if strings.Contains(got, "\x1b") {
		t.Error("colour without being asked")
	}
}

func TestWideShowsEverything(t *testing.T) {
	d := document(t)
	got := table(t, d, report.TableOptions{Wide: true, Color: true})
	for _, part := range []string{"SERIAL", "SHA256", "SERVED AT", "127.0.0.1:4001", "server,client", "ECDSA 256", d.Certificates[0].ID[:16], "    /srv/ca.crt\n", "\x1b[31;1mEXPIRED"} {
		if !strings.Contains(got, part) {
			t.Errorf("missing %q in:\n%s", part, got)
		}
	}
}

func TestOneLine(t *testing.T) {
	want := "CRITICAL expired " + longPath + ": expired 12 days ago, on 2026-11-10T12:00:00Z. restart etcd-manager-main on this node, one node at a time (and "
	if got := report.Line(document(t)); !strings.HasPrefix(got, want) || strings.Contains(got, "\n") {
		t.Errorf("got  %q\nwant %q...", got, want)
	}
	fine := report.New(checker.Report{Summary: checker.Summary{Certificates: 1, OK: 1}}, now(), checker.DefaultPolicy(), report.Origin{})
	if got := report.Line(fine); !strings.HasPrefix(got, "OK: 1 certificate, 1 ok") {
		t.Errorf("a healthy report: %q", got)
	}
}

// validate checks a document against the published schema.
func validate(t *testing.T, text []byte) error {
	t.Helper()
	schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(report.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("schema.json", schema); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return compiled.Validate(value)
}

func TestJSONAndYAMLKeepToTheSchema(t *testing.T) {
	d := document(t)
	var asJSON, asYAML bytes.Buffer
	if err := report.JSON(&asJSON, d); err != nil {
		t.Fatal(err)
	}
	if err := validate(t, asJSON.Bytes()); err != nil {
		t.Errorf("JSON: %v", err)
	}
	if err := report.YAML(&asYAML, d); err != nil {
		t.Fatal(err)
	}
	converted, err := yaml.YAMLToJSON(asYAML.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(t, converted); err != nil {
		t.Errorf("YAML: %v", err)
	}
	empty := report.New(checker.Check(checker.Facts{}, now(), checker.DefaultPolicy()), now(), checker.DefaultPolicy(), report.Origin{})
	asJSON.Reset()
	if err := report.JSON(&asJSON, empty); err != nil {
		t.Fatal(err)
	}
	if err := validate(t, asJSON.Bytes()); err != nil {
		t.Errorf("an empty report: %v", err)
	}
}

// TestTheSchemaIsStrict: a schema that lets everything through proves nothing.
func TestTheSchemaIsStrict(t *testing.T) {
	var good bytes.Buffer
	if err := report.JSON(&good, document(t)); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(map[string]any){
		"an unknown field":    func(d map[string]any) { d["extra"] = true },
		"a missing summary":   func(d map[string]any) { delete(d, "summary") },
		"an unknown rule":     func(d map[string]any) { d["findings"].([]any)[0].(map[string]any)["id"] = "x" },
		"a text for a number": func(d map[string]any) { d["summary"].(map[string]any)["files"] = "6" },
	} {
		var d map[string]any
		if err := json.Unmarshal(good.Bytes(), &d); err != nil {
			t.Fatal(err)
		}
		change(d)
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if validate(t, text) == nil {
			t.Errorf("%s is let through", name)
		}
	}
}

func TestTheSchemaKnowsEveryRule(t *testing.T) {
	var schema struct {
		Defs struct {
			RuleID struct{ Enum []checker.RuleID }
		} `json:"$defs"`
	}
	if err := json.Unmarshal(report.Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	var want []checker.RuleID
	for _, r := range checker.Rules() {
		want = append(want, r.ID)
	}
	got := schema.Defs.RuleID.Enum
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules in the schema (-code +schema):\n%s", diff)
	}
}
