// Package rotation holds whole rotations on a real control plane, with real
// cert-manager and trust-manager. Every scenario has a mesh of its own in the
// documented layout (hack/lab/linkerd), whose proxies complete handshakes all the
// time. They share a lab and a controller, the real program under the RBAC of the
// manifests, and run side by side; those that take something away from all others
// share a second one. Each asserts the world: handshakes, restarts, what is published
// and who signed the issuer. When all have run, every right that the manifests grant
// for rotations must have been used.
package rotation
