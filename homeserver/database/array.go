package database

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
)

// array writes the text form of a PostgreSQL array.
type array struct{ b []byte }

func (a *array) grow(n int) {
	a.b = slices.Grow(a.b, n+2)
	a.b = append(a.b, '{')
}

func (a *array) comma() {
	if len(a.b) > 1 {
		a.b = append(a.b, ',')
	}
}

func (a *array) null() {
	a.comma()
	a.b = append(a.b, "NULL"...)
}

func (a *array) int(n int64) {
	a.comma()
	a.b = strconv.AppendInt(a.b, n, 10)
}

func (a *array) text(s string) {
	a.comma()
	a.b = append(a.b, '"')
	for {
		i := strings.IndexAny(s, `"\`)
		if i < 0 {
			break
		}
		a.b = append(a.b, s[:i]...)
		a.b = append(a.b, '\\', s[i])
		s = s[i+1:]
	}
	a.b = append(a.b, s...)
	a.b = append(a.b, '"')
}

func (a *array) bytes(v []byte) {
	a.comma()
	a.b = append(a.b, `"\\x`...)
	a.b = hex.AppendEncode(a.b, v)
	a.b = append(a.b, '"')
}

func (a *array) done() string {
	a.b = append(a.b, '}')
	return string(a.b)
}
