// Package api tests the API types against a real API server: which objects it
// takes, and with what sentence it refuses the others. The sentences are part
// of the interface, since they are all that a user sees of a mistake.
package api
