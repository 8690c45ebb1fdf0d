// Package owner reads the workloads that own pods and carries out what the
// planner decided on them: one file for each kind, one for each verb.
//
// Reading is the same whether it goes to the cache or to the API server, so a
// decision can be checked against a live read just before it is carried out.
// Every write is safe to repeat: the mark on a template is the same for the
// same bundle and attempt, and an eviction names the pod by UID.
package owner
