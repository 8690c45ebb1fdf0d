package decode_test

import (
	"bytes"
	"testing"

	"github.com/reanchor/reanchor/checker/decode"
)

// FuzzDecode: no input panics or hangs; every input says something; an answer
// that only counts certificates is stable when read twice.
func FuzzDecode(f *testing.F) {
	pair := issue(f, "fuzz")
	cert, key := pair.CertPEM(), keyPEM(f, pair)
	for _, seed := range [][]byte{
		nil, cert, append(bytes.Clone(cert), key...), cert[:100], []byte(plainKey), pair.Cert.Raw,
		[]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), []byte("-----BEGIN \n-----END "),
	} {
		f.Add(seed)
	}
	for _, text := range encryptedKeys() {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		d := decode.New(nil)
		c := d.Decode(data)
		if !bytes.Equal(before, data) {
			t.Error("the input was changed")
		}
		if len(c.Certs)+len(c.Keys)+len(c.Requests)+len(c.CRLs)+len(c.Faults)+len(c.KeyFaults) == 0 {
			t.Error("neither a result nor a fault")
		}
		if again := d.Decode(data); summary(again) != summary(c) {
			t.Errorf("first %s, then %s", summary(c), summary(again))
		}
	})
}

// FuzzKubeconfig: no input panics, and every entry has data or a reference.
func FuzzKubeconfig(f *testing.F) {
	for _, seed := range []string{
		"", "{", "kind: Config", "a: &a [*a]", "users: [{name: u, user: {client-certificate-data: QQ==, client-key-data: QQ==}}]",
		"clusters: [{name: c, cluster: {certificate-authority: x}}]\ncurrent-context: y",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, _ := decode.Kubeconfig(data)
		for _, e := range entries {
			if len(e.Data) == 0 && e.Ref == "" {
				t.Errorf("%s has neither data nor a reference", e.Key)
			}
		}
	})
}
