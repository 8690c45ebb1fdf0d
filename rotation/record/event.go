package record

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
)

// MostText is how many bytes the API takes of an event's note, and of the
// messages and subjects in a status.
const MostText = 1024

// Clip bounds a text that others may have made of any length to MostText.
func Clip(text string) string {
	if len(text) <= MostText {
		return text
	}
	return strings.ToValidUTF8(text[:MostText-3], "") + "..."
}

// Events returns a recorder that clips the notes it is given.
func Events(to events.EventRecorder) events.EventRecorder { return clipping{to} }

type clipping struct{ to events.EventRecorder }

// Eventf implements events.EventRecorder.
func (c clipping) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	c.to.Eventf(regarding, related, kind, reason, action, "%s", Clip(fmt.Sprintf(note, args...)))
}
