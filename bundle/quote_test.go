package bundle_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/reanchor/reanchor/bundle"
	"github.com/reanchor/reanchor/bundle/bundletest"
)

func TestATextThatQuotesACertificateIsKnown(t *testing.T) {
	pem := bundletest.NewRoot(t, "root", bundletest.From(time.Now(), time.Hour)).PEM()
	for name, c := range map[string]struct {
		text string
		want bool
	}{
		"a certificate":            {`env[0].value: Invalid value: "` + pem + `"`, true},
		"its first line":           {"Invalid value: -----BEGIN CERTIFICATE-----", true},
		"a key":                    {"-----BEGIN EC PRIVATE KEY-----", true},
		"the value of a Secret":    {"data: " + base64.StdEncoding.EncodeToString([]byte(pem)), true},
		"one with a comment first": {base64.StdEncoding.EncodeToString([]byte("# the root\n" + pem)), true},
		"another comment":          {base64.StdEncoding.EncodeToString([]byte("# a root\n" + pem)), true},
		"a third one":              {base64.StdEncoding.EncodeToString([]byte("# root of\n" + pem)), true},
		"a Secret, printed by Go":  {fmt.Sprintf("%v", map[string][]byte{"tls.crt": []byte(pem)}), true},
		"bytes as a list":          {strings.ReplaceAll(fmt.Sprint([]byte(pem)), " ", ","), true},
		"the same with spaces":     {strings.ReplaceAll(fmt.Sprint([]byte(pem)), " ", ", "), true},
		"a fingerprint and a name": {"the anchor 4351cd2a (CN=root) is not in the bundle", false},
		"nothing":                  {"", false},
	} {
		if got := bundle.QuotesPEM(c.text); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}
