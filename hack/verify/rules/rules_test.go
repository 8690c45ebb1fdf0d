package rules_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/hack/verify/rules"
)

const module = "example.org/mesh"

// TestRules builds a small tree for each rule, broken in one place, and expects
// exactly that place to be found.
func TestRules(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		// want are "path:line: start of the sentence"; none means a clean tree.
		want []string
	}{
		"bundle imports nothing but the standard library": {
			map[string]string{"bundle/a.go": imports("bundle", "crypto/x509", "k8s.io/api/core/v1")},
			[]string{"bundle/a.go:5: bundle must not import k8s.io/api/core/v1: bundle uses the standard library alone"},
		},
		"not even another package of ours": {
			map[string]string{"bundle/a.go": imports("bundle", module+"/api/v1alpha1")},
			[]string{"bundle/a.go:4: bundle must not import example.org/mesh/api/v1alpha1: arrows go down only"},
		},
		"mesh imports bundle and api": {
			map[string]string{"mesh/a.go": imports("mesh", module+"/bundle", module+"/api/v1alpha1", "k8s.io/api/core/v1")}, nil,
		},
		"mesh does not import what imports it": {
			map[string]string{"mesh/a.go": imports("mesh", module+"/webhook")},
			[]string{"mesh/a.go:4: mesh must not import example.org/mesh/webhook: arrows go down only"},
		},
		"webhook does not import rotation": {
			map[string]string{"webhook/a.go": imports("webhook", module+"/bundle", module+"/rotation/inventory")},
			[]string{"webhook/a.go:5: webhook must not import example.org/mesh/rotation/inventory: arrows go down only"},
		},
		"rotation does not import checker": {
			map[string]string{"rotation/inventory/a.go": imports("inventory", module+"/checker")},
			[]string{"rotation/inventory/a.go:4: rotation/inventory must not import example.org/mesh/checker: arrows"},
		},
		"checker does not import webhook": {
			map[string]string{"checker/scan/a.go": imports("scan", module+"/webhook")},
			[]string{"checker/scan/a.go:4: checker/scan must not import example.org/mesh/webhook: arrows"},
		},
		"nothing imports cmd": {
			map[string]string{"rotation/a.go": imports("rotation", module+"/cmd/reanchor")},
			[]string{"rotation/a.go:4: rotation must not import example.org/mesh/cmd/reanchor: arrows"},
		},
		"cmd does not import the lab": {
			map[string]string{"cmd/reanchor/a.go": imports("reanchor", module+"/webhook", module+"/hack/lab")},
			[]string{"cmd/reanchor/a.go:5: cmd/reanchor must not import example.org/mesh/hack/lab: arrows"},
		},
		"api is light": {
			map[string]string{"api/v1alpha1/a.go": imports("v1alpha1", "k8s.io/apimachinery/pkg/apis/meta/v1", "k8s.io/client-go/rest")},
			[]string{"api/v1alpha1/a.go:5: api/v1alpha1 must not import k8s.io/client-go/rest: api uses"},
		},
		"a name that only begins like an allowed one is not allowed": {
			map[string]string{"api/v1alpha1/a.go": imports("v1alpha1", "k8s.io/apiserver/pkg/server")},
			[]string{"api/v1alpha1/a.go:4: api/v1alpha1 must not import k8s.io/apiserver"},
		},
		"test helpers stay in tests": {
			map[string]string{
				"webhook/a.go":           imports("webhook", module+"/bundle/bundletest"),
				"webhook/a_test.go":      imports("webhook", module+"/bundle/bundletest", module+"/hack/lab"),
				"test/e2e/a.go":          imports("e2e", module+"/bundle/bundletest", module+"/rotation"),
				"bundle/bundletest/a.go": imports("bundletest", module+"/bundle"),
			},
			[]string{"webhook/a.go:4: webhook must not import example.org/mesh/bundle/bundletest: that package is for tests"},
		},
		"a new top directory must find its place": {
			map[string]string{"util/a.go": "// Package util is bad.\npackage util\n"},
			[]string{`util/a.go:2: directory "util" has no place among the layers`},
		},
		"a pure package may not import one that is not": {
			map[string]string{"rotation/rollout/a.go": imports("rollout", module+"/api/v1alpha1", module+"/mesh", module+"/rotation/inventory")},
			[]string{"rotation/rollout/a.go:6: rotation/rollout must not import example.org/mesh/rotation/inventory: the package is pure, and so must be"},
		},
		"what applies a pure package's decisions is not pure": {
			map[string]string{"rotation/rollout/apply/a.go": imports("apply", "context", "os", module+"/rotation/rollout")}, nil,
		},
		"pure packages may handle addresses as values": {
			map[string]string{"checker/a.go": imports("checker", "net/netip", "net/url")}, nil,
		},
		"timers are effects in pure packages only": {
			map[string]string{
				"mesh/a.go":    "package mesh\nimport \"time\"\nvar f = time.After\n",
				"webhook/a.go": "package webhook\nimport \"time\"\nvar f = time.After\n",
			},
			[]string{"mesh/a.go:3: time.After: nothing waits here"},
		},
		"time.Now is an effect under any name, called or not": {
			map[string]string{"webhook/a.go": "package webhook\nimport clock \"time\"\nvar now = clock.Now\nvar t = clock.Unix(0, 0)\n"},
			[]string{"webhook/a.go:3: clock.Now: time comes as an argument"},
		},
		"a local variable called time is not the clock": {
			map[string]string{"mesh/a.go": "package mesh\nfunc f(time struct{ Now func() }) { time.Now() }\n"}, nil,
		},
		"production code does not end the process": {
			map[string]string{"rotation/a.go": "package rotation\nimport (\n\"os\"\n\"log\"\n)\nfunc f() {\nos.Exit(1)\nlog.Fatalf(\"\")\npanic(1)\n}\n"},
			[]string{"rotation/a.go:7: os.Exit: only main", "rotation/a.go:8: log.Fatalf: only main", "rotation/a.go:9: panic is for"},
		},
		"production code takes the caller's context": {
			map[string]string{"webhook/a.go": "package webhook\nimport \"context\"\nvar a, b = context.Background(), context.TODO()\n"},
			[]string{"webhook/a.go:3: context.Background: take the caller's", "webhook/a.go:3: context.TODO: take the caller's"},
		},
		"main and tests may": {
			map[string]string{
				"cmd/reanchor/main.go": "package main\nimport (\n\"context\"\n\"os\"\n\"time\"\n)\nfunc main() { _ = context.Background(); _ = time.Now(); os.Exit(0) }\n",
				"mesh/a_test.go":       "package mesh\nimport \"time\"\nfunc TestX() { _ = time.Now(); panic(0) }\n",
			},
			nil,
		},
		"init is never called by name": {
			map[string]string{"cmd/reanchor/a.go": "package main\nfunc init() {}\ntype t struct{}\nfunc (t) init() {}\n"},
			[]string{"cmd/reanchor/a.go:2: init runs behind everybody's back"},
		},
		"a package variable that is changed": {
			map[string]string{
				"webhook/a.go": "package webhook\nvar n, m, k = 0, map[int]int{}, struct{ p *int }{}\n",
				"webhook/b.go": "package webhook\nfunc f() {\nn++\nm[1] = 2\ndelete(m, 1)\n*k.p = 1\n_ = &n\nn, x := 1, 2\n_ = x\nn++\n}\n",
			},
			[]string{
				"webhook/b.go:3: package variable n is changed", "webhook/b.go:4: package variable m is changed",
				"webhook/b.go:5: package variable m is changed", "webhook/b.go:6: package variable k is changed",
				"webhook/b.go:7: package variable n is changed",
			},
		},
		"a package variable that is only read": {
			map[string]string{"webhook/a.go": "package webhook\nimport \"errors\"\n// ErrGone says no.\nvar ErrGone = errors.New(\"gone\")\nvar words = []string{\"a\"}\nfunc f() string { return words[0] }\n"}, nil,
		},
		"another package's variable is changed": {
			map[string]string{"webhook/a.go": "package webhook\nimport \"net/http\"\nfunc f() { http.DefaultClient = nil }\n"},
			[]string{"webhook/a.go:3: package variable http.DefaultClient is changed"},
		},
		"an exported slice can be changed by everybody": {
			map[string]string{"webhook/a.go": "package webhook\n// Words are words.\nvar Words = []string{\"a\"}\n"},
			[]string{"webhook/a.go:3: exported variable Words can be changed"},
		},
		"a global lock or metric": {
			map[string]string{"webhook/a.go": "package webhook\nimport (\n\"sync\"\nprom \"github.com/prometheus/client_golang/prometheus\"\n)\nvar mu sync.Mutex\nvar c = prom.NewCounter(prom.CounterOpts{})\nvar f = func() { var mu sync.Mutex; mu.Lock() }\n"},
			[]string{"webhook/a.go:6: package variable mu holds state of sync", "webhook/a.go:7: package variable c holds state of github.com/prometheus"},
		},
		"a function of 61 lines": {
			map[string]string{"mesh/a.go": "package mesh\nfunc long() {\n" + strings.Repeat("\n", 59) + "}\nfunc ok() {\n" + strings.Repeat("\n", 58) + "}\n"},
			[]string{"mesh/a.go:2: long has 61 lines"},
		},
		"a file of 301 lines": {
			map[string]string{
				"mesh/a.go":      "package mesh\n" + strings.Repeat("//\n", 300),
				"mesh/b.go":      "package mesh\n" + strings.Repeat("//\n", 299),
				"mesh/c_test.go": "package mesh\n" + strings.Repeat("//\n", 900),
				"mesh/zz.go":     "// Code generated by hand. DO NOT EDIT.\n\npackage mesh\n" + strings.Repeat("//\n", 900),
			},
			[]string{"mesh/a.go:1: the file has 301 lines"},
		},
		"eleven ways through a function": {
			map[string]string{"mesh/a.go": "package mesh\n" + branches("many", 10) + branches("enough", 9)},
			[]string{"mesh/a.go:2: many has a cyclomatic complexity of 11"},
		},
		"every kind of branch counts": {
			map[string]string{"mesh/a.go": `package mesh
func f(c chan int, x int) {
	for x > 0 && x < 3 || x > 7 {}
	for range c {}
	if x == 1 {} else if x == 2 {}
	switch { case x == 1: case x == 2: default: }
	select { case <-c: default: }
	_ = func() { if x == 0 {} }
}
`},
			[]string{"mesh/a.go:2: f has a cyclomatic complexity of 11"},
		},
		"five parameters": {
			map[string]string{"mesh/a.go": "package mesh\nfunc f(a, b, c, d, e int) {}\nfunc g(a, b, c, d int) {}\n"},
			[]string{"mesh/a.go:2: f has 5 parameters"},
		},
		"sizes hold in nested modules too, arrows do not": {
			map[string]string{
				"hack/lab/controlplane/go.mod":  "module nested\n",
				"hack/lab/controlplane/main.go": "package main\nimport _ \"example.org/mesh/unknown\"\nfunc f(a, b, c, d, e int) {}\nfunc init() {}\n",
			},
			[]string{"hack/lab/controlplane/main.go:3: f has 5 parameters"},
		},
		"exported names without a comment": {
			map[string]string{"mesh/a.go": `package mesh
func F() {}
type T struct{}
func (*T) M() {}
type t struct{}
func (t) M() {}
const A = 1
var v, W = 1, 2
// Both types are described together, which tells neither.
type (
	X int
	Y int
)
// A group of constants.
const (
	B = 1
	C = 2
)
const D = 1 // D is one.
`},
			[]string{
				"mesh/a.go:2: F is exported without", "mesh/a.go:3: T is exported without", "mesh/a.go:4: M is exported without",
				"mesh/a.go:7: A is exported without", "mesh/a.go:11: X is exported without", "mesh/a.go:12: Y is exported without",
			},
		},
		"marks of unfinished work, in tests too": {
			map[string]string{
				"mesh/a.go":      "package mesh\n// TO" + "DO: later\n",
				"mesh/a_test.go": "package mesh\n/* a\n FIX" + "ME */\nfunc f(t interface{ Skip() }) { t.Skip() }\n",
			},
			[]string{"mesh/a.go:2: TO" + "DO: do it", "mesh/a_test.go:2: FIX" + "ME: do it", "mesh/a_test.go:4: a test that is skipped"},
		},
		"test data is not source": {
			map[string]string{"mesh/testdata/a.go": "this is no Go", ".hidden/a.go": "nor this", "_old/a.go": "nor this"}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			tree, err := rules.Load(tree(c.files))
			if err != nil {
				t.Fatal(err)
			}
			expect(t, c.want, tree.Check())
		})
	}
}

// TestPurePackagesHaveNoEffects tries every kind of effect in every package
// that the design calls pure.
func TestPurePackagesHaveNoEffects(t *testing.T) {
	effects := []string{
		"context", "log", "log/slog", "os", "os/exec", "net", "net/http", "syscall", "math/rand/v2", "crypto/rand",
		"k8s.io/client-go/kubernetes", "sigs.k8s.io/controller-runtime/pkg/client", "k8s.io/utils/clock",
		"github.com/prometheus/client_golang/prometheus", "github.com/go-logr/logr", "k8s.io/klog/v2",
	}
	for _, dir := range []string{"bundle", "mesh", "rotation/rollout", "rotation/lifecycle", "checker"} {
		for _, effect := range effects {
			tree, err := rules.Load(tree(map[string]string{dir + "/a.go": imports("x", effect)}))
			if err != nil {
				t.Fatal(err)
			}
			expect(t, []string{fmt.Sprintf("%s/a.go:4: %s must not import %s: the package is pure", dir, dir, effect)}, tree.Check())
		}
	}
}

func TestLoadNeedsAModule(t *testing.T) {
	if _, err := rules.Load(fstest.MapFS{"mesh/a.go": {Data: []byte("package mesh")}}); err == nil || !strings.Contains(err.Error(), "go.mod") {
		t.Errorf("without go.mod: %v", err)
	}
	broken := tree(map[string]string{"mesh/a.go": "package"})
	if _, err := rules.Load(broken); err == nil || !strings.Contains(err.Error(), "mesh/a.go") {
		t.Errorf("with a file that is no Go: %v", err)
	}
}

// expect compares findings with the starts that are wanted.
func expect(t *testing.T, want []string, found []rules.Finding) {
	t.Helper()
	got := make([]string, 0, len(found))
	for i, f := range found {
		text := f.String()
		if i < len(want) && strings.HasPrefix(text, want[i]) {
			text = want[i]
		}
		got = append(got, text)
	}
	if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

// tree is a repository of these files.
func tree(files map[string]string) fstest.MapFS {
	root := fstest.MapFS{"go.mod": {Data: []byte("module " + module + "\n\ngo 1.26.0\n")}}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return root
}

// imports is a file that imports these paths, the first one on line 4.
func imports(name string, paths ...string) string {
	return "package " + name + "\n\nimport (\n_ \"" + strings.Join(paths, "\"\n_ \"") + "\"\n)\n"
}

// branches is a function with n branches.
func branches(name string, n int) string {
	return "func " + name + "(x int) {\n" + strings.Repeat("if x > 0 {}\n", n) + "}\n"
}
