package webhook

import (
	"mime"
	"net/http"
	"strconv"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/reanchor/reanchor/api/v1alpha1"
	"github.com/reanchor/reanchor/webhook/review"
)

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
	// room is for the large bodies of both webhooks.
	room *room
}

// memory is what a request needs and the next one uses again.
type memory struct {
	parser review.Parser
	in     []byte // of bufferSize; nil for what is known to be large
	out    []byte
	place  place
}

// Sources are what both handlers work with.
type Sources struct {
	// Snapshot returns the present snapshot, nil while there is none.
	Snapshot func() *Snapshot
	Clock    clock.PassiveClock
	Metrics  *Metrics
}

// NewHandlers returns the handlers of the mutating and the validating webhook.
func NewHandlers(s Sources) (stamp, validate *Handler) {
	room := newRoom()
	return newHandler(KindStamp, (*Snapshot).Stamp, s, room), newHandler(KindValidate, (*Snapshot).Validate, s, room)
}

func newHandler(kind Kind, decide decider, s Sources, room *room) *Handler {
	return &Handler{
		kind: kind, decide: decide, snapshot: s.Snapshot, clock: s.Clock, metrics: s.Metrics, room: room,
		memory: sync.Pool{New: func() any { return &memory{in: make([]byte, bufferSize)} }},
	}
}

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
	m := h.take(r)
	defer h.giveBack(m)
	request, decision, err := h.answer(w, r, m)
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
}

// take returns memory for the request. What is known to be large gets none before
// there is room for it.
func (h *Handler) take(r *http.Request) *memory {
	if r.ContentLength >= bufferSize {
		return &memory{}
	}
	return h.memory.Get().(*memory)
}

// giveBack keeps the memory for the next request, unless it grew over a large pod:
// what is kept must not depend on what anybody sent once.
func (h *Handler) giveBack(m *memory) {
	large := m.place != (place{})
	h.room.leave(&m.place)
	if !large && m.in != nil && cap(m.out) <= bufferSize && m.parser.Light() {
		h.memory.Put(m)
	}
}

func (h *Handler) answer(w http.ResponseWriter, r *http.Request, m *memory) (*review.Request, Decision, *refusal) {
	if refused := checkHeader(r); refused != nil {
		return nil, Decision{}, refused
	}
	text, err := h.read(w, r, m)
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
	return request, h.decide(snapshot, request, h.clock.Now()), nil
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
