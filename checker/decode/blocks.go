package decode

import "bytes"

var (
	beginMark = []byte("-----BEGIN ")
	endMark   = []byte("-----END ")
	dashes    = []byte("-----")
)

// segment is the text of one PEM block and what follows it.
type segment struct {
	text, rest []byte
	// closed is false when the block has no END line before the next BEGIN or
	// the end of the file.
	closed bool
}

// nextBlock finds the next BEGIN line. It ends a block at the first END line,
// whatever its label: pem.Decode judges the inside.
func nextBlock(data []byte) (segment, bool) {
	start := lineStart(data, beginMark)
	if start < 0 {
		return segment{}, false
	}
	body := data[start+len(beginMark):]
	end, next := lineStart(body, endMark), lineStart(body, beginMark)
	if end < 0 || (next >= 0 && next < end) {
		if next < 0 {
			return segment{text: data[start:]}, true
		}
		cut := start + len(beginMark) + next
		return segment{text: data[start:cut], rest: data[cut:]}, true
	}
	cut := start + len(beginMark) + end + len(endMark)
	closing := bytes.Index(data[cut:], dashes)
	if closing < 0 || bytes.IndexByte(data[cut:cut+closing], '\n') >= 0 {
		return segment{text: data[start:]}, true
	}
	cut += closing + len(dashes)
	return segment{text: data[start:cut], rest: data[cut:], closed: true}, true
}

// lineStart is the index of mark at the beginning of a line, or -1.
func lineStart(data, mark []byte) int {
	for from := 0; ; {
		i := bytes.Index(data[from:], mark)
		if i < 0 {
			return -1
		}
		at := from + i
		if at == 0 || data[at-1] == '\n' || data[at-1] == '\r' {
			return at
		}
		from = at + len(mark)
	}
}

// garbage reports whether text after the last block is neither blank nor
// comment.
func garbage(rest []byte) bool {
	for line := range bytes.Lines(rest) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' {
			return true
		}
	}
	return false
}
