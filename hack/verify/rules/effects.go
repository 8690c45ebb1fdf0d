package rules

import (
	"go/ast"
	"slices"
	"strconv"
	"strings"
)

// effects finds what production packages leave to cmd: the clock, the end of
// the process and the context that nothing cancels. It looks at every mention,
// not only at calls, since `now: time.Now` reads the same clock.
func (f *file) effects() []Finding {
	if slices.Contains([]string{"cmd", "hack", "test"}, topOf(f.dir())) || testOnly(f.dir()) {
		return nil
	}
	var found []Finding
	names := f.importNames()
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if id, ok := n.Fun.(*ast.Ident); ok && id.Name == "panic" {
				found = append(found, f.find(n.Pos(), "panic is for programs that cannot go on: return an error"))
			}
		case *ast.SelectorExpr:
			if id, ok := n.X.(*ast.Ident); ok {
				if why := f.effect(names[id.Name], n.Sel.Name); why != "" {
					found = append(found, f.find(n.Pos(), "%s.%s: %s", id.Name, n.Sel.Name, why))
				}
			}
		}
		return true
	})
	return found
}

// effect says why a name of a package must not be mentioned, "" if it may.
func (f *file) effect(imported, name string) string {
	switch imported + "." + name {
	case "time.Now", "time.Since", "time.Until":
		return "time comes as an argument, or from a clock that cmd hands over"
	case "time.Sleep":
		return "nothing waits here: say when to come back"
	case "time.After", "time.AfterFunc", "time.Tick", "time.NewTimer", "time.NewTicker":
		if pure(f.dir()) {
			return "nothing waits here: say when to come back"
		}
	case "context.Background", "context.TODO":
		return "take the caller's context"
	case "os.Exit", "log.Fatal", "log.Fatalf", "log.Fatalln", "log.Panic", "log.Panicf", "log.Panicln":
		return "only main ends the process: return an error"
	}
	return ""
}

// importNames maps the names under which the file knows packages to their
// paths. Without an alias the last element stands for the package's name, which
// holds for the standard library's.
func (f *file) importNames() map[string]string {
	names := map[string]string{}
	for _, spec := range f.ast.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		name := imported[strings.LastIndex(imported, "/")+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = imported
	}
	return names
}
