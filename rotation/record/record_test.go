package record_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"k8s.io/client-go/tools/events"

	"github.com/reanchor/reanchor/rotation/record"
)

func TestATextIsClippedToWhatTheAPITakes(t *testing.T) {
	whole := strings.Repeat("a", record.MostText)
	for name, tc := range map[string]struct{ text, want string }{
		"one that fits is kept":             {whole, whole},
		"a longer one ends in dots":         {whole + "a", whole[3:] + "..."},
		"no character is cut in the middle": {whole[4:] + "äöü", whole[4:] + "..."},
	} {
		got := record.Clip(tc.text)
		if got != tc.want || len(got) > record.MostText || !utf8.ValidString(got) {
			t.Errorf("%s: %d bytes, %q", name, len(got), got[max(0, len(got)-20):])
		}
	}
}

// A note is more than its message: what comes before counts too.
func TestANoteIsClippedAsAWhole(t *testing.T) {
	fake := events.NewFakeRecorder(1)
	record.NewEvents(fake).Write(record.Event{Type: "Warning", Reason: "Reason", Action: "Action"}, "%s is %d%%: %s", "Blocked", 100, strings.Repeat("a", record.MostText))
	note, _ := strings.CutPrefix(<-fake.Events, "Warning Reason ")
	if len(note) != record.MostText || !strings.HasPrefix(note, "Blocked is 100%: aaa") || !strings.HasSuffix(note, "a...") {
		t.Errorf("%d bytes: %s", len(note), note)
	}
}
