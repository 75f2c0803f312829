package database

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"time"
	"unsafe"
)

// list is a slice given as one parameter.
type list struct {
	texts []string
	ints  []int64
	text  bool
}

// List makes an argument for LIST, TEXTS and INTS.
func List[T ~string | ~int64 | ~int](v []T) any {
	var zero T
	if reflect.TypeOf(zero).Kind() == reflect.String {
		l := list{text: true, texts: make([]string, len(v))}
		for i := range v {
			l.texts[i] = *(*string)(unsafe.Pointer(&v[i]))
		}
		return l
	}
	l := list{ints: make([]int64, len(v))}
	for i := range v {
		if unsafe.Sizeof(zero) == 8 {
			l.ints[i] = *(*int64)(unsafe.Pointer(&v[i]))
		} else {
			l.ints[i] = int64(*(*int32)(unsafe.Pointer(&v[i])))
		}
	}
	return l
}

func (l list) encode(e engine) string {
	if e == postgres {
		var a array
		a.grow(16 * (len(l.ints) + len(l.texts)))
		for _, s := range l.texts {
			a.text(s)
		}
		for _, n := range l.ints {
			a.int(n)
		}
		return a.done()
	}
	if l.text {
		b, err := json.Marshal(l.texts) // strings always marshal
		if err != nil || l.texts == nil {
			return "[]"
		}
		return string(b)
	}
	b := append(make([]byte, 0, 2+12*len(l.ints)), '[')
	for i, n := range l.ints {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	return string(append(b, ']'))
}

// arguments brings values to what both drivers take, without touching the caller's slice.
func (e engine) arguments(args []any) []any {
	for i, a := range args {
		switch a.(type) {
		case nil, string, int64, []byte:
			continue
		}
		out := make([]any, len(args))
		copy(out, args[:i])
		for j := i; j < len(args); j++ {
			out[j] = e.argument(args[j])
		}
		return out
	}
	return args
}

func (e engine) argument(a any) any {
	switch v := a.(type) {
	case nil, string, int64, []byte:
		return a
	case int:
		return int64(v)
	case bool:
		if v {
			return int64(1)
		}
		return int64(0)
	case list:
		return v.encode(e)
	case json.RawMessage:
		if v == nil {
			return nil
		}
		return string(v)
	case time.Time:
		return v.UnixMilli()
	}
	r := reflect.ValueOf(a)
	switch r.Kind() {
	case reflect.String:
		return r.String()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return r.Int()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return int64(r.Uint())
	case reflect.Bool:
		return e.argument(r.Bool())
	case reflect.Pointer:
		if r.IsNil() {
			return nil
		}
		return e.argument(r.Elem().Interface())
	}
	return a
}

// asText gives a value for a text column; ok is false for NULL.
func asText(a any) (s string, ok bool, err error) {
	switch v := a.(type) {
	case nil:
		return "", false, nil
	case string:
		return v, true, nil
	case []byte:
		return unsafe.String(unsafe.SliceData(v), len(v)), v != nil, nil
	case json.RawMessage:
		return unsafe.String(unsafe.SliceData(v), len(v)), v != nil, nil
	case *string:
		if v == nil {
			return "", false, nil
		}
		return *v, true, nil
	}
	r := reflect.ValueOf(a)
	switch r.Kind() {
	case reflect.String:
		return r.String(), true, nil
	case reflect.Slice:
		if r.Type().Elem().Kind() == reflect.Uint8 {
			return string(r.Bytes()), !r.IsNil(), nil
		}
	case reflect.Pointer:
		if r.IsNil() {
			return "", false, nil
		}
		return asText(r.Elem().Interface())
	}
	return "", false, fmt.Errorf("%T does not fit a text column", a)
}

// asInt gives a value for a number column; ok is false for NULL.
func asInt(a any) (n int64, ok bool, err error) {
	switch v := a.(type) {
	case nil:
		return 0, false, nil
	case int64:
		return v, true, nil
	case int:
		return int64(v), true, nil
	case bool:
		if v {
			return 1, true, nil
		}
		return 0, true, nil
	case time.Time:
		return v.UnixMilli(), true, nil
	}
	r := reflect.ValueOf(a)
	switch r.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return r.Int(), true, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return int64(r.Uint()), true, nil
	case reflect.Bool:
		return asInt(r.Bool())
	case reflect.Pointer:
		if r.IsNil() {
			return 0, false, nil
		}
		return asInt(r.Elem().Interface())
	}
	return 0, false, fmt.Errorf("%T does not fit a number column", a)
}

// asBlob gives a value for a column of bytes; nil is NULL.
func asBlob(a any) ([]byte, error) {
	switch v := a.(type) {
	case nil:
		return nil, nil
	case []byte:
		return v, nil
	case string:
		return []byte(v), nil
	}
	if r := reflect.ValueOf(a); r.Kind() == reflect.Slice && r.Type().Elem().Kind() == reflect.Uint8 {
		return r.Bytes(), nil
	}
	return nil, fmt.Errorf("%T does not fit a column of bytes", a)
}
