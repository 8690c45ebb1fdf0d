package webhook

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/discovery"
)

// Oldest is the oldest Kubernetes that Reanchor's webhooks may be registered
// with. Older API servers drop the match conditions without a word, so that
// failurePolicy Fail would hold for every pod of the cluster.
const Oldest = "1.30.0"

// CheckVersion says in one sentence why the API server is too old, nil if it is
// not.
func CheckVersion(ctx context.Context, d discovery.ServerVersionInterface) error {
	info, err := discovery.ToServerVersionInterfaceWithContext(d).ServerVersionWithContext(ctx)
	if err != nil {
		return fmt.Errorf("asking for the version of the API server: %w", err)
	}
	have, err := version.ParseGeneric(info.GitVersion)
	if err != nil {
		return fmt.Errorf("reading the version of the API server: %w", err)
	}
	if have.LessThan(version.MustParseGeneric(Oldest)) {
		return fmt.Errorf("this API server is Kubernetes %s, and Reanchor's webhooks need 1.30 or later: "+
			"older ones ignore matchConditions, and pods outside the mesh could be blocked; "+
			"upgrade the cluster, or remove the webhook configurations", info.GitVersion)
	}
	return nil
}

// newErrorLog sends what net/http has to say of broken connections to the log
// at a level where nobody needs to read it, and what it has to say of a handler
// that panicked as an error.
func newErrorLog(l logr.Logger) *log.Logger { return log.New(errorLog{l}, "", 0) }

type errorLog struct{ log logr.Logger }

func (e errorLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	// "http: panic serving ..." and "http2: panic serving ..." (net/http), with
	// the stack.
	if strings.Contains(text, "panic serving") {
		e.log.Error(errors.New(text), "A request made the handler panic; it was not answered, please report it")
		return len(line), nil
	}
	e.log.V(1).Info("Connection failed", "error", text)
	return len(line), nil
}
