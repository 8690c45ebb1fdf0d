// Package issuance reads and writes the objects of a mesh's certificates:
// cert-manager's, trust-manager's, and Reanchor's own. It holds no policy.
package issuance
