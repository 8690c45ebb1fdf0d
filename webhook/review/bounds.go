package review

import (
	"errors"
	"fmt"
)

// Bounds of one pod. Three bytes of text, an empty element of a list, ask for up to
// 120 bytes of memory, and whoever reaches the webhook's port may send them: without
// bounds 255 KB of text took 75 MB. They are far above what pods have; one that had
// more, which an API server may take, would not be created where it is meshed.
const (
	// MaxContainers bounds the containers and init containers together. Ephemeral
	// ones are not read: no pod is created with one.
	MaxContainers = 1024
	// MaxVariables, MaxMounts and MaxObjects bound, of all containers together, the
	// environment variables, the mounts, and the objects that variables or files come
	// from as a whole.
	MaxVariables = 8192
	MaxMounts    = 8192
	MaxObjects   = 8192
	// MaxVolumes bounds the volumes that show objects; others cost nothing.
	MaxVolumes = 1024
	// MaxUID bounds the review's UID, in bytes, which the response repeats. The API
	// server's has 36.
	MaxUID = 256
)

// ErrTooMany says that a pod is over one of the bounds. It is no denial, since
// nothing is proved of the pod: like a text that cannot be read it is answered with
// an error, and the failurePolicy decides.
var ErrTooMany = errors.New("the pod is too large")

// most is one of the bounds, and what it bounds.
type most struct {
	n    int
	what string
}

// add appends an element, unless there are as many as there may be.
func add[T any](to *[]T, element T, bound most) error {
	if len(*to) == bound.n {
		return fmt.Errorf("%w: it has more than %d %s", ErrTooMany, bound.n, bound.what)
	}
	*to = append(*to, element)
	return nil
}

// since is what was appended since there were first elements.
func since[T any](all []T, first int) []T { return all[first:len(all):len(all)] }

// usual is how many elements of a kind a pod has at most that is not unusual.
const usual = 512

// Light reports whether the Parser keeps little memory for the next text, at most
// 150 KB; it can ask for 2 MB.
func (p *Parser) Light() bool {
	return max(cap(p.Pod.Containers), cap(p.Pod.Volumes), cap(p.env), cap(p.mounts), cap(p.objects), cap(p.names)) <= usual
}
