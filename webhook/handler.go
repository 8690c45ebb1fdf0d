package webhook

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

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
	buffers  sync.Pool
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
		buffers: sync.Pool{New: func() any { return new([bufferSize]byte) }},
	}
}

// bufferSize fits nearly every pod and every answer.
const bufferSize = 32 << 10

// refusal is an answer without a review.
type refusal struct {
	status int
	why    string
}

func (r *refusal) Error() string { return r.why }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := h.clock.Now()
	buffer := h.buffers.Get().(*[bufferSize]byte)
	defer h.buffers.Put(buffer)
	request, decision, err := h.answer(r, buffer[:], began)
	if err != nil {
		h.metrics.observe(h.kind, &Decision{Outcome: Failed, Reason: v1alpha1.BadRequest}, h.clock.Since(began))
		http.Error(w, err.Error(), err.status)
		return
	}
	response := decision.Response(request.UID)
	body := response.AppendTo(buffer[:0])
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	h.metrics.observe(h.kind, &decision, h.clock.Since(began))
	// An error means that the client has gone; nobody is left to be told.
	_, _ = w.Write(body)
}

func (h *Handler) answer(r *http.Request, buffer []byte, now time.Time) (*review.Request, Decision, *refusal) {
	if refused := checkHeader(r); refused != nil {
		return nil, Decision{}, refused
	}
	text, err := read(r, buffer)
	if err != nil {
		return nil, Decision{}, err
	}
	snapshot := h.snapshot()
	if snapshot == nil {
		return nil, Decision{}, &refusal{http.StatusServiceUnavailable, "not ready: the MeshTrusts have not been read yet"}
	}
	request, parseErr := review.Parse(text)
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

// read reads the body through the buffer into one string, which everything that
// is taken from the request then shares. What the client says of the length is
// believed only as far as the buffer goes.
func read(r *http.Request, buffer []byte) (string, *refusal) {
	if r.ContentLength > MaxBody {
		return "", tooLarge(r.Body)
	}
	var text strings.Builder
	if r.ContentLength > 0 {
		text.Grow(int(min(r.ContentLength, bufferSize)))
	}
	for {
		n, err := r.Body.Read(buffer)
		if text.Len()+n > MaxBody {
			return "", tooLarge(r.Body)
		}
		text.Write(buffer[:n])
		switch {
		case errors.Is(err, io.EOF):
			return text.String(), nil
		case err != nil:
			return "", &refusal{http.StatusBadRequest, "reading the request's body: it ended too early"}
		}
	}
}

func tooLarge(rest io.Reader) *refusal {
	// An error means that the client stopped writing, which is as good.
	_, _ = io.CopyN(io.Discard, rest, maxDrain)
	return &refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("the request's body is over %d bytes", MaxBody)}
}
