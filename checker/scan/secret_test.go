package scan_test

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/reanchor/reanchor/checker/scan"
)

// secretDir tells TestScanAsChild what to scan.
const secretDir = "REANCHOR_SECRET_DIR"

// TestNoPrivateKeyIsKept looks for the keys of a scanned tree in everything that
// a process still holds after the scan. A process of its own does the scan: the
// one that made the keys knows them.
func TestNoPrivateKeyIsKept(t *testing.T) {
	p := newPlace(t)
	secrets := map[string][]byte{}
	know := func(what string, key []byte) []byte {
		block, _ := pem.Decode(key)
		// All but the public half at the end of the DER.
		secrets[what+", as PEM"] = bytes.Split(key, []byte("\n"))[1]
		secrets[what+", as DER"] = block.Bytes[:60]
		return key
	}
	pair := p.cert("/v/a.crt", "in use")
	p.write("/v/a.key", know("the key beside a certificate", p.keyPEM(pair)))
	both := p.issue("b", false)
	p.write("/v/both.pem", append(both.CertPEM(), know("the key in a certificate's file", p.keyPEM(both))...))
	user := p.issue("u", false)
	embedded := base64.StdEncoding.EncodeToString(know("the key in a kubeconfig", p.keyPEM(user)))
	secrets["the key in a kubeconfig, as base64"] = []byte(embedded[80:160])
	p.write("/v/admin.conf", fmt.Appendf(nil, "clusters: []\nusers: [{name: u, user: {client-certificate-data: %s, client-key-data: %s}}]\n",
		base64.StdEncoding.EncodeToString(user.CertPEM()), embedded))
	scalar, err := pair.Key.(*ecdsa.PrivateKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	secrets["the number that is the key"] = scalar

	cmd := exec.Command(os.Args[0], "-test.run=^TestScanAsChild$")
	cmd.Env = append(os.Environ(), secretDir+"="+p.root)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dump, err := os.ReadFile(filepath.Join(p.root, "dump"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(dump, pair.Cert.RawTBSCertificate) {
		t.Fatal("the certificate is not in the memory that was searched")
	}
	for what, secret := range secrets {
		if bytes.Contains(dump, secret) {
			t.Errorf("%s is still in memory", what)
		}
	}
}

// TestScanAsChild is the process that TestNoPrivateKeyIsKept searches; without
// its variable there is nothing to do.
func TestScanAsChild(t *testing.T) {
	root := os.Getenv(secretDir)
	if root == "" {
		return
	}
	s, err := scan.New(scan.Options{Root: root, CheckKeys: true})
	if err != nil {
		t.Fatal(err)
	}
	facts, err := s.Scan(t.Context(), paths("/v"))
	if err != nil || len(facts.Files) != 3 {
		t.Fatalf("%d files: %v", len(facts.Files), err)
	}
	dump, err := os.Create(filepath.Join(root, "dump"))
	if err != nil {
		t.Fatal(err)
	}
	defer dump.Close()
	runtime.GC()
	runtime.GC()
	debug.WriteHeapDump(dump.Fd())
	runtime.KeepAlive(facts)
	runtime.KeepAlive(s)
}
