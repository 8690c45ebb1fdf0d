package inventory

import (
	"encoding/hex"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// uuidLen is the length of a UUID in bytes.
const uuidLen = 16

// packUID returns the 16 bytes that a UID stands for: the API server makes
// every one a UUID of 36 characters. It is false for a text that is not one in
// just the usual form, which the type allows.
func packUID(uid types.UID) (string, bool) {
	raw, err := hex.DecodeString(strings.ReplaceAll(string(uid), "-", ""))
	if err != nil || len(raw) != uuidLen || unpackUID(string(raw)) != uid {
		return "", false
	}
	return string(raw), true
}

func unpackUID(raw string) types.UID {
	digits := hex.EncodeToString([]byte(raw))
	return types.UID(strings.Join([]string{digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]}, "-"))
}
