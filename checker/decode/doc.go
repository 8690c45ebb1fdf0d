// Package decode turns the bytes of files into facts for the checker: PEM, DER
// and kubeconfigs.
//
// It is pure and total: every input gives a result, and what is wrong with it
// is a [checker.Fault] with a position, never with bytes of the input. It is
// stricter than encoding/pem, which skips a broken block without a word: here a
// block that begins and does not end is a fault, because the program that loads
// the file silently gets fewer certificates than a reader of the file sees.
//
// Of a private key only the SHA-256 of its public half is returned; decoded key
// material is overwritten before the call returns.
package decode
