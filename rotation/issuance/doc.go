// Package issuance reads and writes the objects of a mesh's certificates:
// cert-manager's Certificates and ClusterIssuer, trust-manager's Bundle, the
// published bundle, and the few objects that Reanchor keeps of its own. It holds
// no policy: Store.Read fills in the facts that lifecycle.Next decides on, and
// Store.Do carries out one of its actions.
//
// # Reading
//
// Everything is read from the API server itself. What does not exist is a fact;
// every other failure, a missing right included, is an error, so that nothing is
// decided on half of the facts.
//
// What a Certificate issued is read from its CertificateRequest, which holds the
// certificate and no key. cert-manager deletes the request of a revision as soon
// as the next one is created, before that is signed (revisionHistoryLimit is 1
// by default). So what was read once is remembered for as long as the revision
// lasts; after a restart, or where requests were not restored from a backup, the
// certificate is recognised by its dates, which cert-manager copies from the
// Secret into status.notBefore and status.notAfter, among the anchors that are at
// hand and the issuer in the MeshTrust's status. Otherwise it is unknown. Who
// signed it is one of those anchors, or else what the request's status.ca says.
//
// A request of the next revision that is signed already does not count: until
// status.revision says so, the Secret may hold the older certificate.
//
// # Secrets
//
// In layout Generations no Secret is read or written but Reanchor's own
// <mesh>-anchor-carried, which holds certificates only. In layout InPlace the
// anchor's Secret is read at one moment, to keep its key for a way back, and the
// previous-anchor Secret is read and written. The Secret of a generation that is
// deleted stays, since Reanchor may not delete it; cert-manager removes it when
// it runs with --enable-certificate-owner-ref.
//
// # Writing
//
// A write carries the resourceVersion that its action was decided on, or that of
// a read made immediately before and compared with the action's UID. When the
// object is another, it fails with a Conflict (apierrors.IsConflict), and nothing
// was written. What another tool may own as well is written by server-side
// apply, one field each; fields are taken over by force, so a GitOps tool that
// manages renewal.policy of a Certificate or spec.ca of the ClusterIssuer must be
// told to leave them alone.
package issuance
