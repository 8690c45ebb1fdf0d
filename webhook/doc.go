// Package webhook is the admission edge: it stamps every meshed pod with the
// hash of the trust bundle that the pod really carries, and denies one that
// carries provably broken trust (design, section 6).
//
// Both decisions are pure functions of a request, a Snapshot and the time:
// Snapshot.Stamp and Snapshot.Validate. The rules:
//
//   - Denied is what is proved to fail: every anchor has expired, the bundle
//     holds no certificate at all, or, where that is asked for, none of the
//     pod's anchors verifies the issuer in use, by a record of it that the
//     controller renewed a moment ago. What cannot be told is admitted with a
//     warning.
//   - An unmeshed pod is never touched. Most never come here: the selectors and
//     match conditions in the webhook configurations keep them away even when no
//     replica is alive.
//   - What a template claims of its stamp counts for nothing: the true stamp
//     replaces it, and where the trust cannot be told it is removed.
//   - A namespace that opted out is left alone at once, also before its
//     annotation is mirrored to the label that the selectors read. So is the
//     mesh's own control plane, and every pod of a MeshTrust with suspend: true.
//   - Of several MeshTrusts that claim a pod the oldest decides.
//
// A Snapshot is built from watched MeshTrusts, AnchorRotations and namespaces
// (metadata only) and replaced as a whole. No request reads the API, a file, a
// bundle or a Secret: bundles that pods refer to are known from the MeshTrust's
// status.
//
// Whoever reaches the port can send requests. What one may cost in memory is bounded
// (package review), and so are the large ones of both webhooks together (room).
//
// Package review reads and writes the wire format, package serving keeps the
// serving certificate alive, package register knows the webhook configurations.
package webhook
