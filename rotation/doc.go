// Package rotation is the companion controller: it compares every meshed pod
// with the published bundle and rolls the owners of those that do not match.
//
// A reconcile of a MeshTrust has three parts. observe reads the world into
// facts; rollout.Next, which is pure, decides; then the status is stored, and
// only after that the actions are carried out, each checked against a live
// read. A controller that is killed anywhere leaves behind a status from which
// its successor goes on (invariants I3, I4).
//
// The MeshTrust itself is read live at the start of each reconcile and its
// status is written with that resourceVersion: of two controllers that both
// take themselves for the leader, one gets a conflict and acts no more.
package rotation
