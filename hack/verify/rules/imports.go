package rules

import (
	"slices"
	"strconv"
	"strings"
)

// arrows says what each top directory may import of this module besides
// itself. Arrows go down only, so webhook, rotation and checker never meet.
func arrows(top string) ([]string, bool) {
	down := map[string][]string{
		"bundle":    {},
		"api":       {},
		"mesh":      {"bundle", "api"}, // it reads a MeshTrust for both webhook and rotation
		"webhook":   {"mesh", "bundle", "api"},
		"rotation":  {"mesh", "bundle", "api"},
		"checker":   {"mesh", "bundle", "api"},
		"manifests": {},
		"cmd":       {"webhook", "rotation", "checker", "mesh", "bundle", "api"},
		"hack":      {"cmd", "webhook", "rotation", "checker", "mesh", "bundle", "api", "manifests", "test"},
		"test":      {"cmd", "webhook", "rotation", "checker", "mesh", "bundle", "api", "manifests", "hack"},
	}
	allowed, known := down[top]
	return allowed, known
}

// pure packages decide, and do nothing else: what they return follows from
// their arguments alone, so that every case can be tested without a cluster.
func pure(dir string) bool {
	return slices.Contains([]string{"bundle", "mesh", "rotation/rollout", "rotation/lifecycle", "checker"}, dir)
}

// effectful imports are what a pure package must not have: contexts, loggers,
// the machine, the network, clients, metrics, clocks and randomness.
func effectful(imported string) bool {
	if slices.Contains([]string{"net/url", "net/netip"}, imported) {
		return false // values only
	}
	return below(imported, "context", "log", "os", "net", "syscall", "math/rand", "crypto/rand",
		"k8s.io/client-go", "k8s.io/klog", "k8s.io/utils/clock", "sigs.k8s.io/controller-runtime",
		"github.com/prometheus", "github.com/go-logr")
}

// testOnly packages are for tests and for what stands in for a cluster.
func testOnly(dir string) bool { return strings.HasSuffix(dir, "test") }

func (f *file) imports() []Finding {
	var found []Finding
	top := topOf(f.dir())
	if _, known := arrows(top); !known {
		found = append(found, f.find(f.ast.Package, "directory %q has no place among the layers: give it one in hack/verify/rules/imports.go, or put the package elsewhere", top))
	}
	for _, spec := range f.ast.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has let it through, the compiler will not
		}
		if why := f.forbidden(imported); why != "" {
			found = append(found, f.find(spec.Pos(), "%s must not import %s: %s", f.dir(), imported, why))
		}
	}
	return found
}

// forbidden says why the file's package must not import a path, "" if it may.
func (f *file) forbidden(imported string) string {
	if dir, ours := strings.CutPrefix(imported, f.tree.module+"/"); ours {
		return f.forbiddenHere(dir)
	}
	top := topOf(f.dir())
	switch {
	case pure(f.dir()) && effectful(imported):
		return "the package is pure, so what it needs must come as an argument"
	case top == "bundle" && !standard(imported):
		return "bundle uses the standard library alone"
	case top == "api" && !standard(imported) && !below(imported, "k8s.io/api", "k8s.io/apimachinery"):
		return "api uses k8s.io/api and k8s.io/apimachinery alone, so that clients can import it"
	default:
		return ""
	}
}

// forbiddenHere is forbidden for a package of this module.
func (f *file) forbiddenHere(dir string) string {
	from, to := topOf(f.dir()), topOf(dir)
	allowed, _ := arrows(from)
	switch {
	case from != to && !slices.Contains(allowed, to):
		return "arrows go down only: cmd -> webhook, rotation, checker -> mesh -> bundle, api"
	case testOnly(dir) && from != "test" && from != "hack" && !testOnly(f.dir()):
		return "that package is for tests"
	case pure(f.dir()) && !pure(dir) && to != "api":
		return "the package is pure, and so must be what it imports"
	default:
		return ""
	}
}

// topOf returns the first element of a directory.
func topOf(dir string) string {
	top, _, _ := strings.Cut(dir, "/")
	return top
}

// standard reports whether a path is of the standard library.
func standard(imported string) bool { return !strings.Contains(topOf(imported), ".") }

// below reports whether a path is one of the roots, or below one.
func below(imported string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(root string) bool {
		return imported == root || strings.HasPrefix(imported, root+"/")
	})
}
