package main

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestRunFailsWhenARuleIsBroken(t *testing.T) {
	root := fstest.MapFS{
		"go.mod":       {Data: []byte("module example.org/mesh\n")},
		"webhook/a.go": {Data: []byte("package webhook\n\nimport _ \"example.org/mesh/rotation\"\n")},
	}
	var out strings.Builder
	err := run(root, &out)
	if err == nil || !strings.HasPrefix(out.String(), "webhook/a.go:3: webhook must not import example.org/mesh/rotation") {
		t.Errorf("error %v, output:\n%s", err, out.String())
	}
}

func TestRunSucceedsOnACleanTree(t *testing.T) {
	root := fstest.MapFS{
		"go.mod":       {Data: []byte("module example.org/mesh\n")},
		"webhook/a.go": {Data: []byte("package webhook\n\nimport _ \"example.org/mesh/bundle\"\n")},
	}
	var out strings.Builder
	if err := run(root, &out); err != nil || out.Len() > 0 {
		t.Errorf("error %v, output:\n%s", err, out.String())
	}
}
