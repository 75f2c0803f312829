package web

import (
	"encoding"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"maunium.net/go/mautrix"
)

// plan says how to fill an input struct. It is made once for each route.
type plan struct {
	rest    []binding // path, query, header
	queries map[string]int
	clear   [][]int // fields the body must not reach
	raw     []int   // the field with the whole body
	hasBody bool
	members bool // there are body members besides the raw body
	empty   bool // an empty body counts as {}
	peer    bool // the body comes from another server
}

type source uint8

const (
	fromPath source = iota
	fromQuery
	fromHeader
)

type binding struct {
	from  source
	name  string
	param int
	index []int
	set   setter
}

type setter func(dst reflect.Value, value string) error

func newPlan(t reflect.Type, rt *Route) *plan {
	if t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("web: input of %s %s is %s, not a struct", rt.Method, rt.Path, t))
	}
	p := &plan{queries: map[string]int{}, peer: rt.Auth == ServerOnly}
	p.empty = rt.Method == http.MethodGet || rt.Method == http.MethodDelete || rt.Method == http.MethodHead
	p.fields(t, nil, rt)
	for i, name := range paramNames(rt.Path) {
		if !slices.ContainsFunc(p.rest, func(b binding) bool { return b.from == fromPath && b.param == i }) {
			panic(fmt.Sprintf("web: %s has no field for {%s} of %s %s", t, name, rt.Method, rt.Path))
		}
	}
	return p
}

func (p *plan) fields(t reflect.Type, at []int, rt *Route) {
	for i := range t.NumField() {
		f := t.Field(i)
		index := append(slices.Clone(at), i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct && f.Tag == "" {
			p.fields(f.Type, index, rt)
			continue
		}
		if p.bodyTag(f, index) {
			continue
		}
		if !f.IsExported() {
			continue
		}
		bound := false
		for _, k := range []struct {
			tag  string
			from source
		}{{"path", fromPath}, {"query", fromQuery}, {"header", fromHeader}} {
			if name, ok := f.Tag.Lookup(k.tag); ok {
				p.bind(f, index, k.from, name, rt)
				bound = true
			}
		}
		name, tagged := f.Tag.Lookup("json")
		if tagged && name != "-" {
			if bound {
				panic(fmt.Sprintf("web: field %s of %s is both body and parameter", f.Name, t))
			}
			p.hasBody, p.members = true, true
		} else {
			p.clear = append(p.clear, index)
		}
	}
}

// bodyTag handles body:"raw", body:"optional" and body:"-".
func (p *plan) bodyTag(f reflect.StructField, index []int) bool {
	switch tag, ok := f.Tag.Lookup("body"); {
	case !ok:
		return false
	case tag == "raw":
		if f.Type.Kind() != reflect.Slice || f.Type.Elem().Kind() != reflect.Uint8 {
			panic(fmt.Sprintf(`web: body:"raw" on %s, which is %s`, f.Name, f.Type))
		}
		p.hasBody, p.raw = true, index
	case tag == "optional":
		p.empty = true
	case tag != "-":
		panic(fmt.Sprintf("web: unknown body tag %q on %s", tag, f.Name))
	}
	return true
}

func (p *plan) bind(f reflect.StructField, index []int, from source, name string, rt *Route) {
	b := binding{from: from, name: name, index: index, param: -1, set: setterOf(f.Type)}
	if b.set == nil {
		panic(fmt.Sprintf("web: field %s of type %s cannot be a parameter", f.Name, f.Type))
	}
	switch from {
	case fromPath:
		b.param = slices.Index(paramNames(rt.Path), name)
	case fromQuery:
		if _, twice := p.queries[name]; twice {
			panic("web: two fields for query parameter " + name)
		}
		p.queries[name] = len(p.rest)
	case fromHeader:
		b.name = http.CanonicalHeaderKey(name)
	}
	p.rest = append(p.rest, b)
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// setterOf returns how to set a field of the type from text, or nil.
func setterOf(t reflect.Type) setter {
	if t.Kind() == reflect.Pointer {
		inner := setterOf(t.Elem())
		if inner == nil {
			return nil
		}
		return func(dst reflect.Value, s string) error {
			v := reflect.New(t.Elem())
			if err := inner(v.Elem(), s); err != nil {
				return err
			}
			dst.Set(v)
			return nil
		}
	}
	switch {
	case t.Kind() == reflect.String:
		return func(dst reflect.Value, s string) error { dst.SetString(s); return nil }
	case reflect.PointerTo(t).Implements(textUnmarshaler):
		return func(dst reflect.Value, s string) error {
			return dst.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s))
		}
	}
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(dst reflect.Value, s string) error {
			n, err := strconv.ParseInt(s, 10, t.Bits())
			dst.SetInt(n)
			return err
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return func(dst reflect.Value, s string) error {
			n, err := strconv.ParseUint(s, 10, t.Bits())
			dst.SetUint(n)
			return err
		}
	case reflect.Bool:
		return func(dst reflect.Value, s string) error {
			b, err := parseBool(s)
			dst.SetBool(b)
			return err
		}
	case reflect.Slice:
		return sliceSetter(t)
	}
	return nil
}

func sliceSetter(t reflect.Type) setter {
	if t.Elem().Kind() == reflect.Uint8 {
		return func(dst reflect.Value, s string) error { dst.SetBytes([]byte(s)); return nil }
	}
	inner := setterOf(t.Elem())
	if inner == nil {
		return nil
	}
	return func(dst reflect.Value, s string) error {
		v := reflect.New(t.Elem()).Elem()
		if err := inner(v, s); err != nil {
			return err
		}
		dst.Set(reflect.Append(dst, v))
		return nil
	}
}

func parseBool(s string) (bool, error) {
	switch s {
	case "true", "True", "1":
		return true, nil
	case "false", "False", "0", "":
		return false, nil
	}
	return false, strconv.ErrSyntax
}

// fill fills the struct v from the request.
func (p *plan) fill(v reflect.Value, r *http.Request, c *call) error {
	if p.hasBody {
		if err := p.fillBody(v, r); err != nil {
			return err
		}
		for _, index := range p.clear {
			v.FieldByIndex(index).SetZero()
		}
	}
	for i := range p.rest {
		b := &p.rest[i]
		switch {
		case b.from == fromPath && b.param >= 0:
			if err := b.set(v.FieldByIndex(b.index), c.vals[b.param]); err != nil {
				return badParam(b.name)
			}
		case b.from == fromHeader:
			for _, s := range r.Header[b.name] {
				if err := b.set(v.FieldByIndex(b.index), s); err != nil {
					return mautrix.MInvalidParam.WithMessage("The header %s is not valid", b.name)
				}
			}
		}
	}
	if len(p.queries) > 0 && r.URL.RawQuery != "" {
		return p.fillQuery(v, r.URL.RawQuery)
	}
	return nil
}

func badParam(name string) error {
	return mautrix.MInvalidParam.WithMessage("The parameter %s is not valid", name)
}

// fillQuery sets the query parameters the plan knows. Of a parameter that
// stands several times, the first counts, except in lists.
func (p *plan) fillQuery(v reflect.Value, raw string) error {
	var seen uint64
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		key, value, _ := strings.Cut(pair, "=")
		key, err := unescapeQuery(key)
		if err != nil {
			return errBadQuery
		}
		i, known := p.queries[key]
		if !known {
			continue
		}
		value, err = unescapeQuery(value)
		if err != nil || !cleanText(value) {
			return badParam(key)
		}
		b := &p.rest[i]
		dst := v.FieldByIndex(b.index)
		if bit := uint64(1) << (i % 64); dst.Kind() != reflect.Slice {
			if seen&bit != 0 {
				continue
			}
			seen |= bit
		}
		if err := b.set(dst, value); err != nil {
			return badParam(key)
		}
	}
	return nil
}
