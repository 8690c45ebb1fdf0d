// Package checker holds tests of the checker against a real etcd, the one of
// the lab, with client and peer TLS: which replaced file is noticed by a running
// etcd and which is not is what the checker's reload table says.
package checker
