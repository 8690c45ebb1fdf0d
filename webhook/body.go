package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sync/semaphore"
)

// MaxBody bounds the body of a request, in bytes. An object is at most 3 MiB on
// its way to the API server, and JSON is wider than the protobuf it may come in.
const MaxBody = 7 << 20

// maxDrain bounds what is read and dropped of a larger body, in bytes, so that
// a client that is still writing gets to read why it was refused.
const maxDrain = 16 << 20

// bufferSize fits nearly every pod. A body of that size or more is large.
const bufferSize = 32 << 10

// Whoever reaches the port may send large bodies, as many as they like. These bounds
// keep what they cost far below the memory of a replica (GOMEMLIMIT in its manifest):
// roomBytes of text, and about 15 MB for each of the roomTurns that are judged.
// Small ones wait for nothing of this.
const (
	roomBytes = 32 << 20
	roomTurns = 2
	// waitTimeout is how long a request waits for room, and then as long for its turn. The
	// API server waits 3 s for an answer.
	waitTimeout = 2 * time.Second
	// bodyTimeout is how long a body may take that has room, so that one which never
	// comes soon makes room for another.
	bodyTimeout = 2 * time.Second
)

// room is what the large bodies of both webhooks share.
type room struct {
	bytes *semaphore.Weighted
	turns *semaphore.Weighted
}

func newRoom() *room {
	return &room{bytes: semaphore.NewWeighted(roomBytes), turns: semaphore.NewWeighted(roomTurns)}
}

// place is what one request has of the room.
type place struct{ bytes, turns int64 }

// enter waits until there is room for a body of the size, in bytes.
func (o *room) enter(ctx context.Context, p *place, size int64) *refusal {
	return acquire(ctx, o.bytes, &p.bytes, size)
}

// turn waits until a body that has been read may be judged. No client can make that
// last.
func (o *room) turn(ctx context.Context, p *place) *refusal {
	return acquire(ctx, o.turns, &p.turns, 1)
}

func acquire(ctx context.Context, of *semaphore.Weighted, has *int64, n int64) *refusal {
	ctx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	if err := of.Acquire(ctx, n); err != nil {
		return &refusal{http.StatusServiceUnavailable, "too many large requests at a time"}
	}
	*has = n
	return nil
}

// leave gives everything back.
func (o *room) leave(p *place) {
	if p.bytes > 0 {
		o.bytes.Release(p.bytes)
	}
	if p.turns > 0 {
		o.turns.Release(p.turns)
	}
	*p = place{}
}

// read reads the whole body and returns it as text, which is good until m is used
// again: nothing of a request may be kept without a copy of it, as bundle.Cache
// makes one. In return a request of 11 KB leaves next to no garbage.
func (h *Handler) read(w http.ResponseWriter, r *http.Request, m *memory) (string, *refusal) {
	if r.ContentLength > MaxBody {
		return "", tooLarge(r.Body)
	}
	n, ended, err := fill(m.in, r.Body)
	switch {
	case err != nil:
		return "", unreadable(err)
	case ended:
		return textOf(m.in[:n]), nil
	default:
		return h.readLarge(w, r, m)
	}
}

// readLarge reads a body of which m has the beginning, all in one piece of memory.
func (h *Handler) readLarge(w http.ResponseWriter, r *http.Request, m *memory) (string, *refusal) {
	size := r.ContentLength
	if size < 0 { // the API server always says
		size = MaxBody
	}
	if refused := h.room.enter(r.Context(), &m.place, size); refused != nil {
		return "", refused
	}
	// A connection always takes a deadline; what tests use instead may not.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(h.clock.Now().Add(bodyTimeout))
	text := make([]byte, size+1) // one more, to see the end
	n := copy(text, m.in)
	k, ended, err := fill(text[n:], r.Body)
	switch {
	case err != nil:
		return "", unreadable(err)
	case !ended:
		h.room.leave(&m.place)
		return "", tooLarge(r.Body)
	}
	// The server goes on reading, to see the client go.
	_ = control.SetReadDeadline(time.Time{})
	return textOf(text[:n+k]), h.room.turn(r.Context(), &m.place)
}

// fill reads until the buffer is full or the body has ended.
func fill(buffer []byte, from io.Reader) (n int, ended bool, err error) {
	for n < len(buffer) {
		k, err := from.Read(buffer[n:])
		n += k
		switch {
		case errors.Is(err, io.EOF):
			return n, true, nil
		case err != nil:
			return n, false, err
		}
	}
	return n, false, nil
}

// textOf shares the memory.
func textOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func unreadable(err error) *refusal {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &refusal{http.StatusRequestTimeout, "reading the request's body: it came too slowly"}
	}
	return &refusal{http.StatusBadRequest, "reading the request's body: it ended too early"}
}

func tooLarge(rest io.Reader) *refusal {
	// An error means that the client stopped writing, which is as good.
	_, _ = io.CopyN(io.Discard, rest, maxDrain)
	return &refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("the request's body is over %d bytes", MaxBody)}
}
