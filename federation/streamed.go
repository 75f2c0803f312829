package federation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/viaduc/viaduc/homeserver/event"
)

// Bounds of the lists of events in answers. An entry above maxEntry is no event, and left out; one above maxStep breaks the
// answer off, because it would have to be held in memory to be passed over.
const (
	maxEntries = 1_000_000
	maxEntry   = 8 * event.MaxEventBytes // every character may be escaped
	maxStep    = 8 << 20
	maxNesting = 200
)

// streamed is an answer that is read piece by piece, because it may be large.
type streamed interface{ readFrom(r io.Reader) error }

// object reads an object whose members are large: lists are read entry by entry, so that memory follows what is kept.
type object struct {
	Lists  map[string]*[]json.RawMessage
	Others map[string]any // pointers
}

var errNoObject = errors.New("the answer is not an object")

func (o object) readFrom(r io.Reader) error { return o.read(newSteps(r)) }

// steps is a decoder that gives up when one token or value is larger than maxStep.
type steps struct {
	*json.Decoder
	r    io.Reader
	left int64
}

func newSteps(r io.Reader) *steps {
	s := &steps{r: r}
	s.Decoder = json.NewDecoder(s)
	return s
}

func (s *steps) Read(b []byte) (int, error) {
	if s.left <= 0 {
		return 0, errors.New("a value of the answer is too large")
	}
	n, err := s.r.Read(b[:min(int64(len(b)), s.left)])
	s.left -= int64(n)
	return n, err
}

// Token reads the next token.
func (s *steps) Token() (json.Token, error) {
	s.left = maxStep
	return s.Decoder.Token()
}

// Decode reads the next value.
func (s *steps) Decode(v any) error {
	s.left = maxStep
	return s.Decoder.Decode(v)
}

func (o object) read(d *steps) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return errNoObject
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		switch list, other := o.Lists[name], o.Others[name]; {
		case list != nil:
			err = readList(d, list)
		case other != nil:
			err = d.Decode(other)
		default:
			err = skip(d)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", clipped(name, 40), err)
		}
	}
	_, err = d.Token()
	return err
}

// readList reads a list of values; null is an empty one.
func readList(d *steps, out *[]json.RawMessage) error {
	t, err := d.Token()
	if err != nil || t == nil {
		return err
	}
	if t != json.Delim('[') {
		return errors.New("not a list")
	}
	for n := 0; d.More(); n++ {
		if n >= maxEntries {
			return errors.New("the list is too long")
		}
		var entry json.RawMessage
		if err := d.Decode(&entry); err != nil {
			return err
		}
		if len(entry) <= maxEntry {
			*out = append(*out, entry)
		}
	}
	_, err = d.Token()
	return err
}

// skip passes over a value without keeping it.
func skip(d *steps) error {
	for depth := 0; ; {
		t, err := d.Token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth > maxNesting {
			return errors.New("the answer is nested too deeply")
		}
		if depth == 0 {
			return nil
		}
	}
}

// second is the second entry of a list: the form that answers of version 1 have, after a status.
type second struct{ object }

func (s second) readFrom(r io.Reader) error {
	d := newSteps(r)
	t, err := d.Token()
	if err != nil {
		return err
	}
	if t != json.Delim('[') {
		return errors.New("the answer is not a list")
	}
	if err := skip(d); err != nil {
		return err
	}
	return s.read(d)
}
