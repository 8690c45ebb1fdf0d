package bundle

import "strings"

// QuotesPEM reports whether a text quotes a certificate or a key: as PEM, or as
// base64 of it. What others answer may do so (an admission webhook, or the API
// server's "Invalid value"), and then must not reach a log, an event or a status.
func QuotesPEM(text string) bool {
	const encodedBegin = "LS0tLS1CRUdJTi" // base64 of "-----BEGIN"
	return strings.Contains(text, string(beginMark)) || strings.Contains(text, encodedBegin)
}
