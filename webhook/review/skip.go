package review

import "strings"

// skip reads a value of any kind and keeps nothing of it.
func (s *scanner) skip() error {
	switch c := s.space(); {
	case c == '{':
		return s.object(s.skipMember)
	case c == '[':
		return s.array(s.skip)
	case c == '"':
		_, _, err := s.raw()
		return err
	case c == '-' || isDigit(c):
		return s.number()
	default:
		return s.word()
	}
}

func (s *scanner) skipMember(string) error { return s.skip() }

func (s *scanner) word() error {
	for _, word := range [...]string{"true", "false", "null"} {
		if strings.HasPrefix(s.text[s.pos:], word) {
			s.pos += len(word)
			return nil
		}
	}
	return s.fail("want a value")
}

// number skips a number (RFC 8259, section 6).
func (s *scanner) number() error {
	s.sign("-")
	if s.peek() == '0' {
		s.pos++
	} else if err := s.digits(); err != nil {
		return err
	}
	if s.peek() == '.' {
		s.pos++
		if err := s.digits(); err != nil {
			return err
		}
	}
	if c := s.peek(); c != 'e' && c != 'E' {
		return nil
	}
	s.pos++
	s.sign("+-")
	return s.digits()
}

// sign skips one of the signs, if it is there.
func (s *scanner) sign(signs string) {
	if c := s.peek(); c != 0 && strings.IndexByte(signs, c) >= 0 {
		s.pos++
	}
}

func (s *scanner) peek() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

// digits skips at least one digit.
func (s *scanner) digits() error {
	if !isDigit(s.peek()) {
		return s.fail("want a digit")
	}
	for isDigit(s.peek()) {
		s.pos++
	}
	return nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
