// Package checker decides what is wrong with the certificates of a node.
//
// It is the pure half of `reanchor check`: [Check] maps facts (files, live
// endpoints, processes), a time and a policy to a [Report]. It reads no file,
// opens no connection and asks no clock, so every rule is a table test and
// `--now` means "what would the report say then". The edges are subpackages:
//
//	decode    PEM, DER and kubeconfig bytes to facts, private keys dropped
//	profile   where kops, kubeadm, k3s and rke2 keep certificates, as data
//	scan      files, symlinks and their pitfalls
//	probe     what an endpoint really serves
//	process   what a process loaded, and when it started
//	kube      Secrets and ConfigMaps of a cluster
//	report    table, wide, JSON, YAML, Prometheus text
//	exporter  the same engine as a daemon
//
// # Rules of the package
//
//   - One rule, one stable id ([RuleID]): it is the reason in JSON, the label
//     in metrics and the heading in docs/checker.md.
//   - What is not known is said, never guessed: [Unknown] ranks above a
//     warning, and a directory is only called an orphan when the evidence for
//     it was readable.
//   - Private keys never get here. A key is the SHA-256 of its public half.
//   - A certificate is identified by the SHA-256 of its DER; the same bytes in
//     eight files are one certificate with eight locations.
package checker
