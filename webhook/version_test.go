package webhook_test

import (
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/version"

	"github.com/reanchor/reanchor/webhook"
)

type server struct {
	version string
	err     error
}

func (s server) ServerVersion() (*version.Info, error) {
	return &version.Info{GitVersion: s.version}, s.err
}

func TestOldAPIServersAreRefused(t *testing.T) {
	for version, old := range map[string]bool{
		"v1.29.14": true, "v1.9.0": true, "v1.29.0-eks-5e0fdde": true,
		"v1.30.0": false, "v1.30.2-gke.1587003": false, "v1.36.3": false, "v1.30.0+k3s1": false, "v2.0.0": false,
	} {
		err := webhook.CheckVersion(t.Context(), server{version: version})
		if (err != nil) != old {
			t.Errorf("%s: %v", version, err)
		}
		if old && (!strings.Contains(err.Error(), version) || !strings.Contains(err.Error(), "1.30")) {
			t.Errorf("%s: the sentence does not name both versions: %v", version, err)
		}
	}
	if webhook.CheckVersion(t.Context(), server{err: errors.New("down")}) == nil || webhook.CheckVersion(t.Context(), server{version: "?"}) == nil {
		t.Error("a version that is not known is accepted")
	}
}
