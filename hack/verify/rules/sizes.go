package rules

import (
	"go/ast"
	"go/token"
)

// The sizes that production code keeps to. The good ones we learned from have
// functions of 7 to 15 lines at the median and 35 at the 90th percentile.
const (
	maxFunctionLines = 60
	maxFileLines     = 300
	maxComplexity    = 10
	maxParameters    = 4
)

func (f *file) sizes() []Finding {
	var found []Finding
	if lines := f.line(f.ast.FileEnd); lines > maxFileLines {
		found = append(found, f.find(f.ast.Package, "the file has %d lines, at most %d are good to read: split it by subject", lines, maxFileLines))
	}
	for _, decl := range f.ast.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		name := fn.Name.Name
		if lines := f.line(fn.End()) - f.line(fn.Pos()) + 1; lines > maxFunctionLines {
			found = append(found, f.find(fn.Pos(), "%s has %d lines, at most %d are good to read: give its parts names", name, lines, maxFunctionLines))
		}
		if n := complexity(fn.Body); n > maxComplexity {
			found = append(found, f.find(fn.Pos(), "%s has a cyclomatic complexity of %d, at most %d is good to test: split it", name, n, maxComplexity))
		}
		if n := fn.Type.Params.NumFields(); n > maxParameters {
			found = append(found, f.find(fn.Pos(), "%s has %d parameters, at most %d are good to call: give it a struct", name, n, maxParameters))
		}
	}
	return found
}

// line returns the line of a position; the end of a file that ends with a new
// line is on the line of that.
func (f *file) line(at token.Pos) int {
	position := f.tree.fset.Position(at)
	if position.Column == 1 && at == f.ast.FileEnd {
		return position.Line - 1
	}
	return position.Line
}

// complexity counts the ways through a function: one, and one for each branch,
// those of its function literals included.
func complexity(body *ast.BlockStmt) int {
	n := 1
	ast.Inspect(body, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt:
			n++
		case *ast.CaseClause:
			if node.List != nil {
				n++
			}
		case *ast.CommClause:
			if node.Comm != nil {
				n++
			}
		case *ast.BinaryExpr:
			if node.Op == token.LAND || node.Op == token.LOR {
				n++
			}
		}
		return true
	})
	return n
}
