// Package docs tests the documentation: what the README, docs/ and
// manifests/monitoring say of reasons, metrics, keys, objects, make's targets and
// tests is compared with the program, both ways where a page promises to be
// complete.
package docs
