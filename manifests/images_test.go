// Package manifests holds the tests of what all manifests have in common.
package manifests

import (
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// placeholder is the image of every container here. No image is published, and a
// name in a real registry could be somebody else's: it would be run as root on
// every control-plane node. Names under .invalid never resolve (RFC 2606).
const placeholder = "reanchor.invalid/reanchor"

func TestNoManifestNamesAnImageThatSomebodyCouldPublish(t *testing.T) {
	key := regexp.MustCompile(`(?m)^[ -]*(image|newName):\s*(\S+)`)
	replaced := regexp.MustCompile(`(?m)^images:\n- name: (\S+)\n  newTag: \S+$`)
	var images, kustomizations []string
	err := fs.WalkDir(os.DirFS("."), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".yaml") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range key.FindAllStringSubmatch(string(text), -1) {
			images = append(images, m[2])
		}
		for _, m := range replaced.FindAllStringSubmatch(string(text), -1) {
			kustomizations = append(kustomizations, m[1])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range [][]string{images, kustomizations} {
		if len(found) != 3 || slices.ContainsFunc(found, func(image string) bool { return image != placeholder }) {
			t.Errorf("images %v, want %s for webhook, controller and checker", found, placeholder)
		}
	}
}
