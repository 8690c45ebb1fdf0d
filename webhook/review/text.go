package review

import (
	"math/bits"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// raw reads a string and returns what is between its quotes, and whether that
// holds escapes, all of which are valid.
func (s *scanner) raw() (text string, escaped bool, err error) {
	if s.space() != '"' {
		return "", false, s.fail("want '\"'")
	}
	start := s.pos + 1
	s.pos = start + plain(s.text[start:])
	if s.pos < len(s.text) && s.text[s.pos] == '"' {
		s.pos++
		return s.text[start : s.pos-1], false, nil
	}
	err = s.escapes()
	return s.text[start:max(start, s.pos-1)], true, err
}

// escapes reads a string on from an escape in it.
func (s *scanner) escapes() error {
	for {
		switch {
		case s.pos == len(s.text):
			return s.fail("want '\"'")
		case s.text[s.pos] == '"':
			s.pos++
			return nil
		case s.text[s.pos] != '\\':
			return s.fail("a control character in a string")
		}
		_, n, ok := unescape(s.text[s.pos:])
		if !ok {
			return s.fail("an escape that is none")
		}
		s.pos += n
		s.pos += plain(s.text[s.pos:])
	}
}

// plain returns how many bytes at the start of text stand for themselves inside
// a string: it finds the first quote, backslash or control character. Eight
// bytes are looked at together.
func plain(text string) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(text); i += 8 {
		b := text[i : i+8]
		x := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
			uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
		quote, backslash := x^(ones*'"'), x^(ones*'\\')
		// The high bit of each byte that is less than a space, or zero; only
		// those above the first such byte may be wrong, and the first is wanted.
		found := ((x - ones*' ') & ^x) | ((quote - ones) & ^quote) | ((backslash - ones) & ^backslash)
		if found &= highs; found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for ; i < len(text); i++ {
		if c := text[i]; c < ' ' || c == '"' || c == '\\' {
			return i
		}
	}
	return i
}

// str reads a string.
func (s *scanner) str() (string, error) {
	text, escaped, err := s.raw()
	if err != nil || !escaped {
		return text, err
	}
	var b strings.Builder
	b.Grow(len(text))
	for {
		i := strings.IndexByte(text, '\\')
		if i < 0 {
			b.WriteString(text)
			return b.String(), nil
		}
		b.WriteString(text[:i])
		r, n, _ := unescape(text[i:])
		b.WriteRune(r)
		text = text[i+n:]
	}
}

// optional reads a string or a null, which stands for the empty one.
func (s *scanner) optional() (string, error) {
	if s.null() {
		return "", nil
	}
	return s.str()
}

// unescape decodes the escape at the start of text and returns its length. A
// surrogate that is not one of a pair is no escape: what it should mean differs
// from decoder to decoder.
func unescape(text string) (r rune, length int, ok bool) {
	if len(text) < 2 {
		return 0, 0, false
	}
	if text[1] != 'u' {
		r, ok := simpleEscape(text[1])
		return r, 2, ok
	}
	r, ok = hex4(text[2:])
	if !ok || !utf16.IsSurrogate(r) {
		return r, 6, ok
	}
	if len(text) < 12 || text[6] != '\\' || text[7] != 'u' {
		return 0, 0, false
	}
	low, ok := hex4(text[8:])
	r = utf16.DecodeRune(r, low)
	return r, 12, ok && r != utf8.RuneError
}

func simpleEscape(c byte) (rune, bool) {
	switch c {
	case '"', '\\', '/':
		return rune(c), true
	case 'n':
		return '\n', true
	case 't':
		return '\t', true
	case 'r':
		return '\r', true
	case 'b':
		return '\b', true
	case 'f':
		return '\f', true
	default:
		return 0, false
	}
}

// hex4 reads four hexadecimal digits.
func hex4(text string) (r rune, ok bool) {
	if len(text) < 4 {
		return 0, false
	}
	for i := range 4 {
		c := text[i]
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
