package own

import (
	"testing"

	"github.com/reanchor/reanchor/hack/local"
)

// Go prints a cached result only while all of this is as it was.
func TestInputsAreKnownToTheCache(t *testing.T) {
	if err := local.Inputs(t.Context(), "../../.."); err != nil {
		t.Error(err)
	}
}
