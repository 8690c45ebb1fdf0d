package decode_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reanchor/reanchor/checker"
	"github.com/reanchor/reanchor/checker/checkertest"
	"github.com/reanchor/reanchor/checker/decode"
)

func issue(t testing.TB, cn string) *checkertest.Pair {
	t.Helper()
	p, err := checkertest.Issue(checkertest.Spec{CN: cn, CA: true, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func keyPEM(t testing.TB, p *checkertest.Pair) []byte {
	t.Helper()
	key, err := p.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// summary is what a text decodes to.
func summary(c decode.Content) string {
	var ids []string
	for _, f := range append(c.Faults, c.KeyFaults...) {
		ids = append(ids, string(f.ID))
	}
	return fmt.Sprintf("certs=%d keys=%d requests=%d crls=%d unfinished=%t %s", len(c.Certs), len(c.Keys), len(c.Requests), len(c.CRLs), c.MaybeUnfinished, strings.Join(ids, ","))
}

func TestDecode(t *testing.T) {
	a, b := issue(t, "a"), issue(t, "b")
	cert, key := string(a.CertPEM()), string(keyPEM(t, a))
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, a.Key)
	if err != nil {
		t.Fatal(err)
	}
	crl := revocations(t)
	for name, c := range map[string]struct{ text, want string }{
		"two certificates":                       {cert + string(b.CertPEM()), "certs=2 keys=0 requests=0 crls=0 unfinished=false "},
		"text before and comments after":         {"subject=CN=a\n" + cert + "# end\n\n", "certs=1 keys=0 requests=0 crls=0 unfinished=false "},
		"certificate and key in one file":        {cert + key, "certs=1 keys=1 requests=0 crls=0 unfinished=false "},
		"only a key":                             {key, "certs=0 keys=1 requests=0 crls=0 unfinished=false "},
		"an empty file":                          {"", "certs=0 keys=0 requests=0 crls=0 unfinished=true no_certificate"},
		"only the beginning of a BEGIN line":     {"-----BEG", "certs=0 keys=0 requests=0 crls=0 unfinished=true no_certificate"},
		"a block cut in the middle":              {cert[:200], "certs=0 keys=0 requests=0 crls=0 unfinished=true truncated_pem"},
		"a good block and one that is cut":       {cert + cert[:200], "certs=1 keys=0 requests=0 crls=0 unfinished=true truncated_pem"},
		"a block cut before a good one":          {cert[:200] + "\n" + cert, "certs=1 keys=0 requests=0 crls=0 unfinished=false truncated_pem"},
		"an END line that is cut":                {strings.TrimRight(cert, "-\n"), "certs=0 keys=0 requests=0 crls=0 unfinished=true truncated_pem"},
		"a BEGIN line that is cut, after a good": {cert + "-----BEG", "certs=1 keys=0 requests=0 crls=0 unfinished=true trailing_garbage"},
		"no base64 inside":                       {strings.Replace(cert, "M", "*", 1), "certs=0 keys=0 requests=0 crls=0 unfinished=false bad_pem"},
		"PEM around what is no certificate":      {block("CERTIFICATE", []byte("no")), "certs=0 keys=0 requests=0 crls=0 unfinished=false bad_der"},
		"one bad certificate does not hide one":  {block("CERTIFICATE", []byte("no")) + cert, "certs=1 keys=0 requests=0 crls=0 unfinished=false bad_der"},
		"zeros after a crash":                    {cert + "\x00\x00\x00", "certs=1 keys=0 requests=0 crls=0 unfinished=true trailing_garbage"},
		"DER":                                    {string(a.Cert.Raw), "certs=1 keys=0 requests=0 crls=0 unfinished=false "},
		"two DER certificates":                   {string(a.Cert.Raw) + string(b.Cert.Raw), "certs=2 keys=0 requests=0 crls=0 unfinished=false "},
		"DER with garbage":                       {string(a.Cert.Raw) + "xx", "certs=1 keys=0 requests=0 crls=0 unfinished=false trailing_garbage"},
		"DER cut in the middle":                  {string(a.Cert.Raw[:100]), "certs=0 keys=0 requests=0 crls=0 unfinished=false bad_der"},
		"a request":                              {block("CERTIFICATE REQUEST", request), "certs=0 keys=0 requests=1 crls=0 unfinished=false "},
		"a revocation list":                      {block("X509 CRL", crl), "certs=0 keys=0 requests=0 crls=1 unfinished=false "},
		"OpenSSL's trusted certificate":          {block("TRUSTED CERTIFICATE", append(bytes.Clone(a.Cert.Raw), 0x30, 0)), "certs=1 keys=0 requests=0 crls=0 unfinished=false "},
		"a key that is none":                     {block("PRIVATE KEY", []byte("no")), "certs=0 keys=0 requests=0 crls=0 unfinished=false key_unreadable"},
		"PEM of another kind":                    {block("DH PARAMETERS", []byte("x")), "certs=0 keys=0 requests=0 crls=0 unfinished=false no_certificate"},
		"a text":                                 {"hello", "certs=0 keys=0 requests=0 crls=0 unfinished=false no_certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, summary(decode.New(nil).Decode([]byte(c.text)))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func revocations(t *testing.T) []byte {
	t.Helper()
	signer, err := checkertest.Issue(checkertest.Spec{CN: "a", CA: true, KeyUsage: x509.KeyUsageCRLSign, NotAfter: time.Now()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Go wants a key identifier, which only certificates that may sign have.
	signer.Cert.SubjectKeyId = []byte{1}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), NextUpdate: time.Now()}, signer.Cert, signer.Key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestEachCertificateIsParsedOnce(t *testing.T) {
	d, text := decode.New(nil), issue(t, "a").CertPEM()
	if first, second := d.Decode(text), d.Decode(text); first.Certs[0] != second.Certs[0] {
		t.Error("the same DER gave two certificates")
	}
	first := d.Decode(text)
	d.Retain(map[checker.Fingerprint]*checker.Cert{})
	if d.Decode(text).Certs[0] == first.Certs[0] {
		t.Error("a certificate that was not retained is still known")
	}
}

func TestThePublicHalfIsTheSameInEveryEncoding(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ecKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		spec  checkertest.Spec
		block *pem.Block
	}{
		"PKCS#1":              {checkertest.Spec{Key: rsaKey}, &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}},
		"PKCS#8":              {checkertest.Spec{Key: rsaKey}, pkcs8(t, rsaKey)},
		"SEC 1":               {checkertest.Spec{Key: ecKey}, &pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}},
		"PKCS#8 with a curve": {checkertest.Spec{Key: ecKey}, pkcs8(t, ecKey)},
	} {
		t.Run(name, func(t *testing.T) {
			pair, err := checkertest.Issue(c.spec, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := decode.New(nil).Decode(pem.EncodeToMemory(c.block))
			if len(got.Keys) != 1 || got.Keys[0] != pair.Checked().SPKI {
				t.Errorf("keys %v, want %v", got.Keys, pair.Checked().SPKI)
			}
		})
	}
}

func pkcs8(t *testing.T, key any) *pem.Block {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &pem.Block{Type: "PRIVATE KEY", Bytes: der}
}

// One P-256 key, encrypted in the forms that openssl writes.
func TestEncryptedKeys(t *testing.T) {
	for name, text := range encryptedKeys() {
		t.Run(name, func(t *testing.T) {
			plain := decode.New(nil).Decode([]byte(plainKey))
			right := decode.New([]byte("secret")).Decode([]byte(text))
			if diff := cmp.Diff(plain.Keys, right.Keys); diff != "" {
				t.Errorf("with the passphrase (-plain +decrypted):\n%s", diff)
			}
			for passphrase, want := range map[string]string{
				"": "encrypted_key,passphrase_missing", "secret": "encrypted_key", "wrong": "bad_passphrase",
			} {
				got := summary(decode.New([]byte(passphrase)).Decode([]byte(text)))
				if !strings.HasSuffix(got, " "+want) {
					t.Errorf("passphrase %q: %s, want %s", passphrase, got, want)
				}
			}
		})
	}
}

// TestAKeyThatAsksForTooMuchWorkIsNotDecrypted: the file says how often its
// passphrase is to be hashed.
func TestAKeyThatAsksForTooMuchWorkIsNotDecrypted(t *testing.T) {
	type derivation struct {
		Salt       []byte
		Iterations int
	}
	type function struct {
		OID    asn1.ObjectIdentifier
		Params any
	}
	type key struct {
		Algorithm function
		Data      []byte
	}
	der, err := asn1.Marshal(key{
		Algorithm: function{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}, struct{ KDF, Cipher function }{
			function{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}, derivation{make([]byte, 8), math.MaxInt32}},
			function{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, make([]byte, 16)},
		}},
		Data: make([]byte, 32),
	})
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der})
	got := make(chan string, 1)
	go func() { got <- summary(decode.New([]byte("secret")).Decode(text)) }()
	select {
	case s := <-got:
		if !strings.HasSuffix(s, " encrypted_key") {
			t.Errorf("%s, want that it is encrypted", s)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it is being decrypted")
	}
}
