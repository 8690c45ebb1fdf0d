// Package lifecycle decides the steps of an anchor rotation: from issuing the
// new anchor to dropping the old one, without one failed handshake.
//
// Next is a pure function of Facts and a time: it is total, deterministic, does
// nothing itself and never fails. "Do nothing, because ..." is a value like any
// other. The caller
//
//  1. observes the Facts; a Decision with NeedLive asks for Facts that were
//     read from the API server itself, and the gates believe no others;
//  2. stores Decision.State with the resourceVersion of the AnchorRotation that
//     the Facts were read from;
//  3. carries out Decision.Actions in order and stops at the first that fails.
//     Each is safe to repeat and carries the resourceVersion that its gate
//     read: whoever decided on an older world gets a Conflict.
//
// What can be observed is never stored. Stored is what a write makes
// unobservable: which anchor was the old one, that a switch was intended, when
// the issuer was first seen switched and when it came into use.
//
// The rules (design, sections 7 and 8, "Lifecycle"):
//
//   - SwitchGate is invariant I1 and LeafGate invariant I2. Both name what is in
//     the way; what cannot be told is in the way (I8). Only an acknowledgement
//     lets a pod through, and only one that existed when it was added.
//   - Whether or not a rotation runs, an own anchor that something still chains
//     to stays in the bundle (heal), every own anchor ever seen is archived, and
//     an issuer whose next signature would come from an anchor that not every
//     pod trusts is held back.
//   - Foreign anchors are never counted and never dropped.
package lifecycle
