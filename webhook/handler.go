package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"k8s.io/utils/clock"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/webhook/review"
)

// MaxBody bounds the body of a request, in bytes. An object is at most 3 MiB on
// its way to the API server, and JSON is wider than the protobuf it may come in.
const MaxBody = 7 << 20

// maxDrain bounds what is read and dropped of a larger body, in bytes, so that
// a client that is still writing gets to read why it was refused.
const maxDrain = 16 << 20

// decider is one of the Snapshot's two functions.
type decider func(s *Snapshot, r *review.Request, now time.Time) Decision

// Handler answers the requests of one webhook. What it cannot read it answers
// with an HTTP error, so that the webhook's failurePolicy decides: an answer
// that is not a review is no denial.
type Handler struct {
	kind     Kind
	decide   decider
	snapshot func() *Snapshot
	clock    clock.PassiveClock
	metrics  *Metrics
	memory   sync.Pool
	// large has one entry for each large body at hand.
	large chan struct{}
}

// memory is what a request needs and the next one uses again.
type memory struct {
	parser review.Parser
	in     []byte // never empty
	out    []byte
	large  bool // it has an entry in the handler's large
}

// Sources are what both handlers work with.
type Sources struct {
	// Snapshot returns the present snapshot, nil while there is none.
	Snapshot func() *Snapshot
	Clock    clock.PassiveClock
	Metrics  *Metrics
}

// NewStamp returns the handler of the mutating webhook.
func NewStamp(s Sources) *Handler { return newHandler(KindStamp, (*Snapshot).Stamp, s) }

// NewValidate returns the handler of the validating webhook.
func NewValidate(s Sources) *Handler { return newHandler(KindValidate, (*Snapshot).Validate, s) }

func newHandler(kind Kind, decide decider, s Sources) *Handler {
	return &Handler{
		kind: kind, decide: decide, snapshot: s.Snapshot, clock: s.Clock, metrics: s.Metrics,
		large:  make(chan struct{}, maxLarge),
		memory: sync.Pool{New: func() any { return &memory{in: make([]byte, bufferSize)} }},
	}
}

// bufferSize fits nearly every pod.
const bufferSize = 32 << 10

// Bodies that are larger than largeBody are read maxLarge at a time, so that
// nobody fills the memory with requests that are only just allowed.
const (
	largeBody = 256 << 10
	maxLarge  = 4
)

// refusal is an answer without a review.
type refusal struct {
	status int
	why    string
}

// reason tells a request that cannot be read from one that came at a bad time.
func (r *refusal) reason() v1alpha1.Reason {
	if r.status == http.StatusServiceUnavailable {
		return v1alpha1.Unavailable
	}
	return v1alpha1.BadRequest
}

func (r *refusal) Error() string { return r.why }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := h.clock.Now()
	m := h.memory.Get().(*memory)
	request, decision, err := h.answer(r, m, began)
	if err != nil {
		h.metrics.observe(h.kind, &Decision{Outcome: Failed, Reason: err.reason()}, h.clock.Since(began))
		http.Error(w, err.Error(), err.status)
		return
	}
	response := decision.Response(request.UID)
	m.out = response.AppendTo(m.out[:0])
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(m.out)))
	h.metrics.observe(h.kind, &decision, h.clock.Since(began))
	// An error means that the client has gone; nobody is left to be told.
	_, _ = w.Write(m.out)
	if 0 <= r.ContentLength && r.ContentLength <= bufferSize {
		h.memory.Put(m) // one that grew over a large pod goes with it
	}
}

func (h *Handler) answer(r *http.Request, m *memory, now time.Time) (*review.Request, Decision, *refusal) {
	if refused := checkHeader(r); refused != nil {
		return nil, Decision{}, refused
	}
	defer h.leave(m)
	text, err := h.read(r, m)
	if err != nil {
		return nil, Decision{}, err
	}
	snapshot := h.snapshot()
	if snapshot == nil {
		return nil, Decision{}, &refusal{http.StatusServiceUnavailable, "not ready: the MeshTrusts have not been read yet"}
	}
	request, parseErr := m.parser.Parse(text)
	if parseErr != nil {
		return nil, Decision{}, &refusal{http.StatusBadRequest, "reading the AdmissionReview: " + parseErr.Error()}
	}
	return request, h.decide(snapshot, request, now), nil
}

func checkHeader(r *http.Request) *refusal {
	if r.Method != http.MethodPost {
		return &refusal{http.StatusMethodNotAllowed, "want POST"}
	}
	content := r.Header.Get("Content-Type")
	if content == "application/json" {
		return nil
	}
	if media, _, err := mime.ParseMediaType(content); err != nil || media != "application/json" {
		return &refusal{http.StatusUnsupportedMediaType, "want an AdmissionReview of admission.k8s.io/v1 as application/json"}
	}
	return nil
}

// read reads the whole body and returns it as text, which is in m and good until
// m is used again: nothing of a request may be kept without a copy of it, as
// bundle.Cache makes one. In return a request of 11 KB leaves next to no garbage.
func (h *Handler) read(r *http.Request, m *memory) (string, *refusal) {
	if r.ContentLength > MaxBody {
		return "", tooLarge(r.Body)
	}
	for n := 0; ; {
		k, err := r.Body.Read(m.in[n:])
		n += k
		switch {
		case n > MaxBody:
			return "", tooLarge(r.Body)
		case errors.Is(err, io.EOF):
			return unsafe.String(unsafe.SliceData(m.in), n), nil
		case err != nil:
			return "", &refusal{http.StatusBadRequest, "reading the request's body: it ended too early"}
		case n < len(m.in):
			continue
		}
		if n >= largeBody && !h.enter(r.Context(), m) {
			return "", &refusal{http.StatusServiceUnavailable, "too many large requests at a time"}
		}
		m.in = append(m.in, make([]byte, n)...)
	}
}

// enter waits for the right to read a large body.
func (h *Handler) enter(ctx context.Context, m *memory) bool {
	if m.large {
		return true
	}
	select {
	case h.large <- struct{}{}:
		m.large = true
	case <-ctx.Done():
	}
	return m.large
}

func (h *Handler) leave(m *memory) {
	if m.large {
		m.large = false
		<-h.large
	}
}

func tooLarge(rest io.Reader) *refusal {
	// An error means that the client stopped writing, which is as good.
	_, _ = io.CopyN(io.Discard, rest, maxDrain)
	return &refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("the request's body is over %d bytes", MaxBody)}
}
