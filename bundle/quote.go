package bundle

import "strings"

// QuotesPEM reports whether a text quotes a certificate or a key: as PEM, as
// base64 of a text that holds PEM, or as the list of numbers that Go prints for
// bytes. What others answer may do so (an admission webhook, or the API server's
// "Invalid value"), and then must not reach a log, an event or a status.
func QuotesPEM(text string) bool {
	for _, mark := range [...]string{
		"-----BEGIN",
		// Base64 of "-----BEGIN " at the beginning, and one or two bytes after a
		// multiple of three.
		"LS0tLS1CRUdJTi", "0tLS0tQkVHSU4g", "tLS0tLUJFR0lOI",
		// Its bytes as numbers.
		"45 45 45 45 45 66 69 71 73 78", "45,45,45,45,45,66,69,71,73,78", "45, 45, 45, 45, 45, 66, 69, 71, 73, 78",
	} {
		if strings.Contains(text, mark) {
			return true
		}
	}
	return false
}
