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
//   - a rollout that somebody else began is waited for and counts in the budget,
//     but one that brings no new pods any more takes up none, and where it is stuck
//     on stale pods is healed by a roll;
//   - pods that a StatefulSet's controller does not replace although the template is
//     marked are evicted: those below the partition, and stale ones that are not
//     ready, for which the policy OrderedReady waits without end. A pod that is not
//     ready is given half of the progress deadline to become so first, unless it
//     fails handshakes, or all others serve and it is evicted anyway;
//   - a workload is done when its own rollout is complete, all its pods are
//     there and ready, none of them is stale and no old pod of it is left (a
//     terminating pod still serves; for one that cannot end since its node is not
//     ready no roll waits, and it is named if it is stale). What its owner says and
//     what the pods show comes from two caches, and only both together prove it;
//   - an owner whose operator restarts the pods when asked (spec.rollout.operators)
//     has no rollout that could be read: its roll lasts until every pod was created
//     after the operator was asked, and as many are ready as there were. An Argo
//     Rollout's lasts as long, since all its pods are restarted too;
//   - pods that come back stale are rolled again, maxAttempts times at most; the
//     proof is a stale pod that carries the mark of the last attempt;
//   - a roll whose next write is not allowed is put back, and begins again under
//     all the rules for a start; no time runs out for it;
//   - a workload that was not whole before, and has all its pods replaced by the
//     progress deadline with no fewer of them available, is done too: what it lacks
//     has nothing to do with trust (but not the control plane, which must be whole);
//   - a roll that fails or makes no progress counts, and past the threshold
//     nothing new starts. What was merely hindered is tried again after as long
//     as it took to fail, and counts until it is in order.
//
// What the caller owes (the simulation in the tests takes each away and breaks):
//
//   - the State is stored, with the resourceVersion that was decided on, before
//     any Action; an Action is carried out within seconds or not at all, before Until,
//     only while the MeshTrust is unchanged, and after a live read of the workload;
//   - a caller that takes over lets its caches reach the present first;
//   - its own writes count, by Owner.Lags, until its caches show them;
//   - workloads that the State names are among the facts while they exist.
package rollout
