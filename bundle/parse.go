package bundle

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
)

// Bounds of one bundle. A ConfigMap or Secret holds at most 1 MiB
// (Kubernetes, object size limit), and no mesh has hundreds of roots.
const (
	// MaxBytes is the largest text that Parse reads, in bytes.
	MaxBytes = 1 << 20
	// MaxAnchors is the largest number of CERTIFICATE blocks in one text,
	// duplicates included.
	MaxAnchors = 512
)

// Errors that Parse returns, to be told apart with errors.Is.
var (
	// ErrNoCertificate says that the text holds no certificate at all.
	ErrNoCertificate = errors.New("no CERTIFICATE block found")
	// ErrMalformed says that a block begins and is not properly ended or encoded.
	ErrMalformed = errors.New("malformed PEM")
	// ErrTooLarge says that the text is over MaxBytes or MaxAnchors.
	ErrTooLarge = errors.New("too large")
)

const certificateType = "CERTIFICATE"

var (
	beginMark = []byte("-----BEGIN ")
	endMark   = []byte("-----END ")
)

// Parse reads a trust bundle from PEM text. It fails with ErrNoCertificate,
// ErrMalformed or ErrTooLarge; an error names the block by its index, counted
// from 0, and never quotes it.
func Parse(text []byte) (Set, error) {
	if len(text) > MaxBytes {
		return Set{}, fmt.Errorf("reading a bundle of %d bytes: %w: at most %d bytes are read", len(text), ErrTooLarge, MaxBytes)
	}
	var anchors []Anchor
	err := eachCertificate(text, func(der []byte) error {
		anchors = append(anchors, anchorFromDER(der))
		return nil
	})
	if err != nil {
		return Set{}, err
	}
	return FromAnchors(anchors...), nil
}

// eachCertificate calls visit with each CERTIFICATE block of a text, of which there
// is at least one and are at most MaxAnchors. It ends with the first error, and names
// the block.
func eachCertificate(text []byte, visit func(der []byte) error) error {
	certificates := 0
	for index := 0; ; index++ {
		begin := bytes.Index(text, beginMark)
		if begin < 0 {
			break
		}
		block, rest, err := nextBlock(text[begin:])
		if err != nil {
			return fmt.Errorf("reading block %d: %w", index, err)
		}
		text = rest
		if block.Type != certificateType {
			continue
		}
		if certificates++; certificates > MaxAnchors {
			return fmt.Errorf("reading block %d: %w: at most %d certificates are read", index, ErrTooLarge, MaxAnchors)
		}
		if err := visit(block.Bytes); err != nil {
			return fmt.Errorf("reading block %d: %w", index, err)
		}
	}
	if certificates == 0 {
		return ErrNoCertificate
	}
	return nil
}

// nextBlock decodes the block that begins at the start of text. The standard
// decoder silently skips a damaged block and returns the one behind it, which
// would make half a bundle look whole; so it is given one block at a time.
func nextBlock(text []byte) (*pem.Block, []byte, error) {
	end := bytes.Index(text, endMark)
	if end < 0 {
		return nil, nil, fmt.Errorf("%w: the block is not ended", ErrMalformed)
	}
	if bytes.Contains(text[len(beginMark):end], beginMark) {
		return nil, nil, fmt.Errorf("%w: another block begins inside it", ErrMalformed)
	}
	stop := len(text)
	if next := bytes.Index(text[end:], beginMark); next >= 0 {
		stop = end + next
	}
	block, _ := pem.Decode(text[:stop])
	if block == nil {
		return nil, nil, fmt.Errorf("%w: its base64 or its end line is damaged", ErrMalformed)
	}
	if block.Type == certificateType && len(block.Bytes) == 0 {
		return nil, nil, fmt.Errorf("%w: the block is empty", ErrMalformed)
	}
	return block, text[stop:], nil
}

// PEM returns the set as CERTIFICATE blocks, sorted by fingerprint, so that
// equal sets give equal text. Anchors known by summary only have no bytes and
// are left out; a set that came from Parse or Of has none of them.
func (s Set) PEM() []byte {
	var out bytes.Buffer
	for i := range s.anchors {
		if der := s.anchors[i].der; der != nil {
			// Encoding to a buffer cannot fail for a block without headers.
			out.Write(pem.EncodeToMemory(&pem.Block{Type: certificateType, Bytes: der}))
		}
	}
	return out.Bytes()
}
