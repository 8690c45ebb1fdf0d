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
func Clip(text string) string { return ClipTo(text, MostText) }

// ClipTo bounds a text to so many bytes, three at least. What was cut ends in three
// dots.
func ClipTo(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most-3], "") + "..."
}

// Event is what an event is of, without its note.
type Event struct {
	// On is the object that shows the event; With another that it concerns, or nil.
	On, With runtime.Object
	// Type is that of the API: Normal or Warning.
	Type string
	// Reason is one of the vocabulary, Action a word for what was done.
	Reason, Action string
}

// Events writes events whose notes fit.
type Events struct{ to events.EventRecorder }

// NewEvents returns what writes events by a recorder.
func NewEvents(to events.EventRecorder) Events { return Events{to} }

// Write writes an event with a note, which is clipped.
func (e Events) Write(what Event, note string, args ...any) {
	e.to.Eventf(what.On, what.With, what.Type, what.Reason, what.Action, "%s", Clip(fmt.Sprintf(note, args...)))
}
