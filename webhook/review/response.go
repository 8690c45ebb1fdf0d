package review

import (
	"encoding/base64"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Response is the answer to a Request.
type Response struct {
	// UID is that of the request.
	UID string
	// Denied says that the pod must not be created; Reason, one word, and
	// Message then say why.
	Denied          bool
	Reason, Message string
	// Warnings are shown to whoever creates the pod, a line each.
	Warnings []string
	// Patch changes the pod; empty for no change.
	Patch Patch
}

// Patch is a JSON Patch (RFC 6902) as an AdmissionReview carries it, in base64.
type Patch string

// EncodePatch returns the patch of the given operations, which are JSON objects
// such as AddOperation returns.
func EncodePatch(operations ...[]byte) Patch {
	if len(operations) == 0 {
		return ""
	}
	text := []byte{'['}
	for i, op := range operations {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, op...)
	}
	return Patch(base64.StdEncoding.EncodeToString(append(text, ']')))
}

// AddOperation returns the operation that sets the member at the path, a JSON
// Pointer, to a value that is JSON already.
func AddOperation(path string, value []byte) []byte {
	b := append([]byte(`{"op":"add","path":`), Quote(path)...)
	b = append(b, `,"value":`...)
	return append(append(b, value...), '}')
}

// RemoveOperation returns the operation that removes the member at the path,
// which must be there.
func RemoveOperation(path string) []byte {
	return append(append([]byte(`{"op":"remove","path":`), Quote(path)...), '}')
}

// Quote returns the text as a JSON string. Bytes that are not UTF-8 become
// U+FFFD.
func Quote(text string) []byte { return appendQuote(nil, text) }

func appendQuote(b []byte, text string) []byte {
	// The only error is invalid UTF-8, which is replaced nevertheless.
	b, _ = jsontext.AppendQuote(b, text)
	return b
}

// AppendTo appends the AdmissionReview that carries the response.
func (r *Response) AppendTo(b []byte) []byte {
	b = append(b, `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":`...)
	b = appendQuote(b, r.UID)
	if r.Denied {
		b = r.appendStatus(append(b, `,"allowed":false,"status":`...))
	} else {
		b = append(b, `,"allowed":true`...)
	}
	for i, warning := range r.Warnings {
		if i == 0 {
			b = append(b, `,"warnings":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendQuote(b, warning)
	}
	if len(r.Warnings) > 0 {
		b = append(b, ']')
	}
	if r.Patch != "" {
		b = append(b, `,"patchType":"JSONPatch","patch":"`...)
		b = append(append(b, r.Patch...), '"')
	}
	return append(b, '}', '}')
}

// appendStatus appends a metav1.Status. The code of a denial is 403, whatever
// its reason, so that clients treat it as Forbidden.
func (r *Response) appendStatus(b []byte) []byte {
	b = append(b, `{"metadata":{},"status":"Failure","message":`...)
	b = appendQuote(b, r.Message)
	b = append(b, `,"reason":`...)
	b = appendQuote(b, r.Reason)
	b = append(b, `,"code":`...)
	return append(strconv.AppendInt(b, http.StatusForbidden, 10), '}')
}
