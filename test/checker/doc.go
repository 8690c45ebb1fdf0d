// Package checker holds tests of the checker against the real programs of the
// lab: which replaced file a running etcd or kube-scheduler notices and which
// not is what the checker's reload table says, and what kube-apiserver and its
// neighbours serve is what the endpoint map says.
package checker
