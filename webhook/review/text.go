package review

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// raw reads a string and returns what is between its quotes, and whether that
// holds escapes, all of which are valid.
func (s *scanner) raw() (text string, escaped bool, err error) {
	if err := s.consume('"'); err != nil {
		return "", false, err
	}
	start := s.pos
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; {
		case c == '"':
			s.pos++
			return s.text[start : s.pos-1], escaped, nil
		case c == '\\':
			escaped = true
			_, n, ok := unescape(s.text[s.pos:])
			if !ok {
				return "", false, s.fail("an escape that is none")
			}
			s.pos += n
		case c < ' ':
			return "", false, s.fail("a control character in a string")
		default:
			s.pos++
		}
	}
	return "", false, s.fail("want '\"'")
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
