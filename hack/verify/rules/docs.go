package rules

import (
	"go/ast"
	"regexp"
	"slices"
)

// docs finds exported names without a comment. That a package has one is for
// staticcheck to see (ST1000).
func (f *file) docs() []Finding {
	if f.ast.Name.Name == "main" {
		return nil
	}
	var found []Finding
	for _, decl := range f.ast.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Doc == nil && decl.Name.IsExported() && exportedReceiver(decl) {
				found = append(found, f.undocumented(decl.Name))
			}
		case *ast.GenDecl:
			found = append(found, f.declDocs(decl)...)
		}
	}
	return found
}

// declDocs looks at a declaration of types, constants or variables. One comment
// may stand for a group of constants or variables, never for several types.
func (f *file) declDocs(decl *ast.GenDecl) []Finding {
	var found []Finding
	for _, spec := range decl.Specs {
		if name := bare(decl, spec); name != nil && name.IsExported() {
			found = append(found, f.undocumented(name))
		}
	}
	return found
}

// bare returns the first name of a specification without a comment, else nil.
func bare(decl *ast.GenDecl, spec ast.Spec) *ast.Ident {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		if spec.Doc == nil && (decl.Doc == nil || decl.Lparen.IsValid()) {
			return spec.Name
		}
	case *ast.ValueSpec:
		if spec.Doc == nil && spec.Comment == nil && decl.Doc == nil {
			return spec.Names[0]
		}
	}
	return nil
}

func (f *file) undocumented(name *ast.Ident) Finding {
	return f.find(name.Pos(), "%s is exported without a comment: say what it is, its units, bounds and errors", name.Name)
}

// exportedReceiver reports whether a function is none of an unexported type.
func exportedReceiver(fn *ast.FuncDecl) bool {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return true
	}
	expr := fn.Recv.List[0].Type
	for {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.Ident:
			return e.IsExported()
		default:
			return false
		}
	}
}

// unfinished finds marks of work that is left to do, and tests that are
// switched off.
func (f *file) unfinished() []Finding {
	var found []Finding
	mark := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)
	for _, group := range f.ast.Comments {
		for _, comment := range group.List {
			if word := mark.FindString(comment.Text); word != "" {
				found = append(found, f.find(comment.Pos(), "%s: do it, or say in an issue why not", word))
			}
		}
	}
	if f.test {
		found = append(found, f.skips()...)
	}
	return found
}

// skips finds tests that end themselves without a verdict.
func (f *file) skips() []Finding {
	var found []Finding
	ast.Inspect(f.ast, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if sel, ok := call.Fun.(*ast.SelectorExpr); ok && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, sel.Sel.Name) {
			found = append(found, f.find(call.Pos(), "a test that is skipped proves nothing: make it run everywhere, or delete it"))
		}
		return true
	})
	return found
}
