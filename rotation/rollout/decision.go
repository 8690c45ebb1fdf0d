package rollout

import (
	"time"

	"github.com/reanchor/reanchor/api/v1alpha1"
)

// Decision is what Next decided.
type Decision struct {
	// State must be stored before any Action is carried out.
	State State
	// Actions are the writes to make, in order: those that are likely to be refused
	// come last. Each is safe to repeat.
	Actions []Action
	// Until is when a window opens or closes next, and the Actions hold no more; zero
	// without one.
	Until time.Time
	// Probe asks for a burst of probes of the injectors.
	Probe bool
	// Reason says in one word what the roller does or waits for, Message in one
	// sentence.
	Reason  v1alpha1.Reason
	Message string
	// Blocked are the workloads with stale pods that are not rolled.
	Blocked []Blocked
	// Again is when to decide again although nothing changed; zero when only a
	// change matters.
	Again time.Time
	// ETA is when the last roll will end at the pace seen so far; zero when
	// that cannot be told. AtRisk says that this is after the first stale pod
	// breaks.
	ETA    time.Time
	AtRisk bool
	// Ended are the rolls that ended in this decision, for events.
	Ended []Ended
}

// Action is one write to one workload.
type Action struct {
	Key     Key
	Verb    v1alpha1.Verb
	Attempt int
	// Mark is the template annotation to apply (Restart).
	Mark string
	// RestartAt is the time to set (RestartAt).
	RestartAt time.Time
	// Value is the value of the owner's annotation (Annotate).
	Value string
	// Pod is the pod to evict (Evict).
	Pod Pod
	// RunsToEnd is the workload's.
	RunsToEnd bool
}

// Blocked is a workload that is not rolled, and why.
type Blocked struct {
	Key Key
	Hold
}

// Ended is a roll that ended, well or not.
type Ended struct {
	Key    Key
	Reason v1alpha1.Reason
	// Message says how.
	Message string
	Failed  bool
}

// recheck is how soon a wait is looked at again that no event would end.
const recheck = 5 * time.Second
