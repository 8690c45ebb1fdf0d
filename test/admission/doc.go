// Package admission tests the admission edge against a real API server: the
// real program, in two replicas behind a balancer, under the service account
// and the permissions of the manifests, registered as the manifests do it.
package admission
