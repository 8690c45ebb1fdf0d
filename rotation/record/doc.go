// Package record puts on record with the API server what the controllers decide
// and do: the status of Reanchor's own objects, and events.
//
// A status holds what must be remembered, so it is stored whole or not at all.
// An event's note fits the API, which refuses one that is too long; the client
// would drop it then, without a word to anybody.
package record
