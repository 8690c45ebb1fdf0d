// Package serving keeps the webhook's own serving certificate alive, with no
// help from anybody: the webhook denies pods when it cannot be reached, so an
// expired certificate of its own would be the outage it is there to prevent.
//
// A Generation is a CA and one leaf under it. The CA's key signs that leaf and
// is forgotten at once; it is never stored. All replicas share one Secret, in
// which they keep the current generation, the next one while the clients are
// told of it, and the CA of the previous one.
//
// A rotation goes
//
//	current nears its end -> issue next, store it
//	next is stored        -> put its CA into every caBundle, beside the others
//	Pause later           -> next becomes current, current becomes previous
//
// so that at every moment every caBundle trusts what any replica may serve: the
// API servers read the configurations from a cache, and replicas read the Secret
// one after the other. The pause counts from when this replica saw the CA in
// every caBundle that a pod waits for.
//
// Pods wait for the validating configuration (failurePolicy Fail) and not for the
// mutating one, which stamps (Ignore). So readiness, the pause and every write of
// the first are independent of the second: somebody who deletes or breaks it loses
// the stamp, and no pod. Likewise a Secret that cannot be written holds up neither
// the repair of a caBundle nor what is served.
//
// Replicas do not elect a leader. Each write carries the resource version that
// was read, so of two that decide the same only one succeeds and the other reads
// again; what the caBundles must be follows from the Secret alone. A caBundle
// that somebody empties or changes is put right at once, by any replica, ready
// or not.
//
// Next is pure: all of the above is one function of Facts and the time. Keeper
// observes, asks Next, and applies.
//
// With Options.Dir the certificate comes from files, such as cert-manager's, and
// the caBundles are somebody else's; nothing is written then. A certificate that
// works is not given up for one that the live caBundle does not verify.
package serving
