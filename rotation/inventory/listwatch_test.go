package inventory

import (
	"testing"
	"testing/synctest"

	"k8s.io/apimachinery/pkg/watch"
)

// The reflector stops a watch whenever it likes, also while an event waits for it. A
// goroutine that is left behind then ends the bubble with an error.
func TestAWatchThatIsStoppedLeavesNothingBehind(t *testing.T) {
	source := &podSource{}
	synctest.Test(t, func(t *testing.T) {
		incoming := watch.NewFake()
		w := compacting(incoming, source.compactEvent)
		pod := meshedPod("shop", "a", "")
		incoming.Add(pod)
		if event := <-w.ResultChan(); event.Type != watch.Deleted {
			t.Errorf("a stranger comes as %s, want it gone", event.Type)
		}
		incoming.Add(pod) // it is on its way, and nobody reads it
		synctest.Wait()
		w.Stop()
		w.Stop()
	})
}

func TestAWatchEndsWithTheOneItReads(t *testing.T) {
	incoming := watch.NewFake()
	w := compacting(incoming, (&podSource{}).compactEvent)
	incoming.Stop()
	if event, ok := <-w.ResultChan(); ok {
		t.Errorf("got %v after the end", event)
	}
}
