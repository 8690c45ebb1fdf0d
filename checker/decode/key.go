package decode

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/reanchor/reanchor/checker"
)

const keySuffix = "PRIVATE KEY"

// key reads the public half of a private key and overwrites the rest. Blocks
// that are no key (EC PARAMETERS, DH PARAMETERS, ...) are of no interest.
func (d *Decoder) key(c *Content, b *pem.Block, n int) {
	if !strings.HasSuffix(b.Type, keySuffix) {
		return
	}
	defer clear(b.Bytes)
	der, err := d.decrypted(b)
	if err != nil {
		c.keyFault(err, n)
		return
	}
	defer clear(der)
	id, err := publicHalf(der)
	if err != nil {
		c.KeyFaults = append(c.KeyFaults, checker.Fault{ID: checker.KeyUnreadable, Detail: fmt.Sprintf("block %d is not a private key that can be parsed", n)})
		return
	}
	c.Keys = append(c.Keys, id)
	if isEncrypted(b) {
		c.KeyFaults = append(c.KeyFaults, checker.Fault{ID: checker.EncryptedKey, Detail: fmt.Sprintf("the private key in block %d is encrypted", n)})
	}
}

var (
	errNoPassphrase  = errors.New("the private key is encrypted and no passphrase was given")
	errBadPassphrase = errors.New("the passphrase does not decrypt the private key")
	errNotAKey       = errors.New("not a private key")
)

func (c *Content) keyFault(err error, n int) {
	id := checker.EncryptedKey
	switch {
	case errors.Is(err, errNoPassphrase):
		id = checker.PassphraseMissing
		c.KeyFaults = append(c.KeyFaults, checker.Fault{ID: checker.EncryptedKey, Detail: fmt.Sprintf("the private key in block %d is encrypted", n)})
	case errors.Is(err, errBadPassphrase):
		id = checker.BadPassphrase
	}
	c.KeyFaults = append(c.KeyFaults, checker.Fault{ID: id, Detail: fmt.Sprintf("block %d: %v", n, err)})
}

// publicHalf is the identity of the public key that belongs to a private key in
// PKCS#1, PKCS#8 or SEC 1 form.
func publicHalf(der []byte) (checker.Fingerprint, error) {
	public, err := publicKey(der)
	if err != nil {
		return checker.Fingerprint{}, err
	}
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return checker.Fingerprint{}, fmt.Errorf("%w: %w", errNotAKey, err)
	}
	return sha256.Sum256(spki), nil
}

func publicKey(der []byte) (crypto.PublicKey, error) {
	if key, err := rsaPublic(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key.Public(), nil
	}
	var wrapped struct {
		Version   int
		Algorithm asn1.RawValue
		Key       []byte
	}
	if _, err := asn1.Unmarshal(der, &wrapped); err == nil {
		if key, err := rsaPublic(wrapped.Key); err == nil {
			return key, nil
		}
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errNotAKey
	}
	if signer, ok := key.(crypto.Signer); ok {
		return signer.Public(), nil
	}
	return nil, errNotAKey
}

// rsaPublic reads modulus and exponent, the first fields of a PKCS#1 key. The
// secret fields are not even parsed.
func rsaPublic(der []byte) (*rsa.PublicKey, error) {
	var head struct {
		Version int
		N       *big.Int
		E       int
	}
	if _, err := asn1.Unmarshal(der, &head); err != nil || head.N.Sign() <= 0 || head.E <= 0 {
		return nil, errNotAKey
	}
	return &rsa.PublicKey{N: head.N, E: head.E}, nil
}
