// Package inventory is the index of all meshed pods: which workload owns each,
// and what it trusts. It is what the roller and the gates look at.
//
// A cluster may have a hundred thousand meshed pods of 11 KB and more others.
// So no Pod is ever kept: each is compacted to a record of about 200 bytes
// while it streams in, and one that is no member of a mesh leaves nothing.
// Texts that many pods share (bundles, namespaces, nodes, owners) are held once,
// by package unique, and go when the last pod does.
//
// Rules:
//
//   - The API server is asked without a label selector. Membership is decided
//     by the profile, from the containers: a gate must not overlook a pod that
//     lost its label.
//   - A pod that has ended (Succeeded, Failed) runs no process, trusts nothing
//     and is dropped. Every other phase counts, terminating pods included.
//   - A member whose trust cannot be told is kept, as Unknown with a reason.
//   - Records hold evidence, not verdicts. What it means is worked out anew for
//     each Question, once for all pods with the same evidence, so that a new
//     bundle, more history or the mere passing of time never needs a relist.
//   - A new mesh, or another reading of an old one, does: pods that did not
//     matter were not kept. Until the list is there, that mesh is not synced
//     and every question about it is refused; the others go on.
//
// Build fills an Index from a live list instead, for gates that may not look at
// a cache.
package inventory
