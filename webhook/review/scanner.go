package review

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxDepth bounds the nesting of objects and arrays. A pod with its
// managedFields is about 20 deep.
const MaxDepth = 200

// MaxValues bounds the members and elements in one text, and with them the
// memory that it takes to compare the names of members, about 40 bytes each. A pod
// of 11 KB has about 700.
const MaxValues = 1 << 18

// fewNames is up to how many members of an object are compared one by one when
// looking for duplicates; with more a set is kept, so that the time stays
// proportional to the text.
const fewNames = 24

var errSyntax = errors.New("not valid JSON")

// scanner reads JSON text once, from start to end.
type scanner struct {
	text   string
	pos    int
	depth  int
	values int
	// names holds the member names of all objects that are open.
	names []string
}

// fail returns an error that says where the scanner stands.
func (s *scanner) fail(what string) error {
	if s.pos >= len(s.text) {
		return fmt.Errorf("%w: it ends too early, %s", errSyntax, what)
	}
	return fmt.Errorf("%w: %s at byte %d", errSyntax, what, s.pos)
}

// space skips white space and returns the next byte, 0 at the end. The API
// server writes none, so that the first look mostly ends it.
func (s *scanner) space() byte {
	if s.pos < len(s.text) && s.text[s.pos] > ' ' {
		return s.text[s.pos]
	}
	return s.skipSpace()
}

func (s *scanner) skipSpace() byte {
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; c {
		case ' ', '\n', '\r', '\t':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// consume skips white space and then the byte c, which must be there.
func (s *scanner) consume(c byte) error {
	if s.pos < len(s.text) && s.text[s.pos] == c || s.space() == c && s.pos < len(s.text) {
		s.pos++
		return nil
	}
	return s.fail("want '" + string(rune(c)) + "'")
}

// null skips a null and reports whether there was one.
func (s *scanner) null() bool {
	if s.space() != 'n' || !strings.HasPrefix(s.text[s.pos:], "null") {
		return false
	}
	s.pos += len("null")
	return true
}

// end checks that nothing but white space follows.
func (s *scanner) end() error {
	if s.space(); s.pos < len(s.text) {
		return s.fail("text after the value")
	}
	return nil
}

// object reads an object and calls member for each of its members with the
// scanner before the value, which member must read.
func (s *scanner) object(member func(name string) error) error {
	if err := s.open('{'); err != nil {
		return err
	}
	first := len(s.names)
	var many map[string]struct{}
	for more := s.space() != '}'; more; {
		if err := s.count(); err != nil {
			return err
		}
		name, err := s.name()
		if err != nil {
			return err
		}
		if many, err = s.unique(name, first, many); err != nil {
			return err
		}
		if err := member(name); err != nil {
			return err
		}
		if more, err = s.comma('}'); err != nil {
			return err
		}
	}
	s.names = s.names[:first]
	return s.close('}')
}

// unique records the name as one of the object whose names begin at first.
func (s *scanner) unique(name string, first int, many map[string]struct{}) (map[string]struct{}, error) {
	if many == nil {
		for _, other := range s.names[first:] {
			if other == name {
				return nil, s.duplicate(name)
			}
		}
		s.names = append(s.names, name)
		if len(s.names)-first <= fewNames {
			return nil, nil
		}
		many = make(map[string]struct{}, 2*fewNames)
		for _, other := range s.names[first:] {
			many[other] = struct{}{}
		}
		return many, nil
	}
	if _, ok := many[name]; ok {
		return nil, s.duplicate(name)
	}
	many[name] = struct{}{}
	return many, nil
}

func (s *scanner) duplicate(name string) error {
	const most = 64
	if len(name) > most {
		name = name[:most]
	}
	return s.fail(fmt.Sprintf("a second member %q in one object", name))
}

// name reads a member's name and the colon.
func (s *scanner) name() (string, error) {
	name, err := s.str()
	if err != nil {
		return "", err
	}
	return name, s.consume(':')
}

// array reads an array and calls element for each of its elements.
func (s *scanner) array(element func() error) error {
	if err := s.open('['); err != nil {
		return err
	}
	var err error
	for more := s.space() != ']'; more; {
		if err := s.count(); err != nil {
			return err
		}
		if err := element(); err != nil {
			return err
		}
		if more, err = s.comma(']'); err != nil {
			return err
		}
	}
	return s.close(']')
}

// count counts one more member or element.
func (s *scanner) count() error {
	if s.values++; s.values > MaxValues {
		return s.fail(fmt.Sprintf("more than %d values", MaxValues))
	}
	return nil
}

func (s *scanner) open(c byte) error {
	if s.depth == MaxDepth {
		return s.fail(fmt.Sprintf("nested more than %d deep", MaxDepth))
	}
	s.depth++
	return s.consume(c)
}

func (s *scanner) close(c byte) error {
	s.depth--
	return s.consume(c)
}

// comma reports whether another member or element follows, and skips the comma.
func (s *scanner) comma(closing byte) (bool, error) {
	switch s.space() {
	case closing:
		return false, nil
	case ',':
		s.pos++
		return true, nil
	default:
		return false, s.fail("want ',' or '" + string(rune(closing)) + "'")
	}
}

// reset makes the scanner begin with another text, and checks what holds for
// the text as a whole.
func (s *scanner) reset(text string) error {
	*s = scanner{text: text, names: s.names[:0]}
	if !utf8.ValidString(text) {
		return fmt.Errorf("%w: it is not UTF-8", errSyntax)
	}
	return nil
}
