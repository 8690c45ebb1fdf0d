// Package rollout decides which workloads are rolled, in which order and at
// what pace, so that their pods carry the published bundle.
//
// Next is a pure function of Facts and a time: it is total, deterministic, does
// nothing itself and never fails. What it returns is a Decision, in which
// "nothing to do, because ..." is a value like any other. The caller stores
// Decision.State before it carries out Decision.Actions, so that a successor
// finds every roll that may have begun (invariant I4).
//
// The rules (design, section 8, "Rolling"):
//
//   - nothing is written while a Hold stands: among others when the bundle does
//     not verify the issuer in use (I9, see Gate);
//   - the control plane goes first, and not before every reader sees the bundle;
//   - then every injector must provably serve it (the fence);
//   - then the waves, one after the other; in each a canary alone, then 2, 4, 8
//     ... workloads up to the budget, the most urgent first;
//   - a workload is done when its own rollout is complete, none of its pods is
//     stale and no old pod of it is left (a terminating pod still serves);
//   - pods that come back stale are rolled again, maxAttempts times at most;
//   - a roll that fails or makes no progress counts, and past the threshold
//     nothing new starts.
package rollout
