package rules

import (
	"cmp"
	"errors"
	"go/ast"
	"go/token"
	"go/types"
	"maps"
	"slices"
)

// state finds init functions and package variables that are, or can be,
// changed: both make what a call does depend on what ran before.
func (t *Tree) state() []Finding {
	packages := map[string][]*file{}
	for _, f := range t.files {
		if !f.test && !f.nested {
			key := f.dir() + " " + f.ast.Name.Name
			packages[key] = append(packages[key], f)
		}
	}
	var found []Finding
	for _, key := range slices.Sorted(maps.Keys(packages)) {
		found = append(found, packageState(packages[key])...)
	}
	return found
}

func packageState(files []*file) []Finding {
	info := resolve(files)
	var found []Finding
	for _, f := range files {
		for _, decl := range f.ast.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if decl.Recv == nil && decl.Name.Name == "init" {
					found = append(found, f.find(decl.Pos(), "init runs behind everybody's back: call a function from main instead"))
				}
			case *ast.GenDecl:
				found = append(found, f.changeable(info, decl)...)
			}
		}
		found = append(found, f.changes(info)...)
	}
	return found
}

// resolve finds what each name of a package means. Imports are not loaded: what
// comes from them stays unknown, which is enough to tell package variables from
// others.
func resolve(files []*file) *types.Info {
	info := &types.Info{Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}}
	asts := make([]*ast.File, 0, len(files))
	for _, f := range files {
		asts = append(asts, f.ast)
	}
	config := types.Config{Importer: noImports{}, Error: func(error) {}}
	// The error says that imports are missing, which is as meant.
	_, _ = config.Check(files[0].dir(), files[0].tree.fset, asts, info)
	return info
}

type noImports struct{}

func (noImports) Import(string) (*types.Package, error) { return nil, errors.New("not loaded") }

// changeable finds variables that others can change without an assignment that
// could be seen here: exported references, and locks, counters and metrics.
func (f *file) changeable(info *types.Info, decl *ast.GenDecl) []Finding {
	if decl.Tok != token.VAR {
		return nil
	}
	var found []Finding
	names := f.importNames()
	for _, spec := range decl.Specs {
		value := spec.(*ast.ValueSpec)
		if from := stateful(names, value); from != "" {
			found = append(found, f.find(value.Pos(), "package variable %s holds state of %s: make it a field of what main builds", value.Names[0].Name, from))
		}
		for _, name := range value.Names {
			if obj := info.Defs[name]; name.IsExported() && obj != nil && reference(obj.Type()) {
				found = append(found, f.find(name.Pos(), "exported variable %s can be changed by everybody: return it from a function", name.Name))
			}
		}
	}
	return found
}

// stateful returns the package whose stateful type or constructor a variable
// is made of, "" if none.
func stateful(names map[string]string, value *ast.ValueSpec) string {
	from := ""
	look := func(n ast.Node) bool {
		if _, ok := n.(*ast.FuncLit); ok {
			return false
		}
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok && below(names[id.Name], "sync", "github.com/prometheus") {
				from = cmp.Or(from, names[id.Name])
			}
		}
		return true
	}
	if value.Type != nil {
		ast.Inspect(value.Type, look)
	}
	for _, v := range value.Values {
		ast.Inspect(v, look)
	}
	return from
}

func reference(t types.Type) bool {
	switch t.Underlying().(type) {
	case *types.Slice, *types.Map, *types.Chan, *types.Pointer, *types.Signature:
		return true
	default:
		return false
	}
}

// changes finds assignments to package variables, of this package or another.
func (f *file) changes(info *types.Info) []Finding {
	var found []Finding
	ast.Inspect(f.ast, func(n ast.Node) bool {
		for _, e := range changed(n) {
			if name := packageVariable(info, e); name != "" {
				found = append(found, f.find(e.Pos(), "package variable %s is changed: make it a field of what main builds, or a local variable", name))
			}
		}
		return true
	})
	return found
}

// changed returns what a node changes, or makes it possible to change.
func changed(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		return n.Lhs
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			return []ast.Expr{n.X}
		}
	case *ast.CallExpr:
		if id, ok := n.Fun.(*ast.Ident); ok && len(n.Args) > 0 && (id.Name == "delete" || id.Name == "clear") {
			return n.Args[:1]
		}
	}
	return nil
}

// packageVariable returns the name of the package variable that an expression
// is, or is a part of, "" if of none.
func packageVariable(info *types.Info, e ast.Expr) string {
	for {
		switch x := e.(type) {
		case *ast.SelectorExpr:
			if id, ok := x.X.(*ast.Ident); ok && ofPackage(info, id) {
				return id.Name + "." + x.Sel.Name
			}
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.Ident:
			return packageScoped(info, x)
		default:
			return ""
		}
	}
}

// ofPackage reports whether a name is that of an imported package.
func ofPackage(info *types.Info, id *ast.Ident) bool {
	_, ok := info.Uses[id].(*types.PkgName)
	return ok
}

// packageScoped returns the name of a variable that its package declares, ""
// of any other.
func packageScoped(info *types.Info, id *ast.Ident) string {
	v, ok := info.Uses[id].(*types.Var)
	if !ok || v.Pkg() == nil || v.Parent() != v.Pkg().Scope() {
		return ""
	}
	return id.Name
}
