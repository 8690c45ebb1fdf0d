// Package docs tests the documentation: what docs/ and manifests/monitoring say
// of reasons, metrics, keys, objects and tests is compared with the program,
// both ways where a page promises to be complete.
package docs
