// Package anchorrotation is the controller of AnchorRotation objects and of the
// standing rules for a mesh's own anchors. It observes, lets package lifecycle
// decide, stores the decision and carries it out.
//
// Rules:
//
//   - A request names a MeshTrust, not a run: what protects the anchors holds
//     without any run, and of several runs the oldest is in force.
//   - Everything but the pods is read from the API server at every look; these
//     objects are few. The pods come from the inventory, and which Certificates
//     of the cluster there are from a look some minutes ago, until a decision
//     asks for facts that no cache had a part in: then all is read anew.
//   - What a decision must remember is stored in the run's status, with the
//     resourceVersion that was decided on, before its first write. Before each
//     write the run and the MeshTrust are read again: whoever changed them,
//     such as by suspend, voids the rest.
//   - Nothing here decides. What is odd becomes a fact.
package anchorrotation
