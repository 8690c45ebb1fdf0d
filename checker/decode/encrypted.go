package decode

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"hash"
)

// maxIterations bounds the work that a hostile file can ask for.
const maxIterations = 10_000_000

func isEncrypted(b *pem.Block) bool {
	//lint:ignore SA1019 such files exist; they are read, not written
	return b.Type == "ENCRYPTED PRIVATE KEY" || x509.IsEncryptedPEMBlock(b)
}

// decrypted is the key's DER. It knows the two forms that openssl writes: the
// old one with a DEK-Info header, and PKCS#8 with PBES2 (RFC 8018).
func (d *Decoder) decrypted(b *pem.Block) ([]byte, error) {
	if !isEncrypted(b) {
		return b.Bytes, nil
	}
	if len(d.passphrase) == 0 {
		return nil, errNoPassphrase
	}
	if b.Type == "ENCRYPTED PRIVATE KEY" {
		return pbes2(b.Bytes, d.passphrase)
	}
	//lint:ignore SA1019 such files exist; they are read, not written
	der, err := x509.DecryptPEMBlock(b, d.passphrase)
	if err != nil {
		return nil, errBadPassphrase
	}
	return der, nil
}

type pbes2Params struct {
	KDF struct {
		OID    asn1.ObjectIdentifier
		Params struct {
			Salt       []byte
			Iterations int
			KeyLength  int                      `asn1:"optional"`
			PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
		}
	}
	Cipher struct {
		OID asn1.ObjectIdentifier
		IV  []byte
	}
}

// pbes2 decrypts PKCS#8 encrypted with PBKDF2 and a block cipher.
func pbes2(der, passphrase []byte) ([]byte, error) {
	var outer struct {
		Algorithm struct {
			OID    asn1.ObjectIdentifier
			Params pbes2Params
		}
		Data []byte
	}
	if _, err := asn1.Unmarshal(der, &outer); err != nil {
		return nil, fmt.Errorf("the private key is encrypted in a way that is not supported: %w", errNotAKey)
	}
	p := outer.Algorithm.Params
	newCipher, size := blockCipher(p.Cipher.OID.String())
	newHash := prf(p.KDF.Params.PRF.Algorithm.String())
	if newCipher == nil || newHash == nil || p.KDF.Params.Iterations < 1 || p.KDF.Params.Iterations > maxIterations {
		return nil, fmt.Errorf("the private key is encrypted in a way that is not supported: %w", errNotAKey)
	}
	key, err := pbkdf2.Key(newHash, string(passphrase), p.KDF.Params.Salt, p.KDF.Params.Iterations, size)
	if err != nil {
		return nil, fmt.Errorf("deriving the key of an encrypted private key: %w", err)
	}
	defer clear(key)
	block, err := newCipher(key)
	if err != nil {
		return nil, fmt.Errorf("preparing to decrypt a private key: %w", err)
	}
	return unCBC(block, p.Cipher.IV, outer.Data)
}

// unCBC decrypts and removes the padding, which also tells a wrong passphrase.
func unCBC(block cipher.Block, iv, data []byte) ([]byte, error) {
	size := block.BlockSize()
	if len(iv) != size || len(data) == 0 || len(data)%size != 0 {
		return nil, errNotAKey
	}
	plain := make([]byte, len(data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, data)
	pad := int(plain[len(plain)-1])
	if pad == 0 || pad > size || pad > len(plain) {
		return nil, errBadPassphrase
	}
	plain = plain[:len(plain)-pad]
	if _, err := publicKey(plain); err != nil {
		return nil, errBadPassphrase
	}
	return plain, nil
}

func blockCipher(oid string) (func([]byte) (cipher.Block, error), int) {
	switch oid {
	case "2.16.840.1.101.3.4.1.2":
		return aes.NewCipher, 16
	case "2.16.840.1.101.3.4.1.22":
		return aes.NewCipher, 24
	case "2.16.840.1.101.3.4.1.42":
		return aes.NewCipher, 32
	case "1.2.840.113549.3.7":
		return des.NewTripleDESCipher, 24
	default:
		return nil, 0
	}
}

// prf is PBKDF2's hash; HMAC-SHA1 is the default of RFC 8018.
func prf(oid string) func() hash.Hash {
	switch oid {
	case "", "1.2.840.113549.2.7":
		return sha1.New
	case "1.2.840.113549.2.9":
		return sha256.New
	default:
		return nil
	}
}
